import { randomUUID } from 'node:crypto';

/** The labels of a probe's sandbox, for people, and for the sweep where containerd remembers nothing else of it. */
export const PROBE_LABELS = {
  'app.kubernetes.io/managed-by': 'gvisor-ready',
  'app.kubernetes.io/component': 'probe',
} as const;

/** The kubelet's own label, which every pod has and no pod can take off. */
export const POD_UID = 'io.kubernetes.pod.uid';

/** The label with the mark of the agent that made a probe. */
export const OWNER = 'app.kubernetes.io/instance';

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
