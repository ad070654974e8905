import type { CriClient, ListedSandbox } from '../cri/client.ts';
import { CriError } from '../cri/error.ts';
import { isProbe } from './sandbox-config.ts';

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
