import { sanitizeLine } from '../base/sanitize.ts';
import type { ListedSandbox, PodContainer } from '../containerd/client.ts';
import { LOAD_TIMEOUT_MS, type ShimResponse } from '../containerd/shim-calls.ts';
import type { Bundle } from './bundles.ts';
import { type RestartSafety, SANDBOX_PROBLEMS, type SandboxProblem, type SandboxReason } from './problem.ts';
import { type SandboxProcesses, type Sentry, type Shim, TICKS_PER_SECOND } from './processes.ts';

/** The purpose of a shim; a field without a record is absent. */
export type Owner = {
  /** The bundle's id. */
  readonly id?: string | undefined;
  readonly sandbox?: string | undefined;
  readonly pod?: ListedSandbox['metadata'] | undefined;
};

export type Observation = {
  /** Monotonic clock, milliseconds. */
  readonly nowMs: number;
  /** Wall clock, milliseconds. */
  readonly atMs: number;
  readonly sandboxes: ReadonlyMap<string, ListedSandbox>;
  readonly containers: ReadonlyMap<string, PodContainer>;
  readonly processes: SandboxProcesses;
  readonly bundles: ReadonlyMap<string, Bundle>;
  /** By PID of the shim; also from earlier scans. */
  readonly owners: ReadonlyMap<number, Owner>;
  /** By socket path. */
  readonly responses: ReadonlyMap<string, ShimResponse>;
  /** Programs of shims that do not exist. */
  readonly missing: ReadonlySet<string>;
  /** Sandboxes whose sentry is not of the program that a restarted container would run. */
  readonly outdated: ReadonlySet<string>;
  /** Gaps in the scan, one sentence each. */
  readonly unseen: readonly string[];
};

/** When each condition was first seen, and whether it was reported. */
export type KnownProblems = ReadonlyMap<
  string,
  { readonly nowMs: number; readonly atMs: number; readonly reported: boolean }
>;

export type Judgement = {
  readonly problems: readonly SandboxProblem[];
  readonly restart: RestartSafety;
  readonly memory: KnownProblems;
};

const MINUTE_MS = 60_000;
const BUSY_FACTOR = 5;
const COMMAND_MS = 2 * MINUTE_MS;
const MAX_BECAUSE = 8;

const STATES: Readonly<Record<string, string>> = { T: 'stopped', t: 'traced', D: 'waiting in the kernel' };

type Candidate = Pick<SandboxProblem, 'reason' | 'message' | 'sandbox' | 'pids'> & {
  readonly pod: Owner['pod'];
  /** Of the oldest process. */
  readonly startTicks: number;
};

/** A condition counts once it has lasted, longer on a `busy` node, and then until it ends. */
export function judgeSandboxes(observation: Observation, memory: KnownProblems, busy: boolean): Judgement {
  const { nowMs, atMs, processes } = observation;
  const next = new Map<string, { nowMs: number; atMs: number; reported: boolean }>();
  const problems: SandboxProblem[] = [];
  for (const { pod, startTicks, ...candidate } of candidatesOf(observation)) {
    const { reason, sandbox } = candidate;
    const key = [reason, sandbox, startTicks].join(' ');
    const first = memory.get(key) ?? { nowMs, atMs, reported: false };
    const reported = first.reported || nowMs - first.nowMs >= holdMs(reason, busy);
    next.set(key, { ...first, reported });
    if (!reported) continue;
    const ageSeconds = Math.max(Math.round((processes.nowTicks - startTicks) / TICKS_PER_SECOND), 0);
    problems.push({ ...candidate, ...podOf(pod), since: new Date(first.atMs).toISOString(), ageSeconds });
  }
  problems.sort((a, b) => rankOf(a.reason) - rankOf(b.reason) || b.ageSeconds - a.ageSeconds);
  return { problems, restart: judgeRestart(observation, problems), memory: next };
}

/** 0 is the most severe. */
function rankOf(wanted: SandboxReason): number {
  return SANDBOX_PROBLEMS.findIndex(({ reason }) => reason === wanted);
}

/** How long a problem lasts before it is reported. */
function holdMs(reason: SandboxReason, busy: boolean): number {
  const { minutes = 0, evenIfBusy = false } = SANDBOX_PROBLEMS[rankOf(reason)] ?? {};
  return minutes * MINUTE_MS * (busy && !evenIfBusy ? BUSY_FACTOR : 1);
}

