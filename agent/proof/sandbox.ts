import { randomUUID } from 'node:crypto';
import { pooledMap } from '../async.ts';
import type { CriClient, ListedSandbox } from '../containerd/client.ts';
import { CriError } from '../containerd/error.ts';

/** The labels of a probe's sandbox, for people, and for the sweep where containerd remembers nothing else of it. */
export const PROBE_LABELS = {
  'app.kubernetes.io/managed-by': 'gvisor-ready',
  'app.kubernetes.io/component': 'probe',
} as const;

/** The kubelet's own label, which every pod has and no pod can take off. */
export const POD_UID = 'io.kubernetes.pod.uid';

/** The label with the mark of the agent that made a probe. */
export const OWNER = 'app.kubernetes.io/instance';

/** The mark of an agent's probes, at most 16 letters and digits: from the UID of its pod, or random. */
export function ownerMark(podUid: string = randomUUID()): string {
  return podUid.replaceAll('-', '').slice(0, 16);
}

/** The prefix of a probe's name and UID; the mark of its agent follows. */
const PROBE = 'gvisor-probe-';

/** Whether a sandbox is a probe's. A pod chooses its name and its labels; its UID is the API server's or the kubelet's. */
export function isProbe({ metadata }: { readonly metadata: { readonly uid: string } | null }): boolean {
  return metadata?.uid.startsWith(PROBE) === true;
}

/** Whether the agent with this mark made the probe with this UID. */
export function isOwnProbe(uid: string, owner: string): boolean {
  return uid.startsWith(`${PROBE}${owner}-`);
}

/**
 * A PodSandboxConfig on the host's network setting, which spares the node's CNI: gVisor starts it in an empty
 * network namespace of its own. It has no hostname, like the kubelet's sandboxes on the host's network: runc refuses a
 * hostname there, and a sandbox of runc must start to be recognized. The name is new each time, because containerd
 * reserves it as long as its sandbox lives.
 */
export function newSandbox(cgroupParent: string, owner: string) {
  const name = `${PROBE}${owner}-${randomUUID().slice(0, 8)}`;
  return {
    metadata: { name, namespace: 'gvisor-ready', uid: name },
    labels: { ...PROBE_LABELS, [OWNER]: owner },
    linux: {
      cgroupParent,
      securityContext: { namespaceOptions: { network: 'NODE', pid: 'CONTAINER', ipc: 'POD' } },
    },
  };
}

/** A pod may end between two requests, and a sandbox that is not the kubelet's has no place. */
const MAX_PODS = 5;

/** The containerd behind the socket does not run this agent's own pod, so it is not the kubelet's. */
export class WrongRuntime extends Error {
  override readonly name = 'WrongRuntime';
}

/** Our own folder below the kubelet's root of pods. A dash would be a further level of systemd's. */
const OWN = 'gvisor_ready';

/**
 * The cgroup parent for a probe, "" when there is no pod to learn from: a place of its own in the kubelet's root of
 * pods, beside the classes burstable and besteffort. Driver and root are read from what the kubelet asked for a pod's
 * own sandbox, which no pod can shape. The agent's own pod comes first, then pods of the default handler: the shim of
 * a gVisor pod asks its sentry, which the pod can keep busy. The place has the default shares (v1) or weight (v2); the
 * sandbox alone is in it, so that containerd's two shares for a sandbox do not matter.
 * Throws {@link WrongRuntime} when `ownPod`, the UID of the agent's pod, is set and not in containerd's list.
 * Source: https://github.com/containerd/containerd/blob/v2.4.2/internal/cri/opts/spec_opts.go (WithDefaultSandboxShares)
 */
export async function findPlace(client: CriClient, ownPod?: string): Promise<string> {
  const pods = (await client.listSandboxes('SANDBOX_READY')).filter((sandbox) => !isProbe(sandbox));
  const rank = ({ metadata, runtimeHandler }: ListedSandbox) =>
    metadata?.uid === ownPod ? -1 : runtimeHandler.length; // the default handler has no name
  pods.sort((a, b) => rank(a) - rank(b));
  if (ownPod !== undefined && pods[0]?.metadata?.uid !== ownPod)
    throw new WrongRuntime(
      `the containerd at ${client.socket} runs ${pods.length} pods, and this agent's own is not among them: the kubelet uses another runtime`,
    );
  let unanswered: unknown;
  for (const { id } of pods.slice(0, MAX_PODS)) {
    try {
      const place = placeBeside((await client.sandbox(id)).cgroupParent);
      if (place !== '') return place;
    } catch (error) {
      if (!(error instanceof CriError && error.kind === 'absent')) unanswered = error;
    }
  }
  if (unanswered !== undefined) throw unanswered;
  return '';
}

/**
 * The place in the root of the pods that a pod's cgroup parent lies in: "/kubepods/burstable/pod12" gives
 * "/kubepods/gvisor_ready", and the systemd form "kubepods-burstable-pod12.slice" gives "kubepods-gvisor_ready.slice".
 * "" when the text names no pod. Source: https://github.com/kubernetes/kubernetes/tree/v1.36.3/pkg/kubelet/cm
 */
export function placeBeside(podCgroup: string): string {
  const [, slice] = /^(?:.*\/)?([^/]+?)(?:-burstable|-besteffort)?-pod[^-/]+\.slice$/.exec(podCgroup) ?? [];
  if (slice !== undefined) return `${slice}-${OWN}.slice`;
  const [, folder] = /^(\/.+?)(?:\/burstable|\/besteffort)?\/pod[^/]+$/.exec(podCgroup) ?? [];
  return folder === undefined ? '' : `${folder}/${OWN}`;
}

/**
 * Whether a process is below that cgroup parent, by its cgroup paths. They are told from our own cgroup namespace, as
 * "/../../kubepods-pod12.slice/…", so that only the parent's last part is sure to be there; a pod's is its own.
 */
export function isBelow(cgroups: readonly string[], parent: string): boolean {
  const name = parent.split('/').at(-1) ?? '';
  return cgroups.length > 0 && cgroups.every((path) => path.split('/').includes(name));
}

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
  await pooledMap(ours, AT_ONCE, remove);
  return ours.length === 0 ? ours : list();
}
