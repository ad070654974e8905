import { randomUUID } from 'node:crypto';
import type { Programs } from './programs.ts';

/** The labels that mark a probe's sandbox as ours, for us after a crash and for people. */
export const PROBE_LABELS = {
  'app.kubernetes.io/managed-by': 'gvisor-ready',
  'app.kubernetes.io/component': 'probe',
} as const;

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

/** A container that sleeps, without any right; it ends by itself should nobody end it. */
export function probeContainer(image: string, programs: Programs) {
  return {
    metadata: { name: 'probe', attempt: 0 },
    image: { image },
    command: programs.command('sleep', '60'),
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
