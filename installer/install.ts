import timers from 'node:timers/promises';
import { type CriStatus, usesSystemdCgroup } from '../agent/containerd/client.ts';
import { readContainerdConfig } from '../agent/containerd/config.ts';
import { readContainerdFiles } from '../agent/containerd/config-files.ts';
import { isProbe } from '../agent/proof/sandbox.ts';
import { readRunscConfig } from '../agent/runsc/config.ts';
import { Bundles } from '../agent/sandboxes/bundles.ts';
import { killBundle, proveCandidate } from './candidate.ts';
import {
  type Change,
  make,
  needsRestart,
  pass,
  presentText,
  refuseRetry,
  type StepOf,
  skipped,
  takeBack,
} from './change.ts';
import { dumpPresent, findContainerd, isLoaded, loadedPaths } from './containerd.ts';
import { isNamed, namedInFiles, removeUnusedGenerations, usersOf } from './generations.ts';
import {
  diffOf,
  foundIn,
  planEdits,
  planHandler,
  planInPlace,
  planTakeOver,
  readOtherFiles,
  refuseOtherFiles,
} from './handler-config.ts';
import {
  type Installed,
  type Journal,
  readJournal,
  readJournals,
  removeJournal,
  type Written,
  writeJournal,
} from './journal.ts';
import { type Node, patiently, Refusal, seconds } from './node.ts';
import { type Preflight, preflight } from './preflight.ts';
import { type Generation, generationAt, generationOf, readRelease, refuseDamage, stage } from './release.ts';
import { refuseRisks } from './risks.ts';

/** On a busy node the last pods, and a probe of the agent that began before the handler went, take long to end. */
const ENDING_MS = 120_000;
const ENDING_POLL_MS = 2_000;
const BUNDLES_MS = 20_000;

export type InstallOptions = {
  /** Directory of the release on this machine. */
  readonly release: string;
  /** Flags of runsc, without dashes. */
  readonly flags: ReadonlyMap<string, string>;
  readonly dryRun: boolean;
  /** Tries what failed again before its time, or a release that was left by a rollback. */
  readonly retryNow: boolean;
  /** Replaces a handler of the same name of another owner. */
  readonly takeOver: boolean;
  /** With `takeOver`: although that handler has settings that the new one will not have. */
  readonly loseSettings: boolean;
};

/**
 * Installs a release: resolves once a sandbox of it was proven through the handler. Throws a {@link Refusal} else, and the
 * node works as before. An installation that was interrupted is finished, or replaced.
 */
export async function install(node: Node, options: InstallOptions): Promise<void> {
  const { root, handler } = node;
  const release = await readRelease(options.release);
  const journal = await readJournal(root, handler);
  const seen = await preflight(node, journal, options.takeOver);
  const flags = withCgroupDriver(options.flags, seen.status);
  const generation = generationOf(release, flags);
  const { directory } = generation;
  if (!options.retryNow) {
    refuseRetry(journal, { generation: directory });
    refuseLeft(journal, generation);
  }
  if (await needsRestart(node, generation)) await refuseRisks(node, seen);
  await refuseLoss(node, { seen, flags, isAccepted: options.loseSettings });
  if (!options.dryRun) await takeBackOthers(node);
  const next = { generation: directory, written: await plan(node, { journal, seen, generation }) };
  if (options.dryRun) return describe(node, journal, next);
  await change(node, { containerd: seen.containerd, journal, next }, [
    {
      name: 'stage',
      do: async () => {
        const done = await stage(options.release, release, { root, generation, flags });
        if (done === 'unchanged') return skipped(`${directory} is there, unchanged`);
        return pass(done === 'new' ? directory : `${directory} was damaged, and is repaired`);
      },
    },
    {
      name: 'pre-prove',
      do: async () => {
        const isCurrent = journal?.installed?.generation === directory;
        if (isCurrent && (await isLoaded(node.client, handler, generation))) return undefined;
        return preProve(node, generation);
      },
    },
  ]);
}

/** Makes a change to a generation, and says what it led to. */
async function change(
  node: Node,
  what: Change & { readonly next: Installed },
  first: readonly StepOf[],
): Promise<void> {
  const { handler, noRestart, report } = node;
  await make(node, what, first).finally(() => removeUnused(node));
  const { release } = generationAt(what.next.generation);
  const text = noRestart
    ? `handler "${handler}" will run gVisor ${release} once containerd starts next, which is not proven`
    : `handler "${handler}" runs gVisor ${release}`;
  report({ step: 'commit', ...pass(text) });
}

