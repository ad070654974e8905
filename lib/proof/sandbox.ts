import { randomUUID } from 'node:crypto';
import { type CriClient, type ListedSandbox, usesSystemdCgroup } from '../containerd/client.ts';
import { CriError } from '../containerd/error.ts';

/** Also for the sweep of containers that the CRI does not list. */
export const PROBE_LABELS = {
  'app.kubernetes.io/managed-by': 'gvisor-ready',
  'app.kubernetes.io/component': 'probe',
} as const;

/** Every pod has this label of the kubelet, and none can remove it. */
export const POD_UID = 'io.kubernetes.pod.uid';

export const OWNER = 'app.kubernetes.io/instance';

/** One mark a handler, the main one first: 16 letters and digits from the pod's UID, or random. */
export function ownerMarks(handlers: number, podUid: string = randomUUID()): readonly string[] {
  const digits = podUid.replaceAll('-', '');
  return Array.from({ length: handlers }, (_, at) =>
    at === 0 ? digits.slice(0, 16) : `${digits.slice(0, 15)}${'ghijklmnopqrstuvwxyz'[at - 1]}`,
  );
}

const PROBE = 'gvisor-probe-';

/** Judged by the UID: pods choose names and labels, but not UIDs. */
export function isProbe({ metadata }: { readonly metadata: { readonly uid: string } | null }): boolean {
  return metadata?.uid.startsWith(PROBE) === true;
}

export function isOwnProbe(uid: string, owner: string): boolean {
  return uid.startsWith(`${PROBE}${owner}-`);
}

/**
 * Host networking spares the node's CNI; gVisor still has its own empty network namespace. No hostname,
 * because runc refuses one with host networking. The name is random, because containerd reserves it while the
 * sandbox exists.
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

/** A pod may end between two requests, and foreign sandboxes have no pod cgroup. */
const MAX_PODS = 5;

/** The agent's own pod is not in this containerd, so the kubelet uses another. */
export class WrongRuntime extends Error {
  override readonly name = 'WrongRuntime';
}

/** A dash would add a level in systemd's naming. */
const OWN_CGROUP = 'gvisor_ready';

/**
 * Cgroup parent in the kubelet's root of pods; "system.slice" or "" if no pod shows that root. Read from the
 * kubelet's request for a sandbox, which no pod can influence. The agent's pod is asked first, then those of
 * the default handler, since a gVisor pod can keep its sentry busy. The cgroup has default shares, so that
 * the two that containerd gives a sandbox do not slow it down. Throws {@link WrongRuntime} if `ownPod` (a
 * UID) is not listed. Source:
 * https://github.com/containerd/containerd/blob/v2.4.2/internal/cri/opts/spec_opts.go
 * (WithDefaultSandboxShares)
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
  return (await usesSystemdCgroup(client, await client.status())) ? 'system.slice' : '';
}

/**
 * "/kubepods/burstable/pod12" gives "/kubepods/gvisor_ready", and "kubepods-burstable-pod12.slice" gives
 * "kubepods-gvisor_ready.slice"; "" if the path is not a pod's. Source:
 * https://github.com/kubernetes/kubernetes/tree/v1.36.3/pkg/kubelet/cm
 */
export function placeBeside(podCgroup: string): string {
  const [, slice] = /^(?:.*\/)?([^/]+?)(?:-burstable|-besteffort)?-pod[^-/]+\.slice$/.exec(podCgroup) ?? [];
  if (slice !== undefined) return `${slice}-${OWN_CGROUP}.slice`;
  const [, parent] = /^(\/.+?)(?:\/burstable|\/besteffort)?\/pod[^/]+$/.exec(podCgroup) ?? [];
  return parent === undefined ? '' : `${parent}/${OWN_CGROUP}`;
}

/**
 * A cgroup in that place which gVisor takes for a pod's, as its name says, and does not make if it is there. Without one,
 * each sandbox that does not boot leaves a cgroup: runsc forgets the one that it made. systemd removes such itself. Sources:
 * https://github.com/google/gvisor/blob/release-20260223.0/runsc/container/container.go (New, stop),
 * https://github.com/google/gvisor/blob/release-20260223.0/pkg/shim/v1/runsc/service.go (setPodCgroup)
 */
export function podIn(place: string): string {
  return place.startsWith('/') ? `${place}/pod_of_probes` : place;
}

/**
 * Compares only the parent's last component, which is unique to a pod: paths are relative to our own cgroup
 * namespace, as in "/../../kubepods-pod12.slice/x".
 */
export function isBelow(cgroups: readonly string[], parent: string): boolean {
  const name = parent.split('/').at(-1) ?? '';
  return cgroups.length > 0 && cgroups.every((path) => path.split('/').includes(name));
}
