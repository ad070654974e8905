import { randomUUID } from 'node:crypto';
import { type CriClient, type ListedSandbox, usesSystemdCgroup } from '../containerd/client.ts';
import { CriError } from '../containerd/error.ts';

/** Labels of a probe's sandbox, for people and for the sweep of containers that the CRI does not list. */
export const PROBE_LABELS = {
  'app.kubernetes.io/managed-by': 'gvisor-ready',
  'app.kubernetes.io/component': 'probe',
} as const;

/** The kubelet's own label, which every pod has and none can remove. */
export const POD_UID = 'io.kubernetes.pod.uid';

/** Label with the mark of the agent that ran the probe. */
export const OWNER = 'app.kubernetes.io/instance';

/**
 * Marks the probes of an agent, one mark a handler: 16 letters and digits from the UID of its pod, or random ones. The mark
 * of its main handler is the first.
 */
export function ownerMarks(handlers: number, podUid: string = randomUUID()): readonly string[] {
  const digits = podUid.replaceAll('-', '');
  return Array.from({ length: handlers }, (_, at) =>
    at === 0 ? digits.slice(0, 16) : `${digits.slice(0, 15)}${'ghijklmnopqrstuvwxyz'[at - 1]}`,
  );
}

/** Prefix of a probe's name and UID, before the mark of its agent. */
const PROBE = 'gvisor-probe-';

/** Whether a sandbox is a probe's, by its UID: pods choose their names and labels, but not their UIDs. */
export function isProbe({ metadata }: { readonly metadata: { readonly uid: string } | null }): boolean {
  return metadata?.uid.startsWith(PROBE) === true;
}

/** Whether the agent with this mark ran the probe with this UID. */
export function isOwnProbe(uid: string, owner: string): boolean {
  return uid.startsWith(`${PROBE}${owner}-`);
}

/**
 * PodSandboxConfig of a probe. Host networking spares the node's CNI; gVisor still starts in an empty network namespace of
 * its own. It has no hostname, because runc refuses one with host networking and must start to be recognized. The name is
 * random, because containerd reserves it while the sandbox exists.
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

/** More than one, because a pod may end between two requests and foreign sandboxes have no pod cgroup. */
const MAX_PODS = 5;

/** The containerd behind the socket does not run the agent's own pod, so the kubelet uses another. */
export class WrongRuntime extends Error {
  override readonly name = 'WrongRuntime';
}

/** Our cgroup in the kubelet's root of pods. A dash would add a level in systemd's naming. */
const OWN_CGROUP = 'gvisor_ready';

/**
 * Cgroup parent for a probe, in the kubelet's root of pods beside the classes burstable and besteffort. If no pod reveals
 * that root, as before the kubelet runs, "system.slice" or "", which systemd's driver refuses. Driver and root come from the kubelet's request for a pod's sandbox, which no pod can influence. The
 * agent's own pod is asked about first, then pods of the default handler: a gVisor pod's shim asks its sentry, which the
 * pod can keep busy. The cgroup has default shares or weight and holds the sandbox alone, so the two CPU shares that
 * containerd gives a sandbox do not slow it down. Throws {@link WrongRuntime} if `ownPod`, the UID of the agent's pod, is
 * not in containerd's list.
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
  return usesSystemdCgroup(await client.status()) ? 'system.slice' : '';
}

/**
 * Our cgroup beside a pod's: "/kubepods/burstable/pod12" gives "/kubepods/gvisor_ready", and the systemd form
 * "kubepods-burstable-pod12.slice" gives "kubepods-gvisor_ready.slice"; "" if the path is not a pod's.
 * Source: https://github.com/kubernetes/kubernetes/tree/v1.36.3/pkg/kubelet/cm
 */
export function placeBeside(podCgroup: string): string {
  const [, slice] = /^(?:.*\/)?([^/]+?)(?:-burstable|-besteffort)?-pod[^-/]+\.slice$/.exec(podCgroup) ?? [];
  if (slice !== undefined) return `${slice}-${OWN_CGROUP}.slice`;
  const [, parent] = /^(\/.+?)(?:\/burstable|\/besteffort)?\/pod[^/]+$/.exec(podCgroup) ?? [];
  return parent === undefined ? '' : `${parent}/${OWN_CGROUP}`;
}

/**
 * Whether all cgroup paths of a process are below a cgroup parent. Only the parent's last component is compared, since paths
 * are relative to our own cgroup namespace, as in "/../../kubepods-pod12.slice/x"; the last one is unique to a pod.
 */
export function isBelow(cgroups: readonly string[], parent: string): boolean {
  const name = parent.split('/').at(-1) ?? '';
  return cgroups.length > 0 && cgroups.every((path) => path.split('/').includes(name));
}
