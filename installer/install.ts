import timers from 'node:timers/promises';
import { type CriStatus, usesSystemdCgroup } from '../agent/containerd/client.ts';
import { isProbe } from '../agent/proof/sandbox.ts';
import { Bundles } from '../agent/sandboxes/bundles.ts';
import { errorLine } from '../agent/sanitize.ts';
import { apply, loadQuietly, needsRestart, proveRunc, restore } from './apply.ts';
import { killBundle, proveCandidate } from './candidate.ts';
import { type ContainerdProcess, findContainerd, isLoaded, loadedByOthers } from './containerd.ts';
import { isNamed, removeUnusedGenerations, usersOf } from './generations.ts';
import {
  holds,
  planHandler,
  planInPlace,
  planTakeOver,
  readOtherFiles,
  replaceText,
} from './handler-config.ts';
import {
  type Installed,
  type Journal,
  readJournal,
  readJournals,
  readOwnProcess,
  removeJournal,
  type Written,
  writeJournal,
} from './journal.ts';
import { type Node, Refusal, type Step, seconds } from './node.ts';
import { type Preflight, preflight } from './preflight.ts';
import { waitForQuiet } from './quiet.ts';
import { type Generation, generationAt, generationOf, readRelease, stage } from './release.ts';

/** How long a release that failed is not tried again, so that no controller restarts containerd again and again. */
const RETRY_MS = 30 * 60_000;

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
  /** Tries a release again that failed less than 30 minutes ago. */
  readonly retryNow: boolean;
  /** Replaces a handler of the same name of another owner. */
  readonly takeOver: boolean;
};

/**
 * Installs a release: resolves once a sandbox of it was proven through the handler. Throws a {@link Refusal} else, and the
 * node works as before. An installation that was interrupted is finished, or replaced.
 */
export async function install(node: Node, options: InstallOptions): Promise<void> {
  const { root, handler, report } = node;
  const release = await readRelease(options.release);
  const journal = await readJournal(root, handler);
  const seen = await preflight(node, journal, options.takeOver);
  if (!options.dryRun) await undoOthers(node, seen.containerd);
  const flags = withCgroupDriver(options.flags, seen.status);
  const generation = generationOf(release, flags);
  if (!options.retryNow) refuseRetry(journal, generation);
  const written = await plan(node, { journal, seen, generation });
  if (options.dryRun) {
    report({ step: 'stage', state: 'skipped', text: `would install ${generation.directory}` });
    return report({
      step: 'write',
      state: 'skipped',
      text: `would write to "${written.file}":\n${written.head ?? ''}${written.text}`,
    });
  }
  const next = { generation: generation.directory, written };
  await commit(node, { journal, seen, next }, async (record) => {
    await record('stage');
    const isNew = await stage(options.release, release, { root, generation, flags });
    const text = isNew ? generation.directory : `${generation.directory} is there, unchanged`;
    report({ step: 'stage', state: isNew ? 'pass' : 'skipped', text });
    const isCurrent = journal?.installed?.generation === next.generation;
    if (isCurrent && (await isLoaded(node.client, handler, generation))) return;
    await record('pre-prove');
    const { bootMs } = await proveCandidate(node.socket, { root, generation });
    report({
      step: 'pre-prove',
      state: 'pass',
      text: `${release.name} booted beside the handler in ${seconds(bootMs)}, and ran a program`,
    });
  });
  await removeUnused(node);
}

/**
 * Removes the generations that nothing needs, and resolves with those that only sandboxes need: pods that run, or what is
 * ending. Removes nothing and resolves with undefined if containerd does not say what it needs.
 */
async function removeUnused({ root, host, client, handler }: Node): Promise<Remaining | undefined> {
  try {
    const loaded = loadedByOthers(await client.status(), handler);
    const sandboxes = await client.listSandboxes('all');
    const pods = sandboxes.filter((each) => each.state === 'SANDBOX_READY' && !isProbe(each));
    // A restart of containerd can leave a bundle without a sandbox, which nothing needs (seen on 2.4.2).
    const read = await new Bundles(host, client.bundles).read(AbortSignal.timeout(BUNDLES_MS));
    const bundles = (read ?? []).filter(({ id }) => sandboxes.some((each) => each.id === id));
    const programsOf = (of: typeof bundles) => of.flatMap(({ program }) => program ?? []);
    const used = await removeUnusedGenerations(root, { loaded, bundled: programsOf(bundles) });
    const running = programsOf(bundles.filter(({ id }) => pods.some((pod) => pod.id === id)));
    return { used, ending: used.filter((directory) => !isNamed(directory, running)) };
  } catch {
    return undefined;
  }
}

