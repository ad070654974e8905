import { rm, rmdir } from 'node:fs/promises';
import { join, posix } from 'node:path';
import timers from 'node:timers/promises';
import type { CriClient, ListedContainer } from '../../lib/containerd/client.ts';
import { readContainerdFiles } from '../../lib/containerd/config-files.ts';
import type { Host } from '../../lib/host/host.ts';
import { isProbe, POD_UID } from '../../lib/proof/sandbox.ts';
import { Bundles } from '../../lib/sandboxes/bundles.ts';
import type { Node } from '../base/node.ts';
import { killBundle } from '../base/processes.ts';
import { Refusal } from '../base/refusal.ts';
import { loadedPaths } from '../containerd/loaded.ts';
import { readJournals } from '../journal/journal.ts';
import { GENERATIONS, isGenerationPath, listGenerations } from '../release/generation.ts';
import { usersOf } from '../release/users.ts';

/** On a busy node the last pods, and a probe of the agent, take long to end. */
const ENDING_MS = 120_000;

const ENDING_POLL_MS = 2_000;

const BUNDLES_MS = 20_000;

/**
 * Keeps generations that a journal (unless to take it away), a file of containerd, loaded or not, a process
 * or a sandbox names: without its shim's program containerd deletes a running pod when it restarts. Resolves
 * with those that only sandboxes need, and whether these have ended; with undefined, and removes nothing, if
 * it does not know what is needed, as with a journal that cannot be read.
 */
export async function removeUnused({ root, host, client, containerdConfig }: Node) {
  try {
    const { journals, broken } = await readJournals(root);
    if (broken.length > 0) return undefined;
    const kept = journals.flatMap(({ installed, previous, pending, staged = [] }) => [
      ...[installed, previous, pending?.removes ? undefined : pending].map((each) => each?.generation),
      ...staged,
    ]);
    const named = [...loadedPaths(await client.status()), ...(await namedInFiles(host, containerdConfig))];
    const sandboxes = await client.listSandboxes('all');
    const bundles = await new Bundles(host, client.bundles).read(AbortSignal.timeout(BUNDLES_MS));
    const generations = await listGenerations(root);
    // containerd forgets a boot that its restart interrupts, record and bundle: of 1.7.34 the shim stays, of 2.4.2 the
    // sentry, as it also does if its shim dies while there is no runsc.
    for (const { bundle } of await usersOf(root, generations)) {
      const id = posix.basename(bundle);
      const isKnown = posix.dirname(bundle) !== client.bundles || bundles?.some((each) => each.id === id);
      if (!isKnown && (await recordsOf(client, id)).length === 0) await killBundle(root, `/k8s.io/${id}`);
    }
    const users = await usersOf(root, generations);
    const left: { readonly directory: string; readonly isEnding: boolean }[] = [];
    for (const { directory } of generations) {
      const isIn = (path = '') => path.startsWith(`${directory}/`);
      if (kept.includes(directory) || named.some(isIn)) continue;
      const ids = (bundles ?? []).flatMap(({ id, program }) => (isIn(program) ? id : []));
      // A restart of containerd can leave a bundle without a sandbox (seen on 2.4.2).
      const own = sandboxes.filter(({ id }) => ids.includes(id));
      const isEnding = !own.some((each) => each.state === 'SANDBOX_READY' && !isProbe(each));
      if (own.length > 0 || users.some((user) => user.directory === directory))
        left.push({ directory, isEnding });
      else await rm(join(root, directory), { recursive: true, force: true });
    }
    await rmdir(join(root, GENERATIONS)).catch(() => {}); // others may have files there
    return left;
  } catch {
    return undefined;
  }
}

/**
 * Removes the programs once the sandboxes that need them have ended; throws a {@link Refusal} if that takes too long. With
 * `force` it does not wait, and says which programs stay.
 */
export async function removePrograms(node: Node, force: boolean): Promise<void> {
  const say = (text: string) => node.report({ step: 'stage', state: 'skipped', text });
  const { broken } = await readJournals(node.root);
  if (broken.length > 0) return say(`the programs stay, because they may be needed: ${broken[0]?.message}`);
  if (node.noRestart) say('programs that containerd has loaded stay: the next run removes them');
  const deadlineMs = performance.now() + ENDING_MS;
  for (;;) {
    await endDeadProbes(node).catch(() => {}); // containerd may be away
    const left = await removeUnused(node);
    const ending = left?.flatMap(({ directory, isEnding }) => (isEnding ? directory : []));
    const cause =
      ending === undefined
        ? 'containerd does not say which programs it needs'
        : `sandboxes that have ended still run ${ending.join(' and ')}`;
    if (ending?.length === 0 || force) {
      if (left === undefined) say(`the programs stay, because ${cause}: delete them later`);
      for (const { directory } of left ?? [])
        say(`${directory} stays, because sandboxes need it: delete it once they have ended`);
      return;
    }
    if (performance.now() > deadlineMs) {
      throw new Refusal('stage', {
        what: `Handler "${node.handler}" is gone, and its programs are not: ${cause}`,
        next: 'Run remove again later; kubectl gvisor-ready why node/NODE says what does not end',
      });
    }
    node.because(cause, 'stage');
    await timers.setTimeout(ENDING_POLL_MS);
  }
}

/**
 * containerd cannot remove a probe that it was creating when it ended: the shim says for ever that its
 * container must be created (seen on 2.4.2), and containerd may have no record of it, or the CRI no sandbox
 * (1.7.34). Once the shim is gone, containerd forgets it.
 */
async function endDeadProbes({ root, host, client }: Node): Promise<void> {
  const dead = (await client.listSandboxes('SANDBOX_NOTREADY')).filter(isProbe).map(({ id }) => id);
  const bundles = await new Bundles(host, client.bundles).read(AbortSignal.timeout(BUNDLES_MS));
  for (const { id, program = '' } of bundles ?? []) {
    if (!isGenerationPath(program)) continue;
    const uids = (await recordsOf(client, id)).map(({ labels }) => labels[POD_UID] ?? '');
    if (uids.every((uid) => isProbe({ metadata: { uid } }))) dead.push(id);
  }
  for (const id of dead) await killBundle(root, `/k8s.io/${id}`);
}

async function recordsOf(client: CriClient, id: string): Promise<readonly ListedContainer[]> {
  const request = { filters: [`id==${id}`] };
  return (await client.call<{ containers: ListedContainer[] }>('Containers.List', request)).containers;
}

/** Finds what containerd would load when it starts next. */
async function namedInFiles(host: Host, config: string): Promise<readonly string[]> {
  const { files } = await readContainerdFiles(host, config);
  const texts = await Promise.all(files.map(({ path }) => host.readText(path)));
  return texts.flatMap((text) => text?.match(PATH) ?? []).filter(isGenerationPath);
}

const PATH = new RegExp(`${GENERATIONS}/[^\\s"']+`, 'g');
