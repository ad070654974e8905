import { mapAtOnce } from '../at-once.ts';
import type { CriClient } from '../cri/client.ts';
import { CriError } from '../cri/error.ts';
import { isProbe, POD_UID, PROBE_LABELS } from './sandbox-config.ts';

/** What an earlier probe left is dead or dies at once; nothing is concluded from one that does not. */
const SWEEP_MS = 3_000;
const AT_ONCE = 8;

/**
 * Removes the sandboxes that earlier probes left, of this agent or of one before it, and gives the ids of those that are
 * still there. Rejects when containerd does not list them.
 */
export async function sweepSandboxes(client: CriClient, signal: AbortSignal): Promise<readonly string[]> {
  const limits = { timeoutMs: SWEEP_MS, signal };
  const list = async () =>
    (await client.listSandboxes('all', { signal })).filter(isProbe).map(({ id }) => id);
  return removeAll(list, async (id) => {
    await client.stopSandbox(id, limits).catch(() => {});
    await client.removeSandbox(id, limits).catch(() => {});
  });
}

/**
 * Removes the containers of probes that the CRI does not list: a call that was cut off leaves them with a task in state
 * CREATED (measured on containerd 1.7.34 and 2.4.2). Gives the ids of those that are still there. No probe may run
 * meanwhile. containerd reads all its records for it, whatever pods have put into them, so that it is asked only where
 * something may have been left. Rejects when containerd does not list them.
 */
export async function sweepForgotten(client: CriClient, signal: AbortSignal): Promise<readonly string[]> {
  const limits = { timeoutMs: SWEEP_MS, signal };
  // Pods are left out by containerd itself: a dozen records of theirs may be larger than any answer can be.
  const ofProbes = { labels: PROBE_LABELS, without: POD_UID };
  const list = async () =>
    (await client.listContainers(ofProbes, { signal }))
      .filter(({ labels }) => !(POD_UID in labels))
      .map(({ id }) => id);
  return removeAll(list, async (id) => {
    const isGone = await client.deleteTask(id, limits).then(
      () => true,
      (error: unknown) => error instanceof CriError && error.kind === 'absent',
    );
    // containerd deletes a record whatever its task does, and nobody can reach the task without it.
    if (isGone) await client.deleteContainer(id, limits).catch(() => {});
  });
}

/** Removes what is listed, and gives what is listed still. */
async function removeAll(
  list: () => Promise<readonly string[]>,
  remove: (id: string) => Promise<void>,
): Promise<readonly string[]> {
  const ours = await list();
  await mapAtOnce(ours, AT_ONCE, remove);
  return ours.length === 0 ? ours : list();
}
