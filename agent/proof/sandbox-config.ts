import { randomUUID } from 'node:crypto';

/** The labels that mark a probe's sandbox as ours, for us after a crash and for people. */
export const PROBE_LABELS = {
  'app.kubernetes.io/managed-by': 'gvisor-ready',
  'app.kubernetes.io/component': 'probe',
} as const;

/** The kubelet's own label, which every pod has and no pod can take off. */
export const POD_UID = 'io.kubernetes.pod.uid';

/** Whether labels are a probe's. A pod chooses the labels of its sandbox, so labels alone are no proof: see POD_UID. */
export function isProbe(labels: Readonly<Record<string, string>>): boolean {
  return !(POD_UID in labels) && Object.entries(PROBE_LABELS).every(([key, value]) => labels[key] === value);
}

/**
 * A PodSandboxConfig on the host's network setting, which spares the node's CNI: gVisor starts it in an empty
 * network namespace of its own. It has no hostname, like the kubelet's sandboxes on the host's network: runc refuses a
 * hostname there, and a sandbox of runc must start to be recognized. The name is new each time, because containerd
 * reserves a name as long as its sandbox lives.
 */
export function newSandbox(cgroupParent: string) {
  const uid = randomUUID();
  return {
    metadata: { name: `gvisor-probe-${uid.slice(0, 8)}`, namespace: 'gvisor-ready', uid, attempt: 0 },
    labels: PROBE_LABELS,
    linux: {
      cgroupParent,
      securityContext: { namespaceOptions: { network: 'NODE', pid: 'CONTAINER', ipc: 'POD' } },
    },
  };
}
