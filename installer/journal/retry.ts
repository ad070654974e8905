import { Refusal } from '../base/refusal.ts';
import { generationAt } from '../release/generation.ts';
import type { Failure, Journal, Pending } from './schema.ts';

/** Goes on counting if the failure is the same as the last. */
export function failureOf(
  before: Failure | undefined,
  { generation, removes, restarts }: Pending,
  { step, reason, message, isOfNode }: Refusal,
): Failure {
  const isSame = before?.generation === generation && before.removes === removes;
  // A busy node, or a command that restarts nothing, says nothing about the release and costs nothing.
  const counts = !isOfNode && (step !== 'quiet' || restarts > 0);
  return {
    generation,
    step,
    removes,
    message,
    at: new Date().toISOString(),
    ...(reason === undefined ? {} : { reason }),
    tries: (isSame ? before.tries : 0) + (counts ? 1 : 0),
    restarts: (isSame ? before.restarts : 0) + (isOfNode ? 0 : restarts),
  };
}

/** Doubles with each further failure. */
const RETRY_MS = 30 * 60_000;
const MAX_DOUBLINGS = 4;
/** After so many failures with restarts of containerd a person has to ask for the next. */
const MAX_TRIES = 3;

/**
 * Refuses what failed lately, so that no controller restarts containerd again and again, and what a person's
 * rollback left.
 */
export function refuseRetry(
  journal: Journal | undefined,
  { generation, removes }: Pick<Failure, 'generation' | 'removes'>,
): void {
  const { failure, left } = journal ?? {};
  const { release } = generationAt(generation);
  if (left === generation && !removes)
    throw new Refusal('journal', {
      what: `A rollback left ${release}`,
      next: 'Install another release, or this one with --retry-now',
    });
  if (failure === undefined || failure.generation !== generation || failure.removes !== removes) return;
  const { tries, restarts, at, step, message, reason } = failure;
  if (tries === 0) return;
  const agoMs = Date.now() - Date.parse(at);
  const pauseMs = RETRY_MS * 2 ** Math.min(tries - 1, MAX_DOUBLINGS);
  const isGivenUp = tries >= MAX_TRIES && restarts > 0;
  // A clock that jumped back blocks nothing.
  if (!isGivenUp && (agoMs < 0 || agoMs >= pauseMs)) return;
  const next = isGivenUp
    ? `It failed ${tries} times and restarted containerd ${restarts} times, and is tried again only with --retry-now`
    : `It is tried again after ${new Date(Date.parse(at) + pauseMs).toISOString()}, or now with --retry-now`;
  const tried = `${removes ? 'The removal' : 'The installation'} of ${release}`;
  const what = `${tried} failed at ${at} in step ${step} (${message})`;
  throw new Refusal('journal', { what, next, reason });
}
