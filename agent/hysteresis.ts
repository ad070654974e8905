import type { Reason } from './reasons.ts';
import { UNEXPLAINED, type Verdict } from './verdict.ts';

/** What is remembered between looks. Times are milliseconds of a monotonic clock. */
export type HysteresisState = {
  /** What was last published; absent before the first time, when a predecessor's words still stand. */
  readonly published?: Verdict;
  /** When the first failing look of an unconfirmed failure was made. */
  readonly failingSince?: number;
  /** When the first of a series of looks that could not see was made. */
  readonly unknownSince?: number;
  /** When the first look was made of a series that could not see, at times because the node is under pressure. */
  readonly toleratedSince?: number;
};

/** How patient to be, in milliseconds. */
export type Thresholds = { readonly confirmMs: number; readonly graceMs: number };

/** The state after a look, what to publish because of it, and how long after `nowMs` to look again ahead of schedule. */
export type HysteresisResult = {
  readonly state: HysteresisState;
  readonly publish?: Verdict;
  readonly requeueAfterMs?: number;
};

/**
 * Decides what a look changes, `nowMs` being when what decides was seen. A proof counts at once. A failure counts when
 * a second look sees one at least `confirmMs` later. A look that could not see changes nothing until it has been so
 * for `graceMs`; it neither confirms a failure nor wipes one out, unless nothing else is seen for long. One that could not
 * see because the node is under pressure changes nothing for much longer.
 */
export function applyHysteresis(
  state: HysteresisState,
  verdict: Verdict,
  nowMs: number,
  patience: Thresholds,
): HysteresisResult {
  if (verdict.status === 'True') return publish(verdict);
  if (verdict.status === 'False') return settleFailure(state, verdict, nowMs, patience);
  return settleUnknown(state, verdict, nowMs, patience);
}

function settleFailure(
  state: HysteresisState,
  verdict: Verdict,
  nowMs: number,
  { confirmMs }: Thresholds,
): HysteresisResult {
  if (state.published?.status === 'False') return publish(verdict);
  const { failingSince, unknownSince, toleratedSince } = state;
  const mustLastMs = UNEXPLAINED.includes(verdict.reason) ? Math.max(confirmMs, UNEXPLAINED_MS) : confirmMs;
  const since = failingSince ?? nowMs;
  const wasUnseen = (unknownSince ?? toleratedSince) !== undefined;
  if (wasUnseen && nowMs - since > FORGOTTEN_MS)
    // Its excuse goes on: failures that nothing confirms must not prolong it.
    return { state: { ...state, failingSince: nowMs }, requeueAfterMs: Math.min(mustLastMs, RETRY_MS) };
  if (failingSince !== undefined && nowMs - since >= mustLastMs) return publish(verdict);
  // This look could see, so a series of looks that could not has ended.
  const { unknownSince: _, toleratedSince: __, ...seen } = state;
  const restMs = Math.max(mustLastMs - (nowMs - since), 0);
  return { state: { ...seen, failingSince: since }, requeueAfterMs: Math.min(restMs, RETRY_MS) };
}

function settleUnknown(
  state: HysteresisState,
  verdict: Verdict,
  nowMs: number,
  { graceMs }: Thresholds,
): HysteresisResult {
  const { unknownSince, toleratedSince, failingSince, ...others } = state;
  // A node that starts no sandbox at all explains the failure before.
  const isForgotten = failingSince === undefined || NOT_GVISOR.includes(verdict.reason);
  const rest = isForgotten ? others : { ...others, failingSince };
  const overdue = toleratedSince !== undefined && nowMs - toleratedSince >= MAX_TOLERATED_MS;
  if (verdict.tolerated) {
    const held = { ...rest, toleratedSince: toleratedSince ?? unknownSince ?? nowMs };
    if (!overdue) return { state: held, requeueAfterMs: MAX_RETRY_MS };
    return { state: { ...held, published: verdict }, publish: verdict, requeueAfterMs: MAX_RETRY_MS };
  }
  // A pressure that comes and goes prolongs no excuse.
  const kept = toleratedSince === undefined ? rest : { ...rest, toleratedSince };
  const since = unknownSince ?? nowMs;
  const lasted = nowMs - since;
  if (lasted < graceMs && !overdue) {
    const lookAgainMs = Math.min(graceMs - lasted, RETRY_MS);
    return { state: { ...kept, unknownSince: since }, requeueAfterMs: lookAgainMs };
  }
  const lookAgainMs = Math.min(Math.max(lasted / 2, RETRY_MS), MAX_RETRY_MS);
  return {
    state: { ...kept, unknownSince: since, published: verdict },
    publish: verdict,
    requeueAfterMs: lookAgainMs,
  };
}

/**
 * So long after a failure, with nothing seen in between, the next one is a first one again: a busy node fails now and then.
 * Two boots that hang under pressure, 16 min each, still confirm each other.
 */
const FORGOTTEN_MS = 1_200_000;

/** How long a failure that nothing explains must last: a full node fails for moments. */
const UNEXPLAINED_MS = 30_000;
/** A control showed that the node is to blame. */
const NOT_GVISOR: readonly Reason[] = ['NodeExhausted', 'NoSandboxStarts'];

/** A busy node excuses no longer than this, since pods can keep one busy. */
const MAX_TOLERATED_MS = 600_000;

/**
 * How soon to look again while nothing can be seen: this soon within the grace, and after it at intervals that grow
 * by half, up to {@link MAX_RETRY_MS}. A containerd that answers again, or a file that changes, is heard at once.
 */
const RETRY_MS = 5_000;
/** See {@link RETRY_MS}. */
const MAX_RETRY_MS = 60_000;

function publish(verdict: Verdict): HysteresisResult {
  return { state: { published: verdict }, publish: verdict };
}
