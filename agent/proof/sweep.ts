import { mapAtOnce } from '../at-once.ts';
import type { CriClient } from '../cri/client.ts';
import { CriError } from '../cri/error.ts';
import { isOwnProbe, isProbe, OWNER, POD_UID, PROBE_LABELS } from './sandbox-config.ts';

/** What an earlier probe left is dead or dies at once; nothing is concluded from one that does not. */
const SWEEP_MS = 3_000;
const AT_ONCE = 8;
/** Another agent's probe that is younger may be in use, by `--once` or by an agent that is about to end. */
const IN_USE_MS = 60_000;

/** Whose sweep it is: `owner` marks its own probes, `wallMs` is the wall clock, which containerd dates its records by. */
export type SweepOptions = {
  readonly client: CriClient;
  readonly owner: string;
  readonly wallMs: () => number;
};

/**
 * Removes the sandboxes that earlier probes left, of this agent or of one before it, and gives the ids of those that are
 * still there. Rejects when containerd does not list them.
 */
export async function sweepSandboxes(
  { client, owner, wallMs }: SweepOptions,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const limits = { timeoutMs: SWEEP_MS, signal };
  const list = async () =>
    (await client.listSandboxes('all', { signal }))
      .filter(isProbe)
      .filter(
        ({ metadata, createdAt }) =>
          isOwnProbe(metadata?.uid ?? '', owner) || wallMs() - createdAt / 1e6 >= IN_USE_MS,
      )
      .map(({ id }) => id);
  return removeAll(list, async (id) => {
    await client.stopSandbox(id, limits).catch(() => {});
    await client.removeSandbox(id, limits).catch(() => {});
  });
}

/**
 * Removes the containers of probes that the CRI does not list: a call that was cut off leaves them with a task in state
 * CREATED (measured on containerd 1.7.34 and 2.4.2). Gives the ids of those that are still there, and whether there are
 * young ones of other agents, which stay. No probe of this agent may run meanwhile. containerd reads all its records for
 * it, whatever pods have put into them, so it is called only where something may have been left. Rejects when containerd
 * does not list them.
 */
export async function sweepForgotten(
  { client, owner, wallMs }: SweepOptions,
  signal: AbortSignal,
): Promise<{ readonly left: readonly string[]; readonly inUse: boolean }> {
  const limits = { timeoutMs: SWEEP_MS, signal };
  // Pods are left out by containerd itself: a dozen records of theirs may be larger than any answer can be.
  const ofProbes = { labels: PROBE_LABELS, without: POD_UID };
  let inUse = false;
  const list = async () => {
    const records = await client.listContainers(ofProbes, { signal });
    const ours = records.filter(({ labels }) => !(POD_UID in labels));
    const old = ours.filter(
      ({ labels, createdAt }) =>
        labels[OWNER] === owner || wallMs() - (createdAt?.seconds ?? 0) * 1_000 >= IN_USE_MS,
    );
    inUse = old.length < ours.length;
    return old.map(({ id }) => id);
  };
  const left = await removeAll(list, async (id) => {
    const isGone = await client.deleteTask(id, limits).then(
      () => true,
      (error: unknown) => error instanceof CriError && error.kind === 'absent',
    );
    // containerd deletes a record whatever its task does, and nobody can reach the task without it.
    if (isGone) await client.deleteContainer(id, limits).catch(() => {});
  });
  return { left, inUse };
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