function candidatesOf(observation: Observation): readonly Candidate[] {
  const { sandboxes, processes } = observation;
  const sentriesOf = Map.groupBy(processes.sentries, ({ id }) => id);
  const candidates = processes.shims.flatMap((shim) => judgeShim(observation, shim, sentriesOf) ?? []);
  for (const sentry of processes.sentries) {
    const { id, pid, startTicks } = sentry;
    const sandbox = sandboxes.get(id);
    if (sandbox === undefined) continue;
    const common = { sandbox: id, pids: [pid], startTicks, pod: sandbox.metadata };
    if (sandbox.state === 'SANDBOX_NOTREADY') {
      const message = `The sandbox has ended, and its sentry ${describe(sentry)} still runs`;
      candidates.push({ ...common, reason: 'SentryLingers', message });
    } else if (observation.outdated.has(id)) {
      const message = `The sentry ${pid} runs another program than the runsc that would restart the pod's containers`;
      candidates.push({ ...common, reason: 'SandboxOutdated', message });
    }
  }
  return [...candidates, ...withHangingCommands(observation), ...withoutProgram(observation)];
}

/** A stopped sentry is enough: containerd 2.x kills and restarts commands that wait for it, so that none gets old. */
function withHangingCommands(observation: Observation): readonly Candidate[] {
  const { sandboxes, processes } = observation;
  const oldTicks = processes.nowTicks - (COMMAND_MS / 1_000) * TICKS_PER_SECOND;
  const found = [
    ...processes.sentries
      .filter(({ id, state }) => state === 'T' && sandboxes.get(id)?.state === 'SANDBOX_READY')
      .map((sentry) => ({
        ...sentry,
        message: `The sentry ${describe(sentry)} answers no command of runsc`,
      })),
    ...processes.commands
      .filter(({ startTicks }) => startTicks <= oldTicks)
      .map((each) => ({
        ...each,
        message: `"runsc ${each.command}", process ${describe(each)}, does not end`,
      })),
  ];
  const bySandbox = Map.groupBy(found, ({ id }) => ownerOf(observation, id).sandbox ?? id);
  return [...bySandbox].map(([sandbox, all]) => ({
    reason: 'RuntimeCommandHangs',
    message: all[0]?.message ?? '',
    sandbox,
    pids: all.map(({ pid }) => pid),
    startTicks: Math.min(...all.map(({ startTicks }) => startTicks)),
    pod: sandboxes.get(sandbox)?.metadata,
  }));
}

/** One problem for one cause. */
function judgeShim(
  observation: Observation,
  shim: Shim,
  sentriesOf: ReadonlyMap<string, readonly Sentry[]>,
): Candidate | undefined {
  const { sandboxes, containers, bundles, owners } = observation;
  const { id, sandbox = id ?? '', pod } = owners.get(shim.pid) ?? {};
  const { pid, startTicks } = shim;
  const common = { sandbox, pids: [pid], startTicks, pod };
  const [listed, container] = [sandboxes.get(sandbox), containers.get(id ?? '')];
  const sentries = sentriesOf.get(sandbox) ?? [];
  if (listed === undefined && container === undefined) {
    // Without bundles the shim's owner is unknown.
    if (id === undefined && bundles.size === 0) return undefined;
    const message = `The shim ${describe(shim)} belongs to no sandbox that containerd knows`;
    const pids = [pid, ...sentries.map((sentry) => sentry.pid)];
    return { ...common, reason: 'ShimOrphaned', message, pids };
  }
  if (isUnresponsive(observation, shim)) {
    const message = `The shim ${describe(shim)} does not answer: a restarted containerd would wait ${LOAD_TIMEOUT_MS / 1_000} s for it, then give its pod up`;
    return { ...common, reason: 'ShimUnresponsive', message };
  }
  const hasSandboxEnded = listed?.state === 'SANDBOX_NOTREADY';
  // A sentry that lingers keeps its shims.
  if (hasSandboxEnded && sentries.length > 0) return undefined;
  if (!hasSandboxEnded && container?.state !== 'CONTAINER_EXITED') return undefined;
  const what = hasSandboxEnded ? 'sandbox' : 'container';
  const message = `The ${what} has ended, and its shim ${describe(shim)} has not`;
  return { ...common, reason: 'ShimLingers', message };
}

