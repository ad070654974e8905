import timers from 'node:timers/promises';
import type { CriClient } from '../containerd/client.ts';
import { CriError } from '../containerd/error.ts';
import type { Host } from '../host/host.ts';
import { readPressure } from '../host/pressure.ts';
import { inconclusive, interrupted, type Outcome, outcomeOfError, type Unproven } from './outcome.ts';
import { findPlace, newSandbox } from './sandbox.ts';
import { Empty, Gone, identifyGuest, readWitness, type Witness } from './witness.ts';

/** What a boot needs; `now` is a monotonic clock in milliseconds, `signal` is aborted when no further attempt is wanted. */
export type BootOptions = {
  readonly client: CriClient;
  readonly host: Host;
  readonly handler: string;
  readonly now: () => number;
  readonly signal: AbortSignal;
  /** What marks the sandboxes of this agent: at most 16 letters and digits. */
  readonly owner: string;
  /** The UID of the agent's own pod, which the right containerd runs; absent outside of a cluster. */
  readonly ownPod?: string | undefined;
};

const ATTEMPTS = 5;
/**
 * The kubelet stops sandboxes that it does not know at one moment in two seconds. So many of ours that ended within a
 * time that has too few of these moments were not all stopped by it.
 * Source: https://github.com/kubernetes/kubernetes/blob/v1.36.3/pkg/kubelet/kubelet.go (housekeepingPeriod)
 */
const HOUSEKEEPING_MS = 2_000;
/** How much its moments may be off. */
const JITTER_MS = 200;
/** How often it is asked, 0.1 s apart, whether a sandbox that could not be looked at has ended: it takes over 0.5 s on a busy node, */
const ENDS_SOON = 15;
/** and over 1.5 s where /proc showed that its first process is gone. */
const GONE_SOON = 50;
/** One that containerd says to run for longer than this after its process was not there was hidden: /proc has hidepid, or is foreign. */
const HEARS_MS = 1_000;

/**
 * Starts one sandbox through the handler that pods use, in the place where pods go, looks at it from the host and asks
 * its sentry, and removes it. Nothing is cancelled, however long it takes: a call that is cut off can leave a sandbox
 * that containerd forgets. A sandbox that ends before it was looked at is tried again, since the kubelet may have
 * stopped it. Never rejects.
 */
export async function boot(options: BootOptions): Promise<Outcome> {
  const firstMs = options.now();
  let ends = 0;
  let hidden = false;
  let last: Outcome = interrupted('no attempt was made');
  for (let attempt = 0; attempt < ATTEMPTS && !options.signal.aborted; attempt++) {
    // At a moment of its own, so that no rhythm of ours meets the kubelet's again and again.
    if (ends > 1) await timers.setTimeout(Math.random() * HOUSEKEEPING_MS);
    const { outcome, unseenMs, isHidden, stays } = await tryOnce(options).catch(
      (error: unknown): Attempt => ({ outcome: inconclusive(error) }),
    );
    if (unseenMs === undefined || (stays && attempt > 0)) return outcome;
    last = outcome;
    if (outcome.kind !== 'interrupted') continue;
    ends += 1;
    hidden ||= isHidden === true;
    const withinMs = unseenMs - firstMs;
    const tooOften = ends > 1 && withinMs < (ends - 1) * HOUSEKEEPING_MS - JITTER_MS;
    // Where boots are slow that never shows, but the kubelet is not quicker each time either, if nothing delays our look.
    const eachTime = ends === ATTEMPTS && !hidden && (await readPressure(options.host)) === undefined;
    if (tooOften || eachTime) {
      const message = `${ends} sandboxes in a row died by themselves within ${Math.round(withinMs)} ms: ${outcome.message}`;
      return { kind: 'failed', reason: 'SandboxDied', message };
    }
  }
  return last;
}

type Times = { readonly bootMs: number; readonly teardownMs: number };
/**
 * How an attempt ended; where a sandbox which had started could not be looked at, when that was seen, whether its process was
 * hidden, and whether it cannot be removed.
 */
type Attempt = {
  readonly outcome: Outcome;
  readonly unseenMs?: number;
  readonly isHidden?: boolean;
  readonly stays?: boolean;
};

