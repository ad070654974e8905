import timers from 'node:timers/promises';
import type { CriClient } from '../containerd/client.ts';
import { CriError } from '../containerd/error.ts';
import type { Host } from '../host/host.ts';
import { readPressure } from '../host/pressure.ts';
import { inconclusive, interrupted, type Outcome, outcomeOfError, type Unproven } from './outcome.ts';
import { findPlace, newSandbox, podIn } from './sandbox.ts';
import {
  EmptySandbox,
  identifyGuest,
  ProcessGone,
  REQUEST_MS,
  readWitness,
  ShimsOwnSandbox,
  type Witness,
} from './witness.ts';

export type ProbeOptions = {
  readonly client: CriClient;
  readonly host: Host;
  readonly handler: string;
  /** Monotonic clock, milliseconds. */
  readonly now: () => number;
  /** Prevents further attempts; the running one is never cancelled. */
  readonly signal: AbortSignal;
  /** At most 16 letters and digits. */
  readonly owner: string;
  /** Absent outside of a cluster. */
  readonly ownPod?: string | undefined;
  /** Whether the cgroup of {@link podIn} is there. */
  readonly inPod?: boolean;
  /** Called when a sandbox is asked for, and again once it has booted and been examined. */
  readonly onSandbox?: (fromMs: number, toMs?: number) => void;
  readonly sleep?: (ms: number) => Promise<unknown>;
};

const MAX_ATTEMPTS = 5;
/**
 * The kubelet stops unknown sandboxes every two seconds; it cannot have stopped several that end within fewer
 * periods. Source: https://github.com/kubernetes/kubernetes/blob/v1.36.3/pkg/kubelet/kubelet.go
 * (housekeepingPeriod)
 */
const HOUSEKEEPING_MS = 2_000;
const JITTER_MS = 200;
const POLL_MS = 100;
/** containerd takes over 0.5 s to notice an end on a busy node. */
const MAX_POLLS = 15;
/** More once the first process has left /proc: the sandbox has probably ended. */
const MAX_POLLS_GONE = 50;
/** A sandbox reported running for so long has its process hidden: hidepid, or a foreign /proc. */
const HIDDEN_AFTER_MS = 1_000;

/**
 * Up to five attempts to start, examine and remove a sandbox in the pods' cgroup. One that ends early is
 * tried again, since the kubelet may have stopped it. The start is never cancelled, because containerd can
 * lose track of the sandbox then. Never rejects.
 */
export async function runProbe(options: ProbeOptions): Promise<Outcome> {
  const { now, sleep = timers.setTimeout } = options;
  const startedMs = now();
  let ended = 0;
  let hidden = false;
  let last: Outcome = interrupted('no attempt was made');
  for (let attempt = 0; attempt < MAX_ATTEMPTS && !options.signal.aborted; attempt++) {
    // Attempts must not meet the kubelet's period each time.
    if (ended > 1) await sleep(Math.random() * HOUSEKEEPING_MS);
    const { outcome, unexamined } = await runAttempt(options).catch(
      (error: unknown): Attempt => ({ outcome: inconclusive(error) }),
    );
    if (unexamined === undefined || (unexamined.remains && attempt > 0)) return outcome;
    last = outcome;
    if (outcome.kind !== 'interrupted') continue;
    ended += 1;
    hidden ||= unexamined.hidden;
    const withinMs = unexamined.atMs - startedMs;
    const fasterThanKubelet = withinMs < (ended - 1) * HOUSEKEEPING_MS - JITTER_MS;
    // On an idle node the kubelet does not win five races in a row.
    const everyTime = ended === MAX_ATTEMPTS && !hidden && (await readPressure(options.host)) === undefined;
    if (fasterThanKubelet || everyTime) {
      const message = `${ended} sandboxes in a row died by themselves within ${Math.round(withinMs)} ms: ${outcome.message}`;
      return { kind: 'failed', reason: 'SandboxDied', message };
    }
  }
  return last;
}

type Attempt = {
  readonly outcome: Outcome;
  /** Set if another attempt makes sense. */
  readonly unexamined?: {
    /** When that was noticed. */
    readonly atMs: number;
    readonly hidden: boolean;
    /** Whether the sandbox could not be removed. */
    readonly remains: boolean;
  };
};

async function runAttempt(options: ProbeOptions): Promise<Attempt> {
  const { client, handler, now, owner, ownPod, inPod } = options;
  const found = await findPlace(client, ownPod);
  const place = inPod ? podIn(found) : found;
  const startedMs = now();
  options.onSandbox?.(startedMs);
  let id: string;
  try {
    id = await client.runSandbox(newSandbox(place, owner), handler, { timeoutMs: null });
  } catch (error) {
    return { outcome: await outcomeOfStart(client, error) };
  }
  const bootMs = now() - startedMs;
  const witness = await readWitness(options, id, place).catch((error: unknown) => ({ error }));
  const examinedMs = now();
  // Must precede our own stop.
  const ranUntilMs = 'error' in witness ? await lastSeenRunning(options, id, witness.error) : undefined;
  const stoppedMs = now();
  options.onSandbox?.(startedMs, stoppedMs);
  const removal = await tearDown(options, id);
  if (typeof removal === 'object') return { outcome: removal };
  if (!('error' in witness))
    return { outcome: judgeWitness(witness, handler, { bootMs, teardownMs: now() - stoppedMs }) };
  const { error } = witness;
  if (error instanceof ShimsOwnSandbox)
    return { outcome: { kind: 'failed', reason: 'SandboxerUnsupported', message: error.message } };
  const unseen = inconclusive(error);
  const remains = removal === 'remains';
  if (ranUntilMs !== undefined) {
    const hidden = ranUntilMs - examinedMs > HIDDEN_AFTER_MS;
    const atMs = hidden ? ranUntilMs : examinedMs;
    return { outcome: interrupted(unseen.message), unexamined: { atMs, hidden, remains } };
  }
  const outcome = await blamePressure(options, unseen, error);
  // A failed call may succeed next time; a foreign /proc stays foreign.
  if (!(error instanceof CriError)) return { outcome };
  return { outcome, unexamined: { atMs: examinedMs, hidden: false, remains } };
}

