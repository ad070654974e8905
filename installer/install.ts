import { randomUUID } from 'node:crypto';
import { readdir, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { withTimeout } from '../agent/async.ts';
import { CheckInputs } from '../agent/checks/check.ts';
import { runChecks } from '../agent/checks/checks.ts';
import { kernel } from '../agent/checks/kernel.ts';
import { userNamespaces } from '../agent/checks/user-namespaces.ts';
import type { CriClient, CriStatus } from '../agent/containerd/client.ts';
import { type ContainerdConfig, readContainerdConfig } from '../agent/containerd/config.ts';
import { readContainerdFiles } from '../agent/containerd/config-files.ts';
import type { Distribution } from '../agent/containerd/distribution.ts';
import type { TomlTable } from '../agent/containerd/toml.ts';
import type { Host } from '../agent/host/host.ts';
import { type ProbeOptions, runProbe, tearDown } from '../agent/proof/probe.ts';
import { findPlace, isProbe, newSandbox, ownerMark } from '../agent/proof/sandbox.ts';
import { RunscPrograms } from '../agent/runsc/program.ts';
import { errorLine } from '../agent/sanitize.ts';
import { proveCandidate } from './candidate.ts';
import {
  type ContainerdProcess,
  changedKeys,
  dumpConfig,
  findContainerd,
  isLoaded,
  restartCommand,
  restartContainerd,
} from './containerd.ts';
import { foundIn, holds, planHandler, replaceText } from './handler-config.ts';
import {
  type Installed,
  type Journal,
  readJournal,
  removeJournal,
  type Written,
  writeJournal,
} from './journal.ts';
import { Refusal, type Step } from './refusal.ts';
import {
  type Generation,
  generationAt,
  generationOf,
  listGenerations,
  readRelease,
  removeGeneration,
  stage,
} from './release.ts';

/** The node as the installer works on it. `root` is where its files are: "/" on the host itself. */
export type Node = {
  readonly root: string;
  readonly host: Host;
  readonly client: CriClient;
  /** containerd's socket as this process reaches it. */
  readonly socket: string;
  readonly distribution: Distribution;
  readonly containerdConfig: string;
  readonly handler: string;
  /** For hosts without systemd: a command of the host's shell that restarts containerd. */
  readonly restartCommand: string | undefined;
  /** Writes the configuration and does not restart containerd: for machine images. */
  readonly noRestart: boolean;
  readonly report: (progress: Progress) => void;
};

/** One line of progress: a step that began, ended well, or was left out. */
export type Progress = {
  readonly step: Step | 'commit' | 'undo';
  readonly text: string;
  readonly state: 'pass' | 'skipped' | 'fail';
};

/** How long a release that failed is not tried again, so that no controller restarts containerd again and again. */
const RETRY_MS = 30 * 60_000;
const PROVE_MS = 180_000;

export type InstallOptions = {
  /** Directory of the release on this machine. */
  readonly release: string;
  readonly flags: ReadonlyMap<string, string>;
  readonly takeOver: boolean;
  readonly dryRun: boolean;
  /** Tries again although the same release failed less than 30 minutes ago. */
  readonly retryNow: boolean;
};

/** Installs a release. Resolves once a sandbox of it was proven through the handler; throws a {@link Refusal} else. */
export async function install(node: Node, options: InstallOptions): Promise<void> {
  const { root, client, handler, report } = node;
  const release = await readRelease(options.release);
  const journal = await readJournal(root);
  const { containerd, status, config } = await check(node, journal, options.takeOver);
  const flags = withCgroupDriver(options.flags, status);
  const generation = generationOf(release, flags);
  refuseRetry(journal, generation, options.retryNow);
  const files = await readContainerdFiles(node.host, node.containerdConfig);
  const own = journal?.pending?.written ?? journal?.installed?.written;
  const others = files.files.filter(({ path }) => !(own?.isDropIn && own.file === path));
  const written = planHandler(
    { rules: config.rules, root: node.containerdConfig, files: others },
    handler,
    generation,
  );
  if (options.dryRun) return printPlan(node, journal, { generation, written });
  const next: Installed = { generation: generation.directory, written };
  const since = new Date().toISOString();
  const record = (step: Step) =>
    writeJournal(root, { format: 1, handler, ...keptOf(journal), pending: { ...next, step, since } });

  await record('stage');
  const isNew = await stage(options.release, release, { root, generation, flags });
  report({
    step: 'stage',
    state: isNew ? 'pass' : 'skipped',
    text: isNew ? `${generation.directory}` : `${generation.directory} is there, unchanged`,
  });
  const isCurrent =
    (await isLoaded(client, handler, generation)) && sameText(journal?.installed?.written, written);
  if (!isCurrent) {
    await record('pre-prove');
    const { bootMs } = await proveCandidate(node.socket, { root, generation });
    report({
      step: 'pre-prove',
      state: 'pass',
      text: `a sandbox of ${generation.release} booted beside the handler in ${seconds(bootMs)}, and ran a program`,
    });
  }
  await applyInstalled(node, { containerd, journal, next, record });
  await writeJournal(root, {
    format: 1,
    handler,
    installed: next,
    previous: journal?.installed?.generation === next.generation ? journal.previous : journal?.installed,
  });
  report({ step: 'commit', state: 'pass', text: `handler "${handler}" runs gVisor ${generation.release}` });
  await collectGenerations(node);
}

/** Goes back to the generation before the last commit, with the same steps and the same proof. */
export async function rollback(node: Node): Promise<void> {
  const { root, handler, report } = node;
  const journal = await readJournal(root);
  const next = journal?.previous;
  if (journal?.installed === undefined || next === undefined) {
    throw new Refusal('journal', 'There is no earlier generation to go back to. To take gVisor away: remove');
  }
  const { containerd } = await check(node, journal, false);
  const since = new Date().toISOString();
  const record = (step: Step) =>
    writeJournal(root, { format: 1, handler, ...keptOf(journal), pending: { ...next, step, since } });
  await applyInstalled(node, { containerd, journal, next, record });
  await writeJournal(root, { format: 1, handler, installed: next, previous: journal.installed });
  report({
    step: 'commit',
    state: 'pass',
    text: `handler "${handler}" runs gVisor ${generationAt(next.generation).release} again`,
  });
}

/** Takes back everything that the journal names: the configuration, then the programs. */
export async function remove(node: Node, force: boolean): Promise<void> {
  const { root, client, handler, report } = node;
  const journal = await readJournal(root);
  if (journal === undefined)
    throw new Refusal('journal', 'Nothing is installed: there is no journal on this node');
  const users = await usersOf(root, await listGenerations(root));
  if (users.length > 0 && !force) {
    const next = 'Drain the node, or give --force: their containers would not restart';
    throw new Refusal(
      'quiet',
      `${users.length} processes of gVisor sandboxes still run (${users
        .slice(0, 3)
        .map(({ pid }) => pid)
        .join(', ')}). ${next}`,
    );
  }
  const containerd = await findContainerd(root, client);
  const written = journal.pending?.written ?? journal.installed?.written;
  const since = new Date().toISOString();
  if (written !== undefined) {
    await writeJournal(root, { ...journal, pending: { generation: '', written, step: 'write', since } });
    await replaceText(root, await ownText(root, journal), undefined);
    report({ step: 'write', state: 'pass', text: `took the handler out of "${written.file}"` });
  }
  await restartIfNeeded(node, containerd, undefined);
  if (!node.noRestart) await proveRunc(node);
  for (const generation of await listGenerations(root)) {
    if ((await usersOf(root, [generation])).length > 0 && !force) continue;
    await removeGeneration(root, generation);
  }
  await removeJournal(root);
  report({ step: 'commit', state: 'pass', text: `handler "${handler}" and gVisor's programs are gone` });
}

/** Read-only: whether this node can have gVisor, and whose handler is there. */
export async function check(
  node: Node,
  journal: Journal | undefined,
  takeOver: boolean,
): Promise<{
  readonly containerd: ContainerdProcess;
  readonly status: CriStatus;
  readonly config: ContainerdConfig;
}> {
  const { root, host, client, distribution, handler, containerdConfig, report } = node;
  if (!SUPPORTED.includes(distribution.name)) {
    throw new Refusal(
      'check',
      `${distribution.name} manages containerd itself: add the handler in ${distribution.edit}. To see it: print`,
    );
  }
  const signal = AbortSignal.timeout(30_000);
  const sources = {
    host,
    cri: client,
    handler,
    containerdConfig,
    edit: distribution.edit,
    programs: new RunscPrograms(),
    requireLimits: false,
    forbidFlagOverride: false,
  };
  const findings = await runChecks([kernel, userNamespaces], new CheckInputs(sources, signal), {
    now: () => performance.now(),
    signal,
  });
  const failed = findings.find((finding) => finding.status === 'fail');
  if (failed?.status === 'fail') throw new Refusal('check', failed.message, { reason: failed.reason });
  const status = await client.status(signal).catch((cause) => {
    throw new Refusal('check', `containerd does not respond at "${client.socket}": ${errorLine(cause)}`, {
      cause,
      reason: 'ContainerdUnreachable',
    });
  });
  const containerd = await findContainerd(root, client);
  const config = await readContainerdConfig(host, containerdConfig, status.runtimeVersion);
  if (config.fault !== undefined) {
    const { file, line, problem } = config.fault;
    throw new Refusal(
      'check',
      `containerd would not start with its configuration: "${file}" line ${line}: ${problem}`,
      { reason: 'ContainerdConfigInvalid' },
    );
  }
  const restart = restartCommand({ root, client, containerd, command: node.restartCommand });
  if (restart === undefined && !node.noRestart)
    throw new Refusal(
      'check',
      'No systemd unit runs containerd here. Give --restart-command with what restarts it, or --no-restart',
    );
  await refuseForeign(node, config, journal, takeOver);
  report({
    step: 'check',
    state: 'pass',
    text: `containerd ${status.runtimeVersion}, configuration "${containerdConfig}"`,
  });
  return { containerd, status, config };
}

/** Distributions whose containerd reads its configuration from files that last. */
const SUPPORTED = ['containerd', 'kind', 'EKS', 'AKS'];

/** A handler of the same name that somebody else configured is left alone, unless it is to be taken over. */
async function refuseForeign(
  { root, handler }: Node,
  config: ContainerdConfig,
  journal: Journal | undefined,
  takeOver: boolean,
): Promise<void> {
  const present = config.runtimes.get(handler);
  if (present?.file === undefined) return;
  const owns = journal?.installed ?? journal?.pending;
  if (owns !== undefined && (await foundIn(root, present.file)) !== undefined) return;
  const place = `"${present.file}" line ${present.line}`;
  if (takeOver) {
    throw new Refusal(
      'check',
      `${place} configures the handler "${handler}". Remove these lines, and install again: what others wrote is never edited`,
    );
  }
  throw new Refusal(
    'check',
    `The handler "${handler}" is configured by somebody else, in ${place}: it is left alone. To replace it: remove these lines, and install again`,
  );
}

type Application = {
  readonly containerd: ContainerdProcess;
  readonly journal: Journal | undefined;
  readonly next: Installed;
  readonly record: (step: Step) => Promise<void>;
};

/** Writes, validates, restarts and proves; takes everything back where one of these fails. */
async function applyInstalled(node: Node, { containerd, journal, next, record }: Application): Promise<void> {
  const { root, containerdConfig, report } = node;
  const old = await ownText(root, journal);
  const generation = generationAt(next.generation);
  try {
    const before = await dumpConfig(root, containerd, containerdConfig);
    await record('write');
    const isWritten = sameText(old, next.written);
    await replaceText(root, old, next.written);
    report({
      step: 'write',
      state: isWritten ? 'skipped' : 'pass',
      text: isWritten
        ? `"${next.written.file}" is up to date`
        : `"${next.written.file}" names the generation`,
    });
    await record('validate');
    await validate(node, containerd, before);
    await record('restart');
    await restartIfNeeded(node, containerd, generation);
    await record('prove');
    if (!node.noRestart) await prove(node);
  } catch (error) {
    await undo(node, { containerd, journal, next, error });
    throw error;
  }
}

/** containerd itself must see a change of exactly our handler: a wrong table or import would show here. */
async function validate(
  { root, handler, containerdConfig, report }: Node,
  containerd: ContainerdProcess,
  before: TomlTable,
): Promise<void> {
  const after = await dumpConfig(root, containerd, containerdConfig).catch((cause) => {
    throw new Refusal('validate', `containerd refuses the new configuration: ${errorLine(cause)}`, {
      cause,
      reason: 'ContainerdConfigInvalid',
    });
  });
  const isOurs = ([top, , ...rest]: readonly string[]) =>
    top === 'imports' || (top === 'plugins' && rest.slice(0, 3).join() === `containerd,runtimes,${handler}`);
  const foreign = changedKeys(before, after).filter((path) => !isOurs(path));
  if (foreign.length > 0) {
    const named = foreign.slice(0, 5).map((path) => path.join('.'));
    throw new Refusal(
      'validate',
      `The new configuration would change more than the handler: ${named.join(', ')}`,
    );
  }
  report({
    step: 'validate',
    state: 'pass',
    text: 'containerd reads the new configuration, and only the handler differs',
  });
}

async function restartIfNeeded(
  node: Node,
  containerd: ContainerdProcess,
  generation: Generation | undefined,
): Promise<void> {
  const { root, client, handler, report } = node;
  if (node.noRestart) {
    report({
      step: 'restart',
      state: 'skipped',
      text: 'containerd loads the handler when it starts next (--no-restart)',
    });
    return;
  }
  if (await isLoaded(client, handler, generation)) {
    report({ step: 'restart', state: 'skipped', text: 'containerd has loaded it already' });
    return;
  }
  const before = await readyPods(client);
  const awayMs = await restartContainerd({ root, client, containerd, command: node.restartCommand });
  if (!(await isLoaded(client, handler, generation)))
    throw new Refusal(
      'restart',
      `containerd restarted and did not load the handler "${handler}" as written`,
      { reason: 'HandlerNotLoaded' },
    );
  const after = await readyPods(client);
  const lost = [...before].filter(([id]) => !after.has(id)).map(([, name]) => name);
  const ended =
    lost.length === 0
      ? `all ${before.size} pods run on`
      : `${lost.length} pods ended meanwhile: ${lost.slice(0, 5).join(', ')}`;
  report({ step: 'restart', state: 'pass', text: `containerd was away for ${seconds(awayMs)}; ${ended}` });
}

async function readyPods(client: CriClient): Promise<ReadonlyMap<string, string>> {
  const sandboxes = await client.listSandboxes('SANDBOX_READY');
  return new Map(
    sandboxes
      .filter((each) => !isProbe(each))
      .map(({ id, metadata }) => [id, `${metadata?.namespace}/${metadata?.name}`]),
  );
}

/** The commit point: the agent's own proof through the handler, and a sandbox of runc. */
async function prove(node: Node): Promise<void> {
  const { handler, report } = node;
  const outcome = await withTimeout((signal) => runProbe(probeOptions(node, signal)), {
    signal: new AbortController().signal,
    timeoutMs: PROVE_MS,
  });
  if (outcome.kind !== 'proven')
    throw new Refusal('prove', `A sandbox of handler "${handler}" is not proven: ${outcome.message}`, {
      reason: outcome.reason,
    });
  await proveRunc(node);
  report({ step: 'prove', state: 'pass', text: `${outcome.message}; runc works as well` });
}

async function proveRunc(node: Node): Promise<void> {
  const { client, host } = node;
  const place = await findPlace(client);
  const owner = ownerMark();
  try {
    const id = await client.runSandbox(newSandbox(place, owner), '', { timeoutMs: PROVE_MS });
    await tearDown({ client, host }, id);
  } catch (cause) {
    throw new Refusal('prove', `A sandbox of the default handler does not start: ${errorLine(cause)}`, {
      cause,
      reason: 'NoSandboxStarts',
    });
  }
}

function probeOptions({ client, host, handler }: Node, signal: AbortSignal): ProbeOptions {
  return { client, host, handler, signal, now: () => performance.now(), owner: ownerMark(randomUUID()) };
}

type Failed = {
  readonly containerd: ContainerdProcess;
  readonly journal: Journal | undefined;
  readonly next: Installed;
  readonly error: unknown;
};

/** Restores what was committed last, and proves that what worked before works. */
async function undo(node: Node, { journal, next, error }: Failed): Promise<void> {
  const { root, client, handler, report } = node;
  const committed = journal?.installed;
  const message = errorLine(error);
  const at = new Date();
  await replaceText(root, (await holds(root, next.written)) ? next.written : undefined, committed?.written);
  const generation = committed && generationAt(committed.generation);
  if (!node.noRestart && !(await isLoaded(client, handler, generation).catch(() => false))) {
    const containerd = await findContainerd(root, client);
    await restartContainerd({ root, client, containerd, command: node.restartCommand });
  }
  if (!node.noRestart) await proveRunc(node);
  const failure = {
    generation: next.generation,
    step: error instanceof Refusal ? error.step : 'prove',
    ...(error instanceof Refusal && error.reason !== undefined ? { reason: error.reason } : {}),
    message,
    at: at.toISOString(),
    retryAt: new Date(at.getTime() + RETRY_MS).toISOString(),
  };
  await writeJournal(root, {
    format: 1,
    handler,
    installed: committed,
    previous: journal?.previous,
    failure,
  });
  const state =
    committed === undefined ? 'without the handler' : `with ${generationAt(committed.generation).release}`;
  report({ step: 'undo', state: 'fail', text: `the node works as before, ${state}: ${message}` });
}

/** The installer's text that stands in containerd's file now: that of an interrupted run, or of the last commit. */
async function ownText(root: string, journal: Journal | undefined): Promise<Written | undefined> {
  const candidates = [journal?.pending?.written, journal?.installed?.written].filter(
    (each) => each !== undefined,
  );
  for (const written of candidates) if (await holds(root, written)) return written;
  return journal?.installed?.written;
}

function sameText(a: Written | undefined, b: Written | undefined): boolean {
  return a?.file === b?.file && a?.text === b?.text;
}

function keptOf(journal: Journal | undefined): Pick<Journal, 'installed' | 'previous'> {
  return { installed: journal?.installed, previous: journal?.previous };
}

function refuseRetry(journal: Journal | undefined, generation: Generation, retryNow: boolean): void {
  const { failure } = journal ?? {};
  if (retryNow || failure?.generation !== generation.directory || Date.now() >= Date.parse(failure.retryAt))
    return;
  throw new Refusal(
    'journal',
    `${generation.release} failed at ${failure.at} in step ${failure.step} (${failure.message}), and is tried again after ${failure.retryAt}. To try now: --retry-now`,
  );
}

/** With the kubelet's systemd driver, which runc's options show, runsc must use systemd as well. */
function withCgroupDriver(
  flags: ReadonlyMap<string, string>,
  { runtimes }: CriStatus,
): ReadonlyMap<string, string> {
  const usesSystemd = [...runtimes.values()].some(({ options }) => options.SystemdCgroup === true);
  return usesSystemd && !flags.has('systemd-cgroup')
    ? new Map([...flags, ['systemd-cgroup', 'true']])
    : flags;
}

type User = { readonly pid: number; readonly program: string };

/** Processes that run a program of these generations. */
export async function usersOf(root: string, generations: readonly Generation[]): Promise<readonly User[]> {
  const pids = (await readdir(join(root, '/proc'))).filter((name) => /^\d+$/.test(name));
  const users: User[] = [];
  for (const pid of pids) {
    const program = await readlink(join(root, `/proc/${pid}/exe`)).catch(() => '');
    if (generations.some(({ directory }) => program.startsWith(`${directory}/`)))
      users.push({ pid: Number(pid), program });
  }
  return users;
}

/** Removes the generations that are neither installed nor the previous one, and that no process uses. */
async function collectGenerations({ root, report }: Node): Promise<void> {
  const journal = await readJournal(root);
  const kept = [journal?.installed?.generation, journal?.previous?.generation];
  for (const generation of await listGenerations(root)) {
    if (kept.includes(generation.directory) || (await usersOf(root, [generation])).length > 0) continue;
    await removeGeneration(root, generation);
    report({ step: 'commit', state: 'pass', text: `removed the unused generation ${generation.directory}` });
  }
}

function printPlan(
  { report, handler }: Node,
  journal: Journal | undefined,
  { generation, written }: { readonly generation: Generation; readonly written: Written },
): void {
  const { installed } = journal ?? {};
  const from = installed === undefined ? 'nothing' : generationAt(installed.generation).release;
  report({
    step: 'stage',
    state: 'skipped',
    text: `would install ${generation.directory} (handler "${handler}" runs ${from} now)`,
  });
  report({ step: 'write', state: 'skipped', text: `would write to "${written.file}":\n${written.text}` });
}

function seconds(ms: number): string {
  return `${(ms / 1_000).toFixed(2)} s`;
}