/** Each sandbox once, with its shims. */
function withoutProgram(observation: Observation): readonly Candidate[] {
  const { sandboxes, bundles, missing, owners, processes } = observation;
  const found = new Map<string, Candidate>();
  for (const { id, program } of bundles.values()) {
    if (program === undefined || !missing.has(program)) continue;
    const { sandbox, pod } = ownerOf(observation, id);
    if (sandbox === undefined || sandboxes.get(sandbox)?.state !== 'SANDBOX_READY' || found.has(sandbox))
      continue;
    const shims = processes.shims.filter(({ pid }) => owners.get(pid)?.sandbox === sandbox);
    const message = `"${sanitizeLine(program)}", the program of the sandbox's shim, does not exist any more`;
    const startTicks = Math.min(processes.nowTicks, ...shims.map((shim) => shim.startTicks));
    const pids = shims.map(({ pid }) => pid);
    found.set(sandbox, { reason: 'ShimProgramMissing', message, sandbox, pids, startTicks, pod });
  }
  return [...found.values()];
}

/** A slow shim makes it unknown: on a busy node a new one may outlast the call. */
function judgeRestart(observation: Observation, problems: readonly SandboxProblem[]): RestartSafety {
  const { processes, owners, containers, sandboxes } = observation;
  const unresponsive = processes.shims.filter((shim) => isUnresponsive(observation, shim));
  const reported = problems.flatMap(({ reason, pids }) => (reason === 'ShimUnresponsive' ? pids : []));
  const silent = unresponsive.filter(({ pid, state }) => state === 'T' || reported.includes(pid));
  const gvisor = new Set(processes.sentries.map(({ id }) => id));
  const starting = [...containers.values()].filter(
    ({ podSandboxId: id, state }) =>
      state === 'CONTAINER_CREATED' && gvisor.has(id) && sandboxes.get(id)?.state === 'SANDBOX_READY',
  );
  const because = [
    ...silent.map((shim) => {
      const { id = '', sandbox = id } = owners.get(shim.pid) ?? {};
      return `the shim ${describe(shim)} of sandbox ${sandbox.slice(0, 12)} does not answer`;
    }),
    ...[...withHangingCommands(observation), ...withoutProgram(observation)].map(
      ({ sandbox, message }) => `sandbox ${sandbox.slice(0, 12)}: ${message}`,
    ),
    ...starting.map(
      ({ id, podSandboxId }) =>
        `container ${id.slice(0, 12)} of sandbox ${podSandboxId.slice(0, 12)} is being started`,
    ),
  ];
  const hidden = because.length - MAX_BECAUSE;
  if (hidden > 0) because.splice(MAX_BECAUSE, hidden, `and ${hidden} more`);
  if (because.length > 0) return { state: 'unsafe', because };
  const slow = unresponsive.length - silent.length;
  const unseen = [...observation.unseen, ...(slow === 0 ? [] : [`${slow} shims have not answered yet`])];
  return unseen.length > 0 ? { state: 'unknown', because: unseen } : { state: 'safe', because: [] };
}

/** Of those with a bundle, which a restarted containerd loads. A stopped one is seen without its socket. */
function isUnresponsive({ bundles, responses, owners }: Observation, { pid, state }: Shim): boolean {
  const bundle = bundles.get(owners.get(pid)?.id ?? '');
  const response = bundle?.address && responses.get(bundle.address.socket);
  return bundle !== undefined && (state === 'T' || response?.kind === 'silent');
}

export function ownerOf(
  { sandboxes, containers }: Pick<Observation, 'sandboxes' | 'containers'>,
  id: string,
): Owner {
  const sandbox = sandboxes.has(id) ? id : containers.get(id)?.podSandboxId;
  return { id, sandbox, pod: sandboxes.get(sandbox ?? '')?.metadata };
}

function podOf(pod: Owner['pod']) {
  if (pod === undefined || pod === null) return {};
  const lineOf = (text: string) => sanitizeLine(text.slice(0, 253));
  return { namespace: lineOf(pod.namespace), name: lineOf(pod.name), uid: lineOf(pod.uid) };
}

function describe({ pid, state }: { readonly pid: number; readonly state: string }): string {
  const word = STATES[state];
  return word === undefined ? `${pid}` : `${pid} (${word})`;
}