type Remaining = { readonly used: readonly string[]; readonly ending: readonly string[] };

/** Copies a release's programs to the node, for systems that bring the handler themselves. */
export async function stageOnly(
  { root, report }: Node,
  directory: string,
  flags: ReadonlyMap<string, string>,
): Promise<void> {
  const release = await readRelease(directory);
  const generation = generationOf(release, flags);
  const isNew = await stage(directory, release, { root, generation, flags });
  report({ step: 'stage', state: isNew ? 'pass' : 'skipped', text: generation.directory });
}

/** The text to write, and where: in the place of another owner's handler if that is or was taken over. */
async function plan(
  { root, host, handler, containerdConfig }: Node,
  { journal, seen, generation }: Pick<Commit, 'journal' | 'seen'> & { readonly generation: Generation },
): Promise<Written> {
  if (seen.foreign !== undefined) return planTakeOver(root, seen.foreign, { handler, generation });
  const old = await currentText(root, journal);
  if (old?.instead !== undefined) return planInPlace(old, { handler, generation });
  const files = await readOtherFiles(host, containerdConfig);
  return planHandler({ rules: seen.config.rules, root: containerdConfig, files }, handler, generation);
}

/** Goes back to the generation before the last commit, with the same steps and the same proof. */
export async function rollback(node: Node): Promise<void> {
  const journal = await readJournal(node.root, node.handler);
  if (journal?.previous === undefined)
    throw new Refusal('journal', 'There is no earlier generation. To take gVisor away, use remove');
  const seen = await preflight(node, journal);
  await undoOthers(node, seen.containerd);
  await commit(node, { journal, seen, next: journal.previous });
}

/** Takes back everything that the handler's journal names: the configuration first, then the programs that nothing needs. */
export async function remove(node: Node, force: boolean): Promise<void> {
  const { root, client, handler, report } = node;
  const journal = await readJournal(root, handler);
  if (journal === undefined) {
    const text = `handler "${handler}" is not installed by gvisor-ready-install`;
    return report({ step: 'commit', state: 'skipped', text });
  }
  if (!force) await refusePods(node);
  const containerd = await findContainerd(root, client);
  await undoOthers(node, containerd);
  if (await needsRestart(node, undefined)) await waitForQuiet(node);
  const old = await currentText(root, journal);
  const { installed = journal.pending } = journal;
  // From here on an interrupted removal is an interrupted installation: the next run of either finds what is left.
  if (installed !== undefined) {
    const { generation, written } = installed;
    const what = { generation, written, step: 'write', removes: true } as const;
    const pending = { ...what, ...(await startOf(node, containerd)) };
    await writeJournal(root, { format: 1, handler, pending });
  }
  if (old !== undefined) {
    await replaceText(node, old, undefined);
    report({ step: 'write', state: 'pass', text: `took the handler out of "${old.file}"` });
  }
  await loadQuietly(node, containerd, undefined);
  if (!node.noRestart) await proveRunc(node);
  await removePrograms(node, force);
  await removeJournal(root, handler);
  await removeUnused(node);
  report({ step: 'commit', state: 'pass', text: `handler "${handler}" is gone` });
}

/**
 * Removes the programs that no other handler and no pod needs, once the sandboxes that are ending have ended; throws a
 * {@link Refusal} if that takes too long. With `force` it does not wait, and says which programs stay.
 */
