import timers from 'node:timers/promises';
import type { CriClient } from '../host/cri-client.ts';
import { CriError } from '../host/cri-error.ts';

/** The error with which containerd does not answer at all; undefined when it does. */
export function silenceOf(client: CriClient): Promise<CriError | undefined> {
  return client.call('Status', {}).then(
    () => undefined,
    (error: CriError) => error,
  );
}

/**
 * Whether a sandbox that just failed us has been stopped. containerd learns of the end of a killed
 * sandbox a little after the calls into it fail, so a sandbox that still seems ready is asked again.
 */
export async function isGone(client: CriClient, id: string): Promise<boolean> {
  for (let look = 0; look < 10; look++) {
    const state = await stateOf(client, id);
    if (state !== 'SANDBOX_READY') return state !== undefined;
    await timers.setTimeout(100);
  }
  return false;
}

/** A sandbox was stopped while it was watched. */
export class SandboxStopped extends Error {
  override readonly name = 'SandboxStopped';
  override readonly message = 'it was no longer ready';
}

/**
 * Watches over a boot, whose calls may never be answered when somebody else stops the sandbox, or late when
 * containerd hangs. Aborts `lost` then, with a {@link SandboxStopped} or with containerd's silence; ends with `done`.
 */
export async function watchBoot(
  client: CriClient,
  idOf: () => string | undefined,
  { lost, done }: { lost: AbortController; done: AbortSignal },
): Promise<void> {
  while (!done.aborted && !lost.signal.aborted) {
    await timers.setTimeout(WATCH_MS, undefined, { signal: done }).catch(() => {});
    const id = idOf();
    if (done.aborted) return;
    const state = id === undefined ? undefined : await stateOf(client, id);
    if (state !== undefined && state !== 'SANDBOX_READY') lost.abort(new SandboxStopped());
    const silence = state === undefined ? await silenceOf(client) : undefined;
    if (silence !== undefined) lost.abort(silence);
  }
}

const WATCH_MS = 500;

/** The sandbox's state, "" when containerd does not know it, undefined when containerd does not say. */
export async function stateOf(client: CriClient, id: string): Promise<string | undefined> {
  try {
    const answer = await client.call<{ status?: { state?: string } | null }>('PodSandboxStatus', {
      podSandboxId: id,
    });
    return answer.status?.state ?? '';
  } catch (error) {
    return error instanceof CriError && error.kind === 'absent' ? '' : undefined;
  }
}
