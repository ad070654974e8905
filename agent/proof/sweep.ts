import type { CriClient } from '../cri/client.ts';
import { CriError } from '../cri/error.ts';
import { isProbe, POD_UID, PROBE_LABELS } from './sandbox-config.ts';

/** What an earlier probe left is dead or dies at once; nothing is concluded from one that does not. */
const SWEEP_MS = 3_000;

/**
 * Removes what earlier probes left, of this agent or of one that was killed in the middle of a boot: sandboxes that
 * the CRI lists, and containers with a task in state CREATED that it does not (a call that was cut off leaves them;
 * measured on containerd 1.7.34 and 2.4.2). Gives how many are still there. Rejects when containerd does not list them.
 */
export async function sweep(client: CriClient, signal: AbortSignal): Promise<number> {
  const limits = { timeoutMs: SWEEP_MS, signal };
  const ours = (await client.listSandboxes({ labels: PROBE_LABELS }, { signal })).filter(({ labels }) =>
    isProbe(labels),
  );
  for (const { id } of ours) {
    await client.stopSandbox(id, limits).catch(() => {});
    await client.removeSandbox(id, limits).catch(() => {});
  }
  // Pods are left out by containerd itself: a dozen records of theirs may be larger than any answer can be.
  const ofProbes = { labels: PROBE_LABELS, without: POD_UID };
  const containers = async () =>
    (await client.listContainers(ofProbes, { signal })).filter(({ labels }) => isProbe(labels));
  const left = await containers();
  for (const { id } of left) {
    const isGone = await client.deleteTask(id, limits).then(
      () => true,
      (error: unknown) => error instanceof CriError && error.kind === 'absent',
    );
    // containerd deletes a record whatever its task does, and nobody can reach the task without it.
    if (isGone) await client.deleteContainer(id, limits).catch(() => {});
  }
  return left.length === 0 ? 0 : (await containers()).length;
}
