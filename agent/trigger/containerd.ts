import timers from 'node:timers/promises';
import { waitUpTo } from '../async.ts';
import type { CriClient } from '../containerd/client.ts';
import { CriError } from '../containerd/error.ts';
import type { ContainerdIs } from './event-queue.ts';

/**
 * How often a quiet containerd is asked whether it still answers. With the time that an answer may take, once here and
 * once in the look that follows, one that hangs is seen within 10 s.
 */
const PULSE_MS = 3_000;

/** How often a containerd that does not answer is asked, in milliseconds. */
const AWAY_MS = 250;

/**
 * Calls `onChange` when containerd stops answering and when it answers again: at once when the connection
 * breaks or comes back, and by a cheap question now and then for one that hangs or is busy. Ends with the signal.
 */
export async function watchContainerd(
  client: CriClient,
  onChange: (is: ContainerdIs) => void,
  signal: AbortSignal,
  everyMs = PULSE_MS,
): Promise<void> {
  let answered: boolean | undefined;
  let broke = false;
  while (!signal.aborted) {
    const isLate = await client.version({ signal }).then(
      () => undefined,
      (error: unknown) => error instanceof CriError && error.kind === 'late',
    );
    if (signal.aborted) return;
    const answers = isLate === undefined;
    broke ||= isLate === false;
    // A restart so quick that no question went unanswered still broke the connection.
    if (answered !== undefined && (answers !== answered || (answers && broke))) {
      if (answers) onChange(broke ? 'back' : 'in time again');
      else onChange(isLate ? 'late' : 'gone');
    }
    answered = answers;
    if (answers) broke = false;
    const pauseMs = answers ? everyMs : AWAY_MS;
    // One that is closed cannot be watched.
    const change = client.connectionChange(pauseMs * 2).catch(() => timers.setTimeout(pauseMs, false));
    if (await waitUpTo(change, pauseMs, signal)) broke = true;
  }
}