async function preProve({ socket, root }: Node, generation: Generation): ReturnType<StepOf['do']> {
  const { bootMs } = await proveCandidate(socket, { root, generation });
  return pass(`${generation.release} booted beside the handler in ${seconds(bootMs)}, and ran a program`);
}

/** Says what an installation would do, and does nothing. */
async function describe(node: Node, journal: Journal | undefined, next: Installed): Promise<void> {
  const { root, report } = node;
  const { journals } = await readJournals(root);
  for (const { handler, pending } of journals)
    if (pending !== undefined && handler !== node.handler)
      report({
        step: 'undo',
        ...skipped(`would first take back what was interrupted for handler "${handler}"`),
      });
  report({ step: 'stage', ...skipped(`would install ${next.generation}`) });
  for (const edit of await planEdits(node, await presentText(node, journal, next), next.written)) {
    const verbatim = Buffer.from(diffOf(edit), 'latin1').toString();
    report({ step: 'write', ...skipped(`would change "${edit.file}":`), verbatim });
  }
  const restarts = await needsRestart(node, generationAt(next.generation));
  report({ step: 'restart', ...skipped(`would restart containerd: ${restarts ? 'yes' : 'no'}`) });
}

/** A person's rollback is not undone by the next start of a pod that installs. */
function refuseLeft(journal: Journal | undefined, { directory, release }: Generation): void {
  if (journal?.left !== directory) return;
  const next = 'Install another release, or this one with --retry-now';
  throw new Refusal('journal', `A rollback left ${release}. ${next}`);
}

/** Names the settings of a handler that is taken over which the new one will not have. */
async function refuseLoss(
  { host, handler, report }: Node,
  {
    seen: { foreign, config },
    flags,
    isAccepted,
  }: { readonly seen: Preflight; readonly flags: ReadonlyMap<string, string>; readonly isAccepted: boolean },
): Promise<void> {
  const runtime = config.runtimes.get(handler);
  if (foreign === undefined || runtime === undefined) return;
  const settings = {
    pod_annotations: runtime.podAnnotations.join(),
    snapshotter: runtime.snapshotter,
    base_runtime_spec: runtime.baseRuntimeSpec,
    cni_conf_dir: runtime.cniConfDir,
  };
  const file = runtime.options.ConfigPath;
  const old = typeof file === 'string' ? (await readRunscConfig(host, file)).flags : [];
  const lost = [
    ...Object.entries(settings).flatMap(([key, value]) => (value === '' ? [] : `${key} = ${value}`)),
    ...[...old].flatMap(([flag, value]) => (flags.has(flag) ? [] : `--flag ${flag}=${value}`)),
  ];
  if (lost.length === 0) return;
  const text = `The handler "${handler}" in "${foreign}" has settings that would be lost: ${lost.join(', ')}`;
  if (isAccepted) return report({ step: 'check', ...skipped(text) });
  throw new Refusal('check', `${text}. Give the flags again; --lose-settings gives the rest up`);
}

/**
 * Removes the generations that nothing needs, and resolves with those that only sandboxes need: pods that run, or what is
 * ending. Removes nothing and resolves with undefined if containerd does not say what it needs.
 */
