import { randomUUID } from 'node:crypto';
import type { Programs } from './programs.ts';

/** The labels that mark a probe's sandbox as ours, for us after a crash and for people. */
export const PROBE_LABELS = {
  'app.kubernetes.io/managed-by': 'gvisor-ready',
  'app.kubernetes.io/component': 'probe',
} as const;

/** The kubelet's own label, which every pod has and no pod can take off. */
export const POD_UID = 'io.kubernetes.pod.uid';

/** Whether labels are a probe's. A pod's labels are its sandbox's too, so that one may look like a probe. */
export function isProbe(labels: Readonly<Record<string, string>>): boolean {
  return !(POD_UID in labels) && Object.entries(PROBE_LABELS).every(([key, value]) => labels[key] === value);
}

/**
 * A sandbox on the host's network setting, which spares the node's CNI: gVisor starts it in an empty
 * network namespace of its own. The name is new each time, since containerd reserves a name as long as
 * its sandbox lives.
 */
export function newSandbox(cgroupParent: string) {
  const uid = randomUUID();
  return {
    metadata: { name: `gvisor-probe-${uid.slice(0, 8)}`, namespace: 'gvisor-ready', uid, attempt: 0 },
    hostname: 'gvisor-probe',
    labels: PROBE_LABELS,
    linux: {
      cgroupParent,
      securityContext: { namespaceOptions: { network: 'NODE', pid: 'CONTAINER', ipc: 'POD' } },
    },
  };
}

/**
 * The folder of a sandbox's log, which containerd makes and removes with the sandbox itself.
 * A container **must** have a log path. The kubelet tidies up containers that it does not know, and
 * removes every file that `<log path>*` names: of one without a log path that is `*` in its working
 * directory, which is `/`, and there goes the link /bin.
 * Source: https://github.com/kubernetes/kubernetes/blob/v1.36.3/pkg/kubelet/logs/container_log_manager.go (Clean),
 * https://github.com/containerd/containerd/blob/v2.4.2/internal/cri/server/helpers.go (getVolatileSandboxRootDir)
 */
export function logDirectoryOf(stateDir: string, sandboxId: string): string {
  return `${stateDir}/sandboxes/${sandboxId}`;
}

/** A container that sleeps, without any right; it ends by itself should nobody end it. */
export function probeContainer(image: string, programs: Programs) {
  return {
    metadata: { name: 'probe', attempt: 0 },
    image: { image },
    command: programs.command('sleep', '60'),
    logPath: 'probe.log',
    labels: PROBE_LABELS,
    mounts: programs.mounts,
    linux: {
      securityContext: {
        capabilities: { dropCapabilities: ['ALL'] },
        namespaceOptions: { network: 'NODE', pid: 'CONTAINER', ipc: 'POD' },
        runAsUser: { value: 65534 },
        readonlyRootfs: true,
        noNewPrivs: true,
      },
    },
  };
}
