/** An agent's pod as the DaemonSet's controller creates it. */
export function daemonSetPod(node: string) {
  const labels = {
    'app.kubernetes.io/name': 'gvisor-ready',
    'app.kubernetes.io/component': 'agent',
    'controller-revision-hash': 'one',
  };
  const owner = { kind: 'DaemonSet', name: 'gvisor-ready-agent', uid: 'of-a-daemonset', controller: true };
  const ownerReferences = [{ apiVersion: 'apps/v1', ...owner }];
  return {
    metadata: { name: `agent-${node}`, namespace: 'gvisor-ready', labels, ownerReferences },
    spec: {
      nodeName: node,
      serviceAccountName: 'gvisor-ready-agent',
      tolerations: [{ operator: 'Exists' }],
      containers: [{ name: 'agent', image: 'localhost/gvisor-ready:0.1.0' }],
    },
  };
}

/** A patch with the status of an agent's pod whose container runs. */
export function runningStatus(ready: boolean, podIP?: string) {
  const state = { running: { startedAt: '2026-11-25T00:00:00Z' } };
  const containerStatuses = [{ name: 'agent', image: '', imageID: '', restartCount: 0, ready, state }];
  const conditions = [{ type: 'Ready', status: ready ? 'True' : 'False' }];
  const address = podIP === undefined ? {} : { podIP, podIPs: [{ ip: podIP }] };
  return { status: { phase: 'Running', containerStatuses, conditions, ...address } };
}
