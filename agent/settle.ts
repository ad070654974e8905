import type { Reason } from './reasons.ts';
import { UNEXPLAINED, type Verdict } from './verdict.ts';

/** What is remembered between looks. Times are milliseconds of a monotonic clock. */
export type Steady = {
  /** What was last published; absent before the first time, when a predecessor's words still stand. */
  readonly published?: Verdict;
  /** When the first failing look of an unconfirmed failure was made. */
  readonly failingSince?: number;
  /** When the first of a series of looks that could not see was made. */
  readonly unknownSince?: number;
  /** When the first look was made of a series that could not see, at times because the node is under pressure. */
  readonly excusedSince?: number;
};

/** How patient to be, in milliseconds. */
export type Patience = { readonly confirmMs: number; readonly graceMs: number };

/** The state after a look, what to publish because of it, and how long after `nowMs` to look again ahead of schedule. */
export type Settled = {
  readonly state: Steady;
  readonly publish?: Verdict;
  readonly lookAgainMs?: number;
};

/**
 * Decides what a look changes, `nowMs` being when what decides was seen. A proof counts at once. A failure counts when
 * a second look sees one at least `confirmMs` later. A look that could not see changes nothing until it has been so
 * for `graceMs`; it neither confirms a failure nor wipes one out, unless nothing else is seen for long. One that could not
 * see because the node is under pressure changes nothing for much longer.
 */
export function settle(state: Steady, verdict: Verdict, nowMs: number, patience: Patience): Settled {
  if (verdict.status === 'True') return publish(verdict);
  if (verdict.status === 'False') return settleFailure(state, verdict, nowMs, patience);
  return settleUnknown(state, verdict, nowMs, patience);
}

function settleFailure(state: Steady, verdict: Verdict, nowMs: number, { confirmMs }: Patience): Settled {
  if (state.published?.status === 'False') return publish(verdict);
  const { failingSince, unknownSince, excusedSince } = state;
  const mustLastMs = UNEXPLAINED.includes(verdict.reason) ? Math.max(confirmMs, UNEXPLAINED_MS) : confirmMs;
  const since = failingSince ?? nowMs;
  const wasUnseen = (unknownSince ?? excusedSince) !== undefined;
  if (wasUnseen && nowMs - since > FORGOTTEN_MS)
    // Its excuse goes on: failures that nothing confirms must not prolong it.
    return { state: { ...state, failingSince: nowMs }, lookAgainMs: Math.min(mustLastMs, RETRY_MS) };
  if (failingSince !== undefined && nowMs - since >= mustLastMs) return publish(verdict);
  // This look could see, so a series of looks that could not has ended.
  const { unknownSince: _, excusedSince: __, ...seen } = state;
  const restMs = Math.max(mustLastMs - (nowMs - since), 0);
  return { state: { ...seen, failingSince: since }, lookAgainMs: Math.min(restMs, RETRY_MS) };
}

function settleUnknown(state: Steady, verdict: Verdict, nowMs: number, { graceMs }: Patience): Settled {
  const { unknownSince, excusedSince, failingSince, ...others } = state;
  // A node that starts no sandbox at all explains the failure before.
  const isForgotten = failingSince === undefined || NOT_GVISOR.includes(verdict.reason);
  const rest = isForgotten ? others : { ...others, failingSince };
  const overdue = excusedSince !== undefined && nowMs - excusedSince >= EXCUSED_MS;
  if (verdict.excused) {
    const held = { ...rest, excusedSince: excusedSince ?? unknownSince ?? nowMs };
    if (!overdue) return { state: held, lookAgainMs: MOST_RETRY_MS };
    return { state: { ...held, published: verdict }, publish: verdict, lookAgainMs: MOST_RETRY_MS };
  }
  // A pressure that comes and goes prolongs no excuse.
  const kept = excusedSince === undefined ? rest : { ...rest, excusedSince };
  const since = unknownSince ?? nowMs;
  const lasted = nowMs - since;
  if (lasted < graceMs && !overdue) {
    const lookAgainMs = Math.min(graceMs - lasted, RETRY_MS);
    return { state: { ...kept, unknownSince: since }, lookAgainMs };
  }
  const lookAgainMs = Math.min(Math.max(lasted / 2, RETRY_MS), MOST_RETRY_MS);
  return { state: { ...kept, unknownSince: since, published: verdict }, publish: verdict, lookAgainMs };
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
const EXCUSED_MS = 600_000;

/**
 * How soon to look again while nothing can be seen: this soon within the grace, and after it at intervals that grow
 * by half, up to {@link MOST_RETRY_MS}. A containerd that answers again, or a file that changes, is heard at once.
 */
const RETRY_MS = 5_000;
/** See {@link RETRY_MS}. */
const MOST_RETRY_MS = 60_000;

function publish(verdict: Verdict): Settled {
  return { state: { published: verdict }, publish: verdict };
}
