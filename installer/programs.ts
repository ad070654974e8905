import timers from 'node:timers/promises';
import { isProbe } from '../lib/node/proof/sandbox.ts';
import { Bundles } from '../lib/node/sandboxes/bundles.ts';
import { killBundle } from './candidate.ts';
import { loadedPaths } from './containerd.ts';
import { isNamed, namedInFiles, removeUnusedGenerations, usersOf } from './generations.ts';
import { readJournals } from './journal.ts';
import { type Node, Refusal } from './node.ts';
import { generationAt } from './release.ts';

/** On a busy node the last pods, and a probe of the agent that began before the handler went, take long to end. */
const ENDING_MS = 120_000;
const ENDING_POLL_MS = 2_000;
const BUNDLES_MS = 20_000;

/**
 * Removes the generations that nothing needs, and resolves with those that only sandboxes need: pods that run, or what is
 * ending. Removes nothing and resolves with undefined if containerd does not say what it needs.
 */
export async function removeUnused(node: Node): Promise<Remaining | undefined> {
  const { root, host, client, containerdConfig } = node;
  try {
    const loaded = loadedPaths(await client.status());
    const named = [...loaded, ...(await namedInFiles(host, containerdConfig))];
    const sandboxes = await client.listSandboxes('all');
    const pods = sandboxes.filter((each) => each.state === 'SANDBOX_READY' && !isProbe(each));
    // A restart of containerd can leave a bundle without a sandbox, which nothing needs (seen on 2.4.2).
    const read = await new Bundles(host, client.bundles).read(AbortSignal.timeout(BUNDLES_MS));
    const bundles = (read ?? []).filter(({ id }) => sandboxes.some((each) => each.id === id));
    const programsOf = (of: typeof bundles) => of.flatMap(({ program }) => program ?? []);
    const used = await removeUnusedGenerations(root, { named, bundled: programsOf(bundles) });
    const running = programsOf(bundles.filter(({ id }) => pods.some((pod) => pod.id === id)));
    return { used, ending: used.filter((directory) => !isNamed(directory, running)) };
  } catch {
    return undefined;
  }
}

type Remaining = { readonly used: readonly string[]; readonly ending: readonly string[] };

/**
 * Removes the programs that no other handler and no pod needs, once the sandboxes that are ending have ended; throws a
 * {@link Refusal} if that takes too long. With `force` it does not wait, and says which programs stay.
 */
export async function removePrograms(node: Node, force: boolean): Promise<void> {
  const say = (text: string) => node.report({ step: 'stage', state: 'skipped', text });
  const { broken } = await readJournals(node.root);
  if (broken.length > 0) return say(`the programs stay, because they may be needed: ${broken[0]?.message}`);
  if (node.noRestart) say('programs that containerd has loaded stay: the next run removes them');
  const deadlineMs = performance.now() + ENDING_MS;
  for (let poll = 0; ; poll++) {
    await endDeadProbes(node);
    const left = await removeUnused(node);
    if (force || left?.ending.length === 0) {
      if (left === undefined)
        say('the programs stay, because containerd does not say which it needs: delete them later');
      for (const directory of left?.used ?? [])
        say(`${directory} stays, because sandboxes need it: delete it once they have ended`);
      return;
    }
    const because = await whyNotGone(node, left);
    if (performance.now() > deadlineMs) {
      const next = 'Run remove again later; kubectl gvisor-ready why node/NODE says what does not end';
      const message = `Handler "${node.handler}" is gone, and its programs are not: ${because}. ${next}`;
      throw new Refusal('stage', message);
    }
    if (poll === 0) say(`waiting up to ${ENDING_MS / 1_000} s: ${because}`);
    await timers.setTimeout(ENDING_POLL_MS);
  }
}

/**
 * Kills what is left of probes that do not run. containerd cannot remove one that it was creating when it ended: the shim
 * says for ever that its container must be created (seen on 2.4.2). Once the shim is gone, containerd forgets the sandbox.
 */
async function endDeadProbes({ root, client }: Node): Promise<void> {
  const dead = await client.listSandboxes('SANDBOX_NOTREADY').catch(() => []);
  for (const probe of dead.filter(isProbe)) await killBundle(root, `/k8s.io/${probe.id}`);
}

async function whyNotGone({ root }: Node, left: Remaining | undefined): Promise<string> {
  if (left === undefined) return 'containerd does not say which programs it needs';
  const users = await usersOf(root, left.ending.map(generationAt));
  const what =
    users.length === 0 ? 'a record of containerd' : `process ${users.map(({ pid }) => pid).join(', ')}`;
  return `sandboxes that have ended still run ${left.ending.join(' and ')} (${what})`;
}