/** Undefined if it still runs. An unreadable /proc is no sign of an end. */
async function lastSeenRunning(
  { client, now, sleep = timers.setTimeout }: ProbeOptions,
  id: string,
  error: unknown,
): Promise<number | undefined> {
  const gone = error instanceof ProcessGone;
  if (!(error instanceof CriError) && !gone) return undefined;
  let runningMs = now();
  for (let poll = 0; poll < (gone ? MAX_POLLS_GONE : MAX_POLLS); poll++) {
    try {
      if ((await client.sandbox(id)).state !== 'SANDBOX_READY') return runningMs;
      runningMs = now();
    } catch (refusal) {
      if (!(refusal instanceof CriError)) return undefined;
      // gVisor's shim reports no state while it deletes: a timeout means an end once the process is gone.
      return refusal.kind === 'absent' || (gone && refusal.kind === 'timeout') ? runningMs : undefined;
    }
    await sleep(POLL_MS);
  }
  return undefined;
}

/** On a busy node containerd notices ends late, so this may be an interruption. */
async function blamePressure({ host }: ProbeOptions, unseen: Unproven, error: unknown): Promise<Unproven> {
  const mayHaveEnded =
    error instanceof EmptySandbox || (error instanceof CriError && error.kind === 'refused');
  if (!mayHaveEnded || (await readPressure(host)) === undefined) return unseen;
  return { ...unseen, reason: 'ProbeInterrupted' };
}

/** A containerd that shuts down gives misleading errors, so they count only if it still responds. */
async function outcomeOfStart(client: CriClient, error: unknown): Promise<Outcome> {
  // A shim's refusal can have the code of an unknown method, or of something that is not there.
  if (!(error instanceof CriError) || !['refused', 'unsupported', 'absent'].includes(error.kind))
    return inconclusive(error);
  return client.version().then(() => outcomeOfError(error.message), inconclusive);
}

type Times = { readonly bootMs: number; readonly teardownMs: number };

function judgeWitness(witness: Witness, handler: string, times: Times): Outcome {
  const { kernel, evidence } = identifyGuest(witness);
  const sandbox = `a sandbox of handler "${handler}"`;
  if (kernel === 'gvisor') {
    const message = `${sandbox} booted in gVisor in ${(times.bootMs / 1_000).toFixed(2)} s`;
    return { kind: 'proven', witness, ...times, message };
  }
  if (kernel === 'host') {
    const message = `${sandbox} runs on the host's kernel, as pods do then: ${evidence}`;
    return { kind: 'failed', reason: 'GuestIsHostKernel', message };
  }
  const message = `${sandbox} is not gVisor's: ${evidence}`;
  return { kind: 'failed', reason: 'GuestNotGVisor', message };
}

/** A stop that collides with the kubelet's own fails once. */
const PAUSES_MS = [100, 400, 1_500, 4_000];

/** An outcome if the sandbox does not stop; `remains` if it cannot be removed, which the next sweep does. */
export async function tearDown(
  { client, host, sleep = timers.setTimeout }: Pick<ProbeOptions, 'client' | 'host' | 'sleep'>,
  id: string,
): Promise<Outcome | 'remains' | undefined> {
  for (const pauseMs of [...PAUSES_MS, undefined]) {
    try {
      await client.stopSandbox(id, { timeoutMs: REQUEST_MS });
      break;
    } catch (error) {
      if (!(error instanceof CriError)) throw error;
      if (error.kind === 'absent') return undefined;
      if (error.kind === 'unreachable') return inconclusive(error);
      if (pauseMs === undefined || error.kind === 'timeout') {
        if (!(await mayRun(client, id))) break;
        const message = `a probe's sandbox does not go away, StopPodSandbox failed: ${error.message}`;
        // The kubelet's own stop may outlast our pauses.
        if ((await readPressure(host)) !== undefined)
          return { kind: 'inconclusive', reason: 'CheckTimedOut', message };
        return { kind: 'stuck', reason: 'SandboxStuck', message };
      }
      await sleep(pauseMs);
    }
  }
  return client.removeSandbox(id, { timeoutMs: REQUEST_MS }).then(
    () => undefined,
    () => 'remains',
  );
}

/** True also if containerd does not respond. */
async function mayRun(client: CriClient, id: string): Promise<boolean> {
  return client.sandbox(id).then(
    ({ state }) => state === 'SANDBOX_READY',
    (error: unknown) => !(error instanceof CriError && error.kind === 'absent'),
  );
}
