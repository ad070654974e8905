import type { Config } from './config.ts';
import type { Reason } from './reasons.ts';
import { UNEXPLAINED, type Verdict } from './verdict.ts';

/** What is remembered between evaluations. Times are milliseconds of a monotonic clock. */
export type HysteresisState = {
  /** The published verdict; absent until the first one, while a predecessor's is still in place. */
  readonly published?: Verdict;
  /** When an unconfirmed failure was first seen. */
  readonly failingSince?: number;
  /** When the current series of inconclusive evaluations began. */
  readonly unknownSince?: number;
  /** When the current series of inconclusive evaluations began, if node pressure explained at least one of them. */
  readonly toleratedSince?: number;
};

/** How long a failure and an Unknown must last before they are published, in milliseconds. */
export type Thresholds = Pick<Config, 'confirmMs' | 'graceMs'>;

/** The next state, the verdict to publish, and the delay from `nowMs` until an early re-evaluation. */
export type HysteresisResult = {
  readonly state: HysteresisState;
  readonly publish?: Verdict;
  readonly requeueAfterMs?: number;
};

/**
 * Decides what an evaluation changes; `nowMs` is when its deciding observation was made.
 * - A proof is published at once.
 * - A failure is published when another evaluation at least `confirmMs` later fails too.
 * - An Unknown is published after `graceMs`. It neither confirms nor clears a failure until {@link FAILURE_EXPIRES_MS}.
 * - An Unknown that node pressure explains is tolerated for {@link MAX_TOLERATED_MS}.
 */
export function applyHysteresis(
  state: HysteresisState,
  verdict: Verdict,
  nowMs: number,
  thresholds: Thresholds,
): HysteresisResult {
  if (verdict.status === 'True') return publish(verdict);
  if (verdict.status === 'False') return applyFailure(state, verdict, nowMs, thresholds);
  return applyUnknown(state, verdict, nowMs, thresholds);
}

function applyFailure(
  state: HysteresisState,
  verdict: Verdict,
  nowMs: number,
  { confirmMs }: Thresholds,
): HysteresisResult {
  if (state.published?.status === 'False') return publish(verdict);
  const { failingSince, unknownSince, toleratedSince } = state;
  const mustLastMs = UNEXPLAINED.includes(verdict.reason) ? Math.max(confirmMs, UNEXPLAINED_MS) : confirmMs;
  const since = failingSince ?? nowMs;
  const wasUnknown = (unknownSince ?? toleratedSince) !== undefined;
  if (wasUnknown && nowMs - since > FAILURE_EXPIRES_MS)
    // `toleratedSince` stays: unconfirmed failures must not extend the toleration.
    return { state: { ...state, failingSince: nowMs }, requeueAfterMs: Math.min(mustLastMs, RETRY_MS) };
  if (failingSince !== undefined && nowMs - since >= mustLastMs) return publish(verdict);
  // A conclusive evaluation ends the series of inconclusive ones.
  const { unknownSince: _, toleratedSince: __, ...rest } = state;
  const restMs = Math.max(mustLastMs - (nowMs - since), 0);
  return { state: { ...rest, failingSince: since }, requeueAfterMs: Math.min(restMs, RETRY_MS) };
}

function applyUnknown(
  state: HysteresisState,
  verdict: Verdict,
  nowMs: number,
  { graceMs }: Thresholds,
): HysteresisResult {
  const { unknownSince, toleratedSince, failingSince, ...others } = state;
  // A node that cannot start any sandbox explains the earlier failure.
  const isCleared = failingSince === undefined || NODE_AT_FAULT.includes(verdict.reason);
  const rest = isCleared ? others : { ...others, failingSince };
  const isOverdue = toleratedSince !== undefined && nowMs - toleratedSince >= MAX_TOLERATED_MS;
  if (verdict.tolerated) {
    const next = { ...rest, toleratedSince: toleratedSince ?? unknownSince ?? nowMs };
    if (!isOverdue) return { state: next, requeueAfterMs: MAX_RETRY_MS };
    return { state: { ...next, published: verdict }, publish: verdict, requeueAfterMs: MAX_RETRY_MS };
  }
  const since = unknownSince ?? nowMs;
  const lastedMs = nowMs - since;
  // Intermittent pressure does not extend the grace period, so `toleratedSince` stays.
  const next = { ...rest, ...(toleratedSince === undefined ? {} : { toleratedSince }), unknownSince: since };
  if (lastedMs < graceMs && !isOverdue)
    return { state: next, requeueAfterMs: Math.min(graceMs - lastedMs, RETRY_MS) };
  const requeueAfterMs = Math.min(Math.max(lastedMs / 2, RETRY_MS), MAX_RETRY_MS);
  return { state: { ...next, published: verdict }, publish: verdict, requeueAfterMs };
}

/**
 * A failure expires after this long if nothing conclusive followed: a busy node fails occasionally. Two boots that hang under
 * pressure, 16 min each, still confirm each other.
 */
const FAILURE_EXPIRES_MS = 1_200_000;

/** How long a failure without a known cause must last: a full node fails for moments. */
const UNEXPLAINED_MS = 30_000;

/** Reasons that blame the node: the control experiment failed too. */
const NODE_AT_FAULT: readonly Reason[] = ['NodeExhausted', 'NoSandboxStarts'];

/** Upper bound for toleration, since pods can keep a node busy. */
const MAX_TOLERATED_MS = 600_000;

/**
 * Re-evaluation delay while the result is inconclusive or unconfirmed. After the grace period it grows by half each time up
 * to {@link MAX_RETRY_MS}; events from containerd and files cut it short.
 */
const RETRY_MS = 5_000;
const MAX_RETRY_MS = 60_000;

function publish(verdict: Verdict): HysteresisResult {
  return { state: { published: verdict }, publish: verdict };
}
