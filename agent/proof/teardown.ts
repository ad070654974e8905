import timers from 'node:timers/promises';
import { type CriClient, CriError } from '../host/cri-client.ts';
import type { Outcome } from './outcome.ts';
import { PROBE_LABELS } from './sandbox-config.ts';

/** What removes a sandbox: the connection, and how long one call may take. */
export type TeardownOptions = { readonly client: CriClient; readonly teardownTimeoutMs?: number };

const TEARDOWN_TIMEOUT_MS = 10_000;

/** Stops and removes a sandbox; an outcome when that does not end in time, which pods would suffer from as well. */
export async function tearDown(
  { client, teardownTimeoutMs = TEARDOWN_TIMEOUT_MS }: TeardownOptions,
  id: string,
): Promise<Outcome | undefined> {
  for (const method of ['StopPodSandbox', 'RemovePodSandbox']) {
    try {
      await client.call(method, { podSandboxId: id }, { timeoutMs: teardownTimeoutMs });
    } catch (error) {
      if (!(error instanceof CriError)) throw error;
      if (error.kind === 'absent') continue;
      if (error.kind === 'unreachable') return impossible(error);
      if (error.kind === 'late' && !(await isAlive(client))) return impossible(error);
      return {
        kind: 'stuck',
        reason: 'SandboxStuck',
        message: `a probe's sandbox does not go away, ${method} failed: ${error.message}`,
      };
    }
  }
  return undefined;
}

/** What is dead already goes at once, or not at all. */
const DEAD_TEARDOWN_MS = 3_000;

/**
 * Removes every sandbox that a probe of this agent or of a predecessor left. An outcome when one that runs
 * cannot be removed: another must not be started beside it. One that is dead and cannot be removed (what
 * containerd 1.7 keeps of a sandbox whose runsc vanished while it was made) is tried again next time. Throws when containerd does not list them.
 */
export async function sweep(options: TeardownOptions, signal?: AbortSignal): Promise<Outcome | undefined> {
  const { items } = await options.client.call<{ items: { id: string; state: string }[] }>(
    'ListPodSandbox',
    { filter: { labelSelector: PROBE_LABELS } },
    { signal, timeoutMs: Math.min(options.teardownTimeoutMs ?? 5_000, 5_000) },
  );
  let left: Outcome | undefined;
  for (const { id, state } of items) {
    signal?.throwIfAborted();
    const runs = state === 'SANDBOX_READY';
    const stuck = await tearDown(runs ? options : { ...options, teardownTimeoutMs: DEAD_TEARDOWN_MS }, id);
    if (runs) left = stuck ?? left;
  }
  return left;
}

/** Whether containerd answers at all, when one of its calls does not. */
export async function isAlive(client: CriClient): Promise<boolean> {
  return client.status().then(
    () => true,
    () => false,
  );
}

/**
 * Whether a sandbox that just failed us has been stopped. containerd learns of the end of a killed
 * sandbox a little after the calls into it fail, so a sandbox that still seems ready is asked again.
 */
export async function isGone(client: CriClient, id: string): Promise<boolean> {
  for (let look = 0; look < 10; look++) {
    try {
      const answer = await client.call<{ status?: { state?: string } | null }>('PodSandboxStatus', {
        podSandboxId: id,
      });
      if (answer.status?.state !== 'SANDBOX_READY') return true;
    } catch (error) {
      return error instanceof CriError && error.kind === 'absent';
    }
    await timers.setTimeout(100);
  }
  return false;
}

/** The outcome of a proof that could not be made. */
export function impossible(error: unknown): Outcome {
  const message = error instanceof Error ? error.message : String(error);
  const late = error instanceof CriError && error.kind === 'late';
  const reason = late ? 'CheckTimedOut' : error instanceof CriError ? 'ContainerdUnreachable' : 'CheckFailed';
  return { kind: 'impossible', reason, message };
}
