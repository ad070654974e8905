import timers from 'node:timers/promises';
import { type CriClient, CriError } from '../host/cri-client.ts';
import type { Outcome } from './outcome.ts';
import { PROBE_LABELS } from './sandbox-config.ts';

/** What removes a sandbox: the connection, and how long one call may take. */
export type TeardownOptions = { readonly client: CriClient; readonly teardownTimeoutMs?: number };

const TEARDOWN_TIMEOUT_MS = 10_000;
const QUESTION_TIMEOUT_MS = 5_000;

function questionTimeoutMs({ teardownTimeoutMs = TEARDOWN_TIMEOUT_MS }: TeardownOptions): number {
  return Math.min(teardownTimeoutMs, QUESTION_TIMEOUT_MS);
}

/**
 * Stops and removes a sandbox; an outcome when it runs on in spite of that, which pods would suffer from as
 * well. One that is dead and does not let itself be removed (the kubelet killed it while its container was
 * starting, or runsc vanished while it was made) is left for the next sweep. So is a sandbox of an earlier
 * probe that containerd at once refuses to stop: one that a containerd killed in the middle of a probe finds
 * again seems ready, and its container "in state created" takes no signal. It says nothing about pods.
 */
export async function tearDown(
  options: TeardownOptions,
  id: string,
  probe: 'own' | 'earlier' = 'own',
): Promise<Outcome | undefined> {
  const { client, teardownTimeoutMs = TEARDOWN_TIMEOUT_MS } = options;
  for (const method of ['StopPodSandbox', 'RemovePodSandbox']) {
    try {
      await client.call(method, { podSandboxId: id }, { timeoutMs: teardownTimeoutMs });
    } catch (error) {
      if (!(error instanceof CriError)) throw error;
      if (error.kind === 'absent') continue;
      if (error.kind === 'unreachable') return impossible(error);
      if (error.kind === 'late' && !(await isAlive(options))) return impossible(error);
      if ((probe === 'earlier' && error.kind === 'refused') || (await isGone(client, id))) return undefined;
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

/** So many sandboxes may be left that do not go away; then no further one is started. */
const MOST_LEFT = 3;

/**
 * Removes every sandbox that a probe of this agent or of a predecessor left. An outcome when one runs on:
 * another must not be started beside it. Throws when containerd does not list them.
 */
export async function sweep(options: TeardownOptions, signal?: AbortSignal): Promise<Outcome | undefined> {
  const items = await listProbes(options, signal);
  const deadMs = Math.min(options.teardownTimeoutMs ?? DEAD_TEARDOWN_MS, DEAD_TEARDOWN_MS);
  let left: Outcome | undefined;
  for (const { id, state } of items) {
    signal?.throwIfAborted();
    const dead = state !== 'SANDBOX_READY';
    const limits = dead ? { ...options, teardownTimeoutMs: deadMs } : options;
    left = (await tearDown(limits, id, 'earlier')) ?? left;
  }
  if (left !== undefined || items.length < MOST_LEFT) return left;
  const kept = await listProbes(options, signal);
  if (kept.length < MOST_LEFT) return undefined;
  return {
    kind: 'stuck',
    reason: 'SandboxStuck',
    message: `${kept.length} sandboxes of earlier probes cannot be removed`,
  };
}

async function listProbes(
  options: TeardownOptions,
  signal?: AbortSignal,
): Promise<readonly { readonly id: string; readonly state: string }[]> {
  const { items } = await options.client.call<{ items: { id: string; state: string }[] }>(
    'ListPodSandbox',
    { filter: { labelSelector: PROBE_LABELS } },
    { signal, timeoutMs: questionTimeoutMs(options) },
  );
  return items;
}

/** Whether containerd answers at all, when one of its calls does not. */
export async function isAlive(options: TeardownOptions): Promise<boolean> {
  return options.client.call('Status', {}, { timeoutMs: questionTimeoutMs(options) }).then(
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
    const state = await stateOf(client, id);
    if (state !== 'SANDBOX_READY') return state !== undefined;
    await timers.setTimeout(100);
  }
  return false;
}

/**
 * Aborts `died` when a sandbox has been stopped by somebody else: a call that waits for it may never be
 * answered. Ends with `done`.
 */
export async function watchSandbox(
  client: CriClient,
  id: string,
  { died, done }: { died: AbortController; done: AbortSignal },
): Promise<void> {
  while (!done.aborted) {
    await timers.setTimeout(WATCH_MS, undefined, { signal: done }).catch(() => {});
    if (done.aborted) return;
    const state = await stateOf(client, id);
    if (state !== undefined && state !== 'SANDBOX_READY') died.abort(new Error('the sandbox was stopped'));
  }
}

const WATCH_MS = 500;

/** The sandbox's state, "" when containerd does not know it, undefined when containerd does not say. */
async function stateOf(client: CriClient, id: string): Promise<string | undefined> {
  try {
    const answer = await client.call<{ status?: { state?: string } | null }>('PodSandboxStatus', {
      podSandboxId: id,
    });
    return answer.status?.state ?? '';
  } catch (error) {
    return error instanceof CriError && error.kind === 'absent' ? '' : undefined;
  }
}

/** The outcome of a proof that could not be made. */
export function impossible(error: unknown): Outcome {
  const message = error instanceof Error ? error.message : String(error);
  const late = error instanceof CriError && error.kind === 'late';
  const reason = late ? 'CheckTimedOut' : error instanceof CriError ? 'ContainerdUnreachable' : 'CheckFailed';
  return { kind: 'impossible', reason, message };
}
