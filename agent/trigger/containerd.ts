import timers from 'node:timers/promises';
import { waitUpTo } from '../../lib/base/async.ts';
import type { CriClient } from '../../lib/node/containerd/client.ts';
import { CriError } from '../../lib/node/containerd/error.ts';
import type { ContainerdState } from './event-queue.ts';

/** A hang is detected within 10 s, two request timeouts included. */
const POLL_MS = 3_000;

const RETRY_MS = 250;

/**
 * Calls `onChange` when containerd stops or resumes responding: at once when the connection breaks or comes back, by
 * polling when it hangs.
 */
export async function watchContainerd(
  client: CriClient,
  onChange: (state: ContainerdState) => void,
  signal: AbortSignal,
  pollMs = POLL_MS,
): Promise<void> {
  let wasResponsive: boolean | undefined;
  let disconnected = false;
  while (!signal.aborted) {
    const error = await client.version({ signal }).then(
      () => undefined,
      (cause: unknown) => cause,
    );
    if (signal.aborted) return;
    const isResponsive = error === undefined;
    const isTimeout = error instanceof CriError && error.kind === 'timeout';
    disconnected ||= !isResponsive && !isTimeout;
    // A quick restart breaks the connection although every request succeeds.
    if (wasResponsive !== undefined && (isResponsive !== wasResponsive || (isResponsive && disconnected))) {
      if (isResponsive) onChange(disconnected ? 'back' : 'responsive');
      else onChange(isTimeout ? 'slow' : 'gone');
    }
    wasResponsive = isResponsive;
    if (isResponsive) disconnected = false;
    const pauseMs = isResponsive ? pollMs : RETRY_MS;
    // A call that failed otherwise has ended its connection.
    const ended =
      isResponsive || isTimeout ? client.disconnected(pauseMs * 2) : timers.setTimeout(pauseMs, false);
    if (await waitUpTo(ended, pauseMs, signal)) disconnected = true;
  }
}
