import type { CriClient } from '../host/cri-client.ts';
import { CriError } from '../host/cri-error.ts';
import { isImageMissing } from '../host/sandbox-info.ts';
import type { Housekeeping } from './housekeeping.ts';
import { impossible, interrupted, type Outcome, outcomeOfError } from './outcome.ts';
import type { Place } from './place.ts';
import { DEAD_TEARDOWN_MS, type Leftovers, sweep, type TeardownOptions, tearDown } from './teardown.ts';
import { isGone, SandboxStopped, silenceOf } from './watch.ts';

/** What tells why an attempt failed. `now` is a monotonic clock in milliseconds. */
export type ExplainOptions = {
  readonly client: CriClient;
  readonly now: () => number;
  readonly housekeeping?: Housekeeping | undefined;
  readonly leftovers?: Leftovers | undefined;
};

/** The end of a probe that the kubelet stops is seen 0.2 to 0.9 s after the kubelet has looked. */
const SEEN_AFTER_MS = 500;

/** What is wrong is told soon: a sandbox that does not go at once is left to the next sweep. */
const FAILED_TEARDOWN_MS = 3_000;

/** Removes what an attempt that failed has left; when containerd did not tell its id, what carries our labels. */
export async function cleanUp(options: TeardownOptions, id: string | undefined): Promise<void> {
  await (id === undefined ? sweep({ ...options, hurry: true }) : tearDown(options, id)).catch(() => {});
}

/** An attempt that failed: `id` of its sandbox, once containerd has told it; times in milliseconds. */
export type Attempt = {
  readonly error: unknown;
  readonly id: string | undefined;
  readonly place: Place;
  readonly begunMs: number;
  readonly bootTimeoutMs: number;
};

/** Tells a sandbox that cannot boot from a containerd that is gone or hangs, and from a kubelet that removed ours. */
export async function explain(
  { client, housekeeping, leftovers, now }: ExplainOptions,
  { error, id, place, begunMs, bootTimeoutMs }: Attempt,
): Promise<Outcome> {
  const kind = error instanceof CriError ? error.kind : undefined;
  const hangs = kind === 'late' ? await silenceOf(client) : undefined;
  if (hangs !== undefined) return impossible(hangs);
  const isOurs = id !== undefined && kind !== 'unreachable';
  // A shim that deadlocked for it keeps the sandbox ready in containerd's eyes.
  const disturbed = isOurs && housekeeping?.lookedBetween(begunMs, now());
  const seen =
    error instanceof SandboxStopped || kind === 'aborted' || (isOurs && (await isGone(client, id)));
  const stopped = seen || disturbed;
  if (seen && id !== undefined) housekeeping?.noticed(SEEN_AFTER_MS);
  if (stopped && id !== undefined) leftovers?.set(id, 'left');
  // The last words of a containerd that is gone since say nothing of whether a sandbox boots.
  const gone = stopped ? undefined : await silenceOf(client);
  if (gone !== undefined) return impossible(gone);
  await cleanUp({ client, teardownTimeoutMs: stopped ? DEAD_TEARDOWN_MS : FAILED_TEARDOWN_MS }, id);
  if (kind === 'unreachable') return impossible(error);
  const message = error instanceof Error ? error.message : String(error);
  if (stopped) return interrupted(message);
  if (kind !== 'late') return outcomeOfError(message);
  const late = `no sandbox booted within ${bootTimeoutMs / 1000} s`;
  if (id === undefined && (await isImageMissing(client, place.sandboxImage))) {
    // containerd was busy pulling it all the time.
    const missing = `${late}: the sandbox image "${place.sandboxImage}" is not on the node`;
    return { kind: 'impossible', reason: 'ProbeImageMissing', message: missing };
  }
  return { kind: 'failed', reason: 'SandboxFailed', message: `${late}: ${message}` };
}
