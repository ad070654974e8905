import { randomUUID } from 'node:crypto';

/** The labels of a probe's sandbox, for people, and for us where containerd remembers nothing else of it. */
export const PROBE_LABELS = {
  'app.kubernetes.io/managed-by': 'gvisor-ready',
  'app.kubernetes.io/component': 'probe',
} as const;

/** The kubelet's own label, which every pod has and no pod can take off. */
export const POD_UID = 'io.kubernetes.pod.uid';

/** What the name and the UID of a probe begin with. */
const PROBE = 'gvisor-probe-';

/** Whether a sandbox is a probe's. A pod chooses its name and its labels; its UID is the API server's or the kubelet's. */
export function isProbe({ metadata }: { readonly metadata: { readonly uid: string } | null }): boolean {
  return metadata?.uid.startsWith(PROBE) === true;
}

/**
 * A PodSandboxConfig on the host's network setting, which spares the node's CNI: gVisor starts it in an empty
 * network namespace of its own. It has no hostname, like the kubelet's sandboxes on the host's network: runc refuses a
 * hostname there, and a sandbox of runc must start to be recognized. The name is new each time, because containerd
 * reserves it as long as its sandbox lives.
 */
export function newSandbox(cgroupParent: string) {
  const name = `${PROBE}${randomUUID().slice(0, 8)}`;
  return {
    metadata: { name, namespace: 'gvisor-ready', uid: name },
    labels: PROBE_LABELS,
    linux: {
      cgroupParent,
      securityContext: { namespaceOptions: { network: 'NODE', pid: 'CONTAINER', ipc: 'POD' } },
    },
  };
}
