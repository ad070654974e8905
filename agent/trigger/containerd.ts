import { setTimeout } from 'node:timers/promises';
import type { CriClient } from '../host/cri-client.ts';

/** How often a quiet containerd is asked whether it still answers, and how long it may take, in milliseconds. */
export type Pulse = { readonly everyMs: number; readonly timeoutMs: number };

/**
 * Calls `changed` when containerd stops answering and when it answers again: at once when the connection
 * breaks or comes back, and by a cheap question now and then for one that hangs. Ends with the signal.
 */
export async function watchContainerd(
  client: CriClient,
  changed: (what: string) => void,
  signal: AbortSignal,
  { everyMs, timeoutMs }: Pulse = { everyMs: 5_000, timeoutMs: 4_000 },
): Promise<void> {
  let answered: boolean | undefined;
  while (!signal.aborted) {
    const answers = await client.call('Version', {}, { timeoutMs, signal }).then(
      () => true,
      () => false,
    );
    if (signal.aborted) return;
    if (answered !== undefined && answers !== answered)
      changed(answers ? 'containerd is back' : 'containerd is gone');
    answered = answers;
    const wait = new AbortController();
    const either = AbortSignal.any([signal, wait.signal]);
    const broken = client.connectionChange(everyMs * 2).then(() => wait.abort());
    await setTimeout(answers ? everyMs : 250, undefined, { signal: either }).catch(() => {});
    broken.catch(() => {});
  }
}
