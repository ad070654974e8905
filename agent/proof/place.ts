import type { CallOptions, CriClient } from '../host/cri-client.ts';
import { CriError } from '../host/cri-error.ts';
import { readSandboxInfo, type SandboxInfo } from '../host/sandbox-info.ts';
import { POD_UID } from './sandbox-config.ts';

/** Where a probe goes: the cgroup beside the kubelet's pods ("" when none is known), and its container's image. */
export type Place = {
  readonly cgroupParent: string;
  /** What containerd starts sandboxes from, as a pod's own tells; "" when there is none. */
  readonly sandboxImage: string;
  /** containerd's own folder for what lives as long as a sandbox: its log goes there. */
  readonly stateDir: string;
  /** An image reference or id; absent when only the sandbox's own image is sure to be there. */
  readonly image?: string;
};

type Listed = { readonly id: string; readonly labels: Readonly<Record<string, string>> };

/**
 * Looks at the pods of this node for what a probe should share with them: the kubelet's cgroup parent
 * (taken from a pod's own sandbox, so that driver and root need not be guessed), and an image that is
 * surely present: the one asked for, else that of the agent's own container.
 */
export async function findPlace(
  client: CriClient,
  image: string | undefined,
  options: CallOptions,
): Promise<Place> {
  const { items } = await client.call<{ items: Listed[] }>('ListPodSandbox', {}, options);
  const pods = items.filter(({ labels }) => POD_UID in labels);
  const { cgroupParent, image: sandboxImage } = await readPods(client, pods.slice(0, PODS_TO_ASK), options);
  const found = image ?? (await ownImage(client, options));
  const { stateDir } = await client.status(options.signal);
  if (!stateDir.startsWith('/')) throw new Error('containerd does not say where it keeps its state');
  return { cgroupParent, sandboxImage, stateDir, ...(found === undefined ? {} : { image: found }) };
}

/** The image of the agent's own container: the DaemonSet labels its pods, and the kubelet names containers in labels. */
async function ownImage(client: CriClient, options: CallOptions): Promise<string | undefined> {
  const labelSelector = { 'io.kubernetes.container.name': 'gvisor-ready-agent' };
  const { containers } = await client.call<{ containers: { imageRef: string }[] }>(
    'ListContainers',
    { filter: { labelSelector } },
    options,
  );
  return containers.find(({ imageRef }) => imageRef !== '')?.imageRef;
}

/** A pod may end between two questions, and one that is no pod of the kubelet's has no cgroup to share. */
const PODS_TO_ASK = 5;

/** Of the first pod that has a cgroup to share, else of any. */
async function readPods(
  client: CriClient,
  pods: readonly Listed[],
  options: CallOptions,
): Promise<Pick<SandboxInfo, 'image' | 'cgroupParent'>> {
  let seen = { image: '', cgroupParent: '' };
  for (const { id } of pods) {
    try {
      const { image, cgroupParent } = await readSandboxInfo(client, id, options);
      seen = { image: image || seen.image, cgroupParent: cgroupBeside(cgroupParent) };
      if (seen.cgroupParent !== '') return seen;
    } catch (error) {
      if (!(error instanceof CriError && error.kind === 'absent')) throw error;
    }
  }
  return seen;
}

/**
 * The cgroup that holds a pod's cgroup: "/kubepods/besteffort/pod1234" gives "/kubepods/besteffort",
 * the systemd form "kubepods-besteffort-pod1234.slice" gives "kubepods-besteffort.slice". "" when the
 * text has no pod in it. Source: https://github.com/kubernetes/kubernetes/tree/v1.36.3/pkg/kubelet/cm
 */
export function cgroupBeside(podCgroup: string): string {
  const systemd = /^(?:.*\/)?([^/]+)-pod[^-/]+\.slice$/.exec(podCgroup);
  if (systemd) return `${systemd[1]}.slice`;
  return /^(\/.+)\/pod[^/]+$/.exec(podCgroup)?.[1] ?? '';
}
