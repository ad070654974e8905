import timers from 'node:timers/promises';
import { waitUpTo } from '../../lib/base/async.ts';
import type { CriClient } from '../../lib/containerd/client.ts';
import { CriError } from '../../lib/containerd/error.ts';
import type { ContainerdState } from './event-queue.ts';

const TIMES = {
  pollMs: 3_000,
  /** Without an answer for so long it is slow. */
  slowMs: 3_000,
  /** A late answer still shows that it is slow and does not hang, and requests that nobody reads cost memory. */
  hungMs: 30_000,
};

const RETRY_MS = 250;

/**
 * Calls `onChange` when containerd stops or resumes responding: at once when the connection breaks or comes back, by
 * polling when it hangs.
 */
export async function watchContainerd(
  client: CriClient,
  onChange: (state: ContainerdState) => void,
  signal: AbortSignal,
  { pollMs, slowMs, hungMs } = TIMES,
): Promise<void> {
  let wasResponsive: boolean | undefined;
  let disconnected = false;
  const note = (isResponsive: boolean, isTimeout: boolean) => {
    // A quick restart breaks the connection although every request succeeds.
    if (wasResponsive !== undefined && (isResponsive !== wasResponsive || (isResponsive && disconnected))) {
      if (isResponsive) onChange(disconnected ? 'back' : 'responsive');
      else onChange(isTimeout ? 'slow' : 'gone');
    }
    wasResponsive = isResponsive;
    if (isResponsive) disconnected = false;
  };
  while (!signal.aborted) {
    const answer = client.version({ signal, timeoutMs: hungMs }).then(
      () => ({ error: undefined }),
      (error: unknown) => ({ error }),
    );
    const isLate = (await waitUpTo(answer, slowMs, signal)) === undefined;
    if (isLate && !signal.aborted) note(false, true);
    const { error } = await answer;
    if (signal.aborted) return;
    const isResponsive = error === undefined;
    const isTimeout = error instanceof CriError && error.kind === 'timeout';
    disconnected ||= !isResponsive && !isTimeout;
    note(isResponsive, isTimeout);
    const pauseMs = isResponsive ? pollMs : RETRY_MS;
    // A call that failed otherwise has ended its connection.
    const ended =
      isResponsive || isTimeout ? client.disconnected(pauseMs * 2) : timers.setTimeout(pauseMs, false);
    if (await waitUpTo(ended, pauseMs, signal)) disconnected = true;
  }
}
