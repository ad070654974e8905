import type { Reason } from '../lib/base/reasons.ts';
import { UNEXPLAINED, type Verdict } from '../lib/report/verdict.ts';
import type { Config } from './start/config.ts';

/** Times are milliseconds of a monotonic clock. */
export type HysteresisState = {
  /** Absent while a predecessor's is still in place. */
  readonly published?: Verdict;
  readonly failingSince?: number;
  /** When the inconclusive evaluations began that node pressure does not explain. */
  readonly unknownSince?: number;
  /** The evaluations since a proof, or since a published failure: nothing that a pod can cause ends this series. */
  readonly unproven?: Unproven;
};

type Unproven = { readonly since: number; readonly tolerated: boolean };

export type Thresholds = Pick<Config, 'confirmMs' | 'graceMs'>;

/** The delay is from `nowMs` until an early re-evaluation. */
export type HysteresisResult = {
  readonly state: HysteresisState;
  readonly publish?: Verdict;
  readonly requeueAfterMs?: number;
};

/**
 * Decides what an evaluation changes; `nowMs` is when its deciding observation was made.
 *
 * - A proof is published at once.
 * - A failure is published when another evaluation at least `confirmMs` later fails too.
 * - An Unknown is published after `graceMs`, and neither confirms nor clears a failure, unless it explains it.
 * - An Unknown that node pressure explains is tolerated for {@link MAX_TOLERATED_MS}.
 * - In any mix of these, a proof does not count for longer than {@link deadline}.
 */
export function applyHysteresis(
  before: HysteresisState,
  verdict: Verdict,
  nowMs: number,
  thresholds: Thresholds,
): HysteresisResult {
  if (verdict.status === 'True') return publish(verdict);
  const { since = nowMs, tolerated = false } = before.unproven ?? {};
  const unproven = { since, tolerated: tolerated || verdict.tolerated === true };
  const leftMs = deadline(unproven, thresholds) - nowMs;
  const apply = verdict.status === 'False' ? applyFailure : applyUnknown;
  return apply({ ...before, unproven }, verdict, { nowMs, leftMs, ...thresholds });
}

/** When a node that is no longer proven must have lost its label. */
function deadline({ since, tolerated }: Unproven, { confirmMs, graceMs }: Thresholds): number {
  const lastsMs = graceMs + Math.max(confirmMs, UNEXPLAINED_MS);
  return since + (tolerated ? Math.max(lastsMs, MAX_TOLERATED_MS) : lastsMs);
}

type Clock = Thresholds & { readonly nowMs: number; readonly leftMs: number };

function applyFailure(
  { failingSince, unknownSince: _, ...others }: HysteresisState,
  verdict: Verdict,
  { nowMs, leftMs, confirmMs }: Clock,
): HysteresisResult {
  const status = others.published?.status;
  if (status === 'False') return publish(verdict);
  const mustLastMs = UNEXPLAINED.includes(verdict.reason) ? Math.max(confirmMs, UNEXPLAINED_MS) : confirmMs;
  const since = failingSince ?? nowMs;
  const restMs = since + mustLastMs - nowMs;
  const isOverdue = leftMs <= 0 && status !== 'Unknown';
  if ((failingSince !== undefined && restMs <= 0) || isOverdue) return publish(verdict);
  const requeueAfterMs = Math.min(Math.max(restMs, 0), leftMs > 0 ? leftMs : RETRY_MS, RETRY_MS);
  return { state: { ...others, failingSince: since }, requeueAfterMs };
}

function applyUnknown(
  { failingSince, unknownSince, ...others }: HysteresisState,
  verdict: Verdict,
  { nowMs, leftMs, graceMs }: Clock,
): HysteresisResult {
  // A node that cannot start any sandbox explains the earlier failure.
  const isCleared = failingSince === undefined || NODE_AT_FAULT.includes(verdict.reason);
  const rest = isCleared ? others : { ...others, failingSince };
  if (verdict.tolerated) {
    if (leftMs > 0) return { state: rest, requeueAfterMs: Math.min(leftMs, MAX_RETRY_MS) };
    return { state: { ...rest, published: verdict }, publish: verdict, requeueAfterMs: MAX_RETRY_MS };
  }
  const since = unknownSince ?? nowMs;
  const lastedMs = nowMs - since;
  const next = { ...rest, unknownSince: since };
  if (lastedMs < graceMs && leftMs > 0)
    return { state: next, requeueAfterMs: Math.min(graceMs - lastedMs, leftMs, RETRY_MS) };
  const requeueAfterMs = Math.max(
    Math.min(lastedMs / 2, MAX_RETRY_MS),
    Math.min(lastedMs / 10, MAX_REST_MS),
    RETRY_MS,
  );
  return { state: { ...next, published: verdict }, publish: verdict, requeueAfterMs };
}

/** A full node fails for moments. */
const UNEXPLAINED_MS = 30_000;

/** The control failed too. */
const NODE_AT_FAULT: readonly Reason[] = ['NodeExhausted', 'NoSandboxStarts'];

/** Pods can keep a node busy. */
const MAX_TOLERATED_MS = 600_000;

/**
 * Grows by half each time after the grace period, up to {@link MAX_RETRY_MS}, and after ten minutes by a tenth up to
 * {@link MAX_REST_MS}; events cut it short.
 */
const RETRY_MS = 5_000;
const MAX_RETRY_MS = 60_000;
const MAX_REST_MS = 600_000;

function publish(verdict: Verdict): HysteresisResult {
  return { state: { published: verdict }, publish: verdict };
}