async function removePrograms(node: Node, force: boolean): Promise<void> {
  const say = (text: string) => node.report({ step: 'stage', state: 'skipped', text });
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
async function undoOthers(node: Node, containerd: ContainerdProcess): Promise<void> {
  const { root, report } = node;
  for (const journal of await readJournals(root)) {
    const { handler, pending, installed, previous } = journal;
    if (handler === node.handler || pending === undefined) continue;
    const other = { ...node, handler };
    if (pending.removes) await refusePods(other);
    await replaceText(other, await currentText(root, journal), installed?.written);
    await loadQuietly(other, containerd, installed && generationAt(installed.generation));
    if (installed === undefined) await removeJournal(root, handler);
    else await writeJournal(root, { format: 1, handler, installed, previous });
    const what = pending.removes ? 'finished the removal' : 'took back the installation';
    const text = `${what} that was interrupted in step ${pending.step}, of handler "${handler}"`;
    report({ step: 'undo', state: 'pass', text });
  }
}

/** What the journal says of this run while it is under way. */
async function startOf({ root }: Node, { unit }: ContainerdProcess) {
  return { since: new Date().toISOString(), process: await readOwnProcess(root), unit };
}

type Commit = {
  readonly journal: Journal | undefined;
  readonly seen: Preflight;
  readonly next: Installed;
};
type Recorder = (step: Step) => Promise<void>;

/** Prepares and applies a change, recording each step first; where one fails, restores what was committed last. */
async function commit(
  node: Node,
  { journal, seen: { containerd }, next }: Commit,
  prepare: (record: Recorder) => Promise<void> = async () => {},
): Promise<void> {
  const { root, handler, report } = node;
  const { installed, previous } = journal ?? {};
  const kept = { format: 1, handler, installed, previous } as const;
  const started = await startOf(node, containerd);
  let at: Step = 'check';
  const record: Recorder = async (step) => {
    at = step;
    await writeJournal(root, { ...kept, pending: { ...next, ...started, step } });
  };
  const old = await currentText(root, journal);
  try {
    await prepare(record);
    await apply(node, { containerd, old, next, record });
  } catch (cause) {
    const error = cause instanceof Refusal ? cause : new Refusal(at, errorLine(cause), { cause });
    const from = (await holds(root, next.written)) ? next.written : old;
    if (from !== undefined && !sameText(from, installed?.written)) {
      await restore(node, containerd, [from, installed]).catch((cause) => {
        const message = `${errorLine(error)}. The node could not be restored either (${errorLine(cause)}): the next run tries again`;
        throw new Refusal('restart', message, { cause });
      });
      report({ step: 'undo', state: 'pass', text: 'the node works as before' });
    }
    // On a full disk the journal cannot be written either, and says what is true since the last step.
    await writeJournal(root, { ...kept, failure: failureOf(next, error) }).catch(() => {});
    await removeUnused(node);
    throw error;
  }
  const isSame = installed?.generation === next.generation;
  await writeJournal(root, { ...kept, installed: next, previous: isSame ? previous : installed });
  const { release } = generationAt(next.generation);
  report({ step: 'commit', state: 'pass', text: `handler "${handler}" runs gVisor ${release}` });
}

function failureOf(
  { generation }: Installed,
  { step, reason, message }: Refusal,
): NonNullable<Journal['failure']> {
  const at = Date.now();
  return {
    generation,
    step,
    ...(reason === undefined ? {} : { reason }),
    message,
    at: new Date(at).toISOString(),
    // A busy node says nothing about the release, and waiting for it costs nothing.
    retryAt: new Date(step === 'quiet' ? at : at + RETRY_MS).toISOString(),
  };
}

function refuseRetry(journal: Journal | undefined, { directory, release }: Generation): void {
  const { failure } = journal ?? {};
  if (failure?.generation !== directory || Date.now() >= Date.parse(failure.retryAt)) return;
  const next = `It is tried again after ${failure.retryAt}, or now with --retry-now`;
  throw new Refusal(
    'journal',
    `${release} failed at ${failure.at} in step ${failure.step} (${failure.message}). ${next}`,
    failure.reason === undefined ? {} : { reason: failure.reason },
  );
}

/** The installer's text in containerd's file: that of an interrupted run, or of the last commit. */
async function currentText(root: string, journal: Journal | undefined): Promise<Written | undefined> {
  const { pending, installed } = journal ?? {};
  return pending !== undefined && (await holds(root, pending.written)) ? pending.written : installed?.written;
}

function sameText(a: Written | undefined, b: Written | undefined): boolean {
  return a?.file === b?.file && a?.text === b?.text;
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