async function tryOnce(options: BootOptions): Promise<Attempt> {
  const { client, handler, now, owner, ownPod } = options;
  const place = await findPlace(client, ownPod);
  const begunMs = now();
  let id: string;
  try {
    id = await client.runSandbox(newSandbox(place, owner), handler, { timeoutMs: null });
  } catch (error) {
    return { outcome: await outcomeOfStart(client, error) };
  }
  const bootMs = now() - begunMs;
  const seen = await readWitness(options, id, place).catch((error: unknown) => ({ error }));
  const seenMs = now();
  // Asked before our own stop: whether somebody else, or its own death, was quicker.
  const ranMs = 'error' in seen ? await endOf(options, id, seen.error) : undefined;
  const stoppedMs = now();
  const torn = await tearDown(options, id);
  // No other beside one that runs on.
  if (typeof torn === 'object') return { outcome: torn };
  if (!('error' in seen))
    return { outcome: judgeWitness(seen, handler, { bootMs, teardownMs: now() - stoppedMs }) };
  const unseen = inconclusive(seen.error);
  const outcome =
    ranMs === undefined ? await perhapsStopped(options, unseen, seen.error) : interrupted(unseen.message);
  // containerd may report of the next what it did not report of this one.
  if (ranMs === undefined && !(seen.error instanceof CriError)) return { outcome };
  const isHidden = ranMs !== undefined && ranMs - seenMs > HEARS_MS;
  return { outcome, unseenMs: isHidden ? ranMs : seenMs, isHidden, stays: torn === 'stays' };
}

/**
 * When a sandbox that could not be looked at was last said to run, where it has ended by now; undefined where it goes on.
 * What could not be read in /proc says nothing of an end.
 */
async function endOf({ client, now }: BootOptions, id: string, why: unknown): Promise<number | undefined> {
  if (!(why instanceof CriError) && !(why instanceof Gone)) return undefined;
  const questions = why instanceof CriError ? ENDS_SOON : GONE_SOON;
  let ranMs = now();
  for (let question = 1; question <= questions; question++) {
    try {
      if ((await client.sandbox(id)).state !== 'SANDBOX_READY') return ranMs;
      ranMs = now();
    } catch (error) {
      if (!(error instanceof CriError)) return undefined;
      // gVisor's shim tells no state while it deletes: where the process has gone, that is what a late answer means.
      return error.kind === 'absent' || (why instanceof Gone && error.kind === 'timeout') ? ranMs : undefined;
    }
    await timers.setTimeout(100);
  }
  return undefined;
}

/** The same, or that somebody may have stopped the sandbox: on a busy node containerd hears late of an end. */
async function perhapsStopped({ host }: BootOptions, unseen: Unproven, error: unknown): Promise<Unproven> {
  const mayHaveEnded = error instanceof Empty || (error instanceof CriError && error.kind === 'refused');
  if (!mayHaveEnded || (await readPressure(host)) === undefined) return unseen;
  return { ...unseen, reason: 'ProbeInterrupted' };
}

/** The last words of a containerd that is gone say nothing of whether a sandbox boots. */
async function outcomeOfStart(client: CriClient, error: unknown): Promise<Outcome> {
  if (!(error instanceof CriError) || error.kind !== 'refused') return inconclusive(error);
  return client.version().then(() => outcomeOfError(error.message), inconclusive);
}

/** The outcome of a boot, by what was seen of its sandbox. */
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

/**
 * How long a stop may take. Measured: 0.25 s on an idle node, 6 s on one with eight times its work. Stopped after a
 * restart of containerd in the middle of a probe, a sandbox may never answer.
 */
const STOP_MS = 20_000;
/** A stop that meets the kubelet's own fails once, and has nothing left to do a moment later. */
const PAUSES_MS = [100, 400, 1_500, 4_000];

/**
 * Stops and removes the sandbox of a probe; an outcome when it does not go away, which pods would suffer from as
 * well, or when a node under pressure does not tell in time. One that is stopped and cannot be removed `stays`, which says
 * nothing of pods: it is left to the next sweep.
 */
export async function tearDown(
  { client, host }: { readonly client: CriClient; readonly host: Host },
  id: string,
  stopMs = STOP_MS,
): Promise<Outcome | 'stays' | undefined> {
  for (const pauseMs of [...PAUSES_MS, undefined]) {
    try {
      await client.stopSandbox(id, { timeoutMs: stopMs });
      break;
    } catch (error) {
      if (!(error instanceof CriError)) throw error;
      if (error.kind === 'absent') return undefined;
      if (error.kind === 'unreachable') return inconclusive(error);
      if (pauseMs === undefined || error.kind === 'timeout') {
        if (!(await isReady(client, id))) break;
        const message = `a probe's sandbox does not go away, StopPodSandbox failed: ${error.message}`;
        // The kubelet's own stop of it may take longer than our pauses, too.
        if ((await readPressure(host)) !== undefined)
          return { kind: 'impossible', reason: 'CheckTimedOut', message };
        return { kind: 'stuck', reason: 'SandboxStuck', message };
      }
      await timers.setTimeout(pauseMs);
    }
  }
  return client.removeSandbox(id, { timeoutMs: stopMs }).then(
    () => undefined,
    () => 'stays',
  );
}

/** Whether containerd says that the sandbox runs; without an answer in time, it may run. */
async function isReady(client: CriClient, id: string): Promise<boolean> {
  return client.sandbox(id).then(
    ({ state }) => state === 'SANDBOX_READY',
    (error: unknown) => !(error instanceof CriError && error.kind === 'absent'),
  );
}