async function removeUnused({ root, host, client, containerdConfig }: Node): Promise<Remaining | undefined> {
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

/** Copies a release's programs to the node, for systems that bring the handler themselves. They stay until it is removed. */
export async function stageOnly(
  { root, handler, report }: Node,
  source: string,
  flags: ReadonlyMap<string, string>,
): Promise<void> {
  const release = await readRelease(source);
  const generation = generationOf(release, flags);
  const { directory } = generation;
  const journal = (await readJournal(root, handler)) ?? { format: 1, handler };
  const staged = [...new Set([...(journal.staged ?? []), directory])];
  await writeJournal(root, { ...journal, staged });
  const done = await stage(source, release, { root, generation, flags });
  report({ step: 'stage', ...(done === 'unchanged' ? skipped(directory) : pass(directory)) });
}

/** The text to write, and where: in the place of another owner's handler if that is or was taken over. */
async function plan(
  node: Node,
  {
    journal,
    seen: { foreign, config, dump },
    generation,
  }: { readonly journal: Journal | undefined; readonly seen: Preflight; readonly generation: Generation },
): Promise<Written> {
  const { root, host, handler, containerdConfig } = node;
  if (foreign !== undefined) return planTakeOver(root, foreign, { handler, generation });
  const old = await presentText(node, journal, undefined);
  if (old?.instead !== undefined) return planInPlace(old, { handler, generation });
  const files = await readOtherFiles(host, containerdConfig);
  const place = { rules: config.rules, root: containerdConfig, files, dump };
  const written = planHandler(place, handler, generation);
  if (written.head === undefined && written.file !== containerdConfig) {
    const text = `the handler goes into "${written.file}": if another program writes that file again, it is gone at the next restart`;
    node.report({ step: 'check', ...skipped(text) });
  }
  return written;
}

/** Goes back to the generation before the last commit, with the same steps and the same proof. */
export async function rollback(node: Node): Promise<void> {
  const { root, handler } = node;
  const journal = await readJournal(root, handler);
  const { previous: next, installed } = journal ?? {};
  if (next === undefined)
    throw new Refusal('journal', 'There is no earlier generation. To take gVisor away, use remove');
  const seen = await preflight(node, journal);
  const generation = generationAt(next.generation);
  if (await needsRestart(node, generation)) await refuseRisks(node, seen);
  await takeBackOthers(node);
  await change(node, { containerd: seen.containerd, journal, next, leaves: installed?.generation }, [
    {
      name: 'stage',
      do: async () => {
        await refuseDamage(root, generation);
        return undefined;
      },
    },
    { name: 'pre-prove', do: () => preProve(node, generation) },
  ]);
}

/** Takes back everything that the handler's journal names: the configuration first, then the programs that nothing needs. */
export async function remove(
  node: Node,
  { force, retryNow }: { readonly force: boolean; readonly retryNow: boolean },
): Promise<void> {
  const { root, client, handler, report } = node;
  const journal = await readJournal(root, handler);
  if (journal === undefined) {
    await refuseLeftovers(node);
    return report({
      step: 'commit',
      ...skipped(`handler "${handler}" is not installed by gvisor-ready-install`),
    });
  }
  const { installed = journal.pending } = journal;
  if (installed !== undefined && !retryNow) refuseRetry(journal, { ...installed, removes: true });
  if (!force) await refusePods(node);
  const containerd = await findContainerd(root, client);
  await refuseOtherFiles(node, journal);
  if (await needsRestart(node, undefined)) {
    const status = await client.status();
    const config = await readContainerdConfig(node.host, node.containerdConfig, status.runtimeVersion);
    await refuseRisks(node, { containerd, status, config, dump: await dumpPresent(node, containerd) });
  }
  await takeBackOthers(node);
  if (installed !== undefined) await make(node, { containerd, journal, next: undefined });
  await patiently(node, 'stage', () => removePrograms(node, force));
  await removeJournal(root, handler);
  await removeUnused(node);
  report({ step: 'commit', ...pass(`handler "${handler}" is gone`) });
}

/** Without a journal nobody knows what to take back, but the handler may still be there. */
async function refuseLeftovers(node: Node): Promise<void> {
  const { host, handler, containerdConfig } = node;
  for (const { path } of (await readContainerdFiles(host, containerdConfig)).files) {
    if ((await foundIn(node, path)) === undefined) continue;
    const next = 'Remove its lines from BEGIN to END there, and restart containerd when no pod needs it';
    const message = `"${path}" has the handler "${handler}" of this program, and the journal is gone. ${next}`;
    throw new Refusal('journal', message);
  }
}

/**
 * Removes the programs that no other handler and no pod needs, once the sandboxes that are ending have ended; throws a
 * {@link Refusal} if that takes too long. With `force` it does not wait, and says which programs stay.
 */
async function removePrograms(node: Node, force: boolean): Promise<void> {
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

async function refusePods({ client, handler }: Node): Promise<void> {
  const pods = (await client.listSandboxes('SANDBOX_READY')).filter(
    (each) => each.runtimeHandler === handler && !isProbe(each),
  );
  if (pods.length === 0) return;
  const names = pods.slice(0, 5).map(({ metadata }) => `${metadata?.namespace}/${metadata?.name}`);
  const next =
    'Drain them first, or give --force: their containers would run on, but neither restart nor take exec';
  throw new Refusal('quiet', `Pods of handler "${handler}" still run (${names.join(', ')}). ${next}`);
}

/** Takes back what an interrupted run for another handler has left: this one may restart containerd, which would load it. */
async function takeBackOthers(node: Node): Promise<void> {
  const { journals } = await readJournals(node.root);
  const others = journals.filter(({ handler, pending }) => handler !== node.handler && pending !== undefined);
  for (const journal of others) await refuseOtherFiles({ ...node, handler: journal.handler }, journal);
  await takeBack(node, others);
}

/** With the kubelet's systemd driver runsc must use systemd as well. */
function withCgroupDriver(
  flags: ReadonlyMap<string, string>,
  status: CriStatus,
): ReadonlyMap<string, string> {
  return usesSystemdCgroup(status) && !flags.has('systemd-cgroup')
    ? new Map([...flags, ['systemd-cgroup', 'true']])
    : flags;
}
