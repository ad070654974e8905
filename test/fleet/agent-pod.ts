/** The pod of an agent on a node, as the DaemonSet's controller makes it from a revision. */
export function agentOf(node: string, revision: string) {
  const labels = {
    'app.kubernetes.io/name': 'gvisor-ready',
    'app.kubernetes.io/component': 'agent',
    'controller-revision-hash': revision,
  };
  const ownerReferences = [
    {
      apiVersion: 'apps/v1',
      kind: 'DaemonSet',
      name: 'gvisor-ready-agent',
      uid: 'of-a-daemonset',
      controller: true,
    },
  ];
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

/** What the kubelet says of the containers of an agent's pod whose agent runs. */
export function runningContainers(ready: boolean) {
  const state = { running: { startedAt: '2026-11-25T00:00:00Z' } };
  return [{ name: 'agent', image: '', imageID: '', restartCount: 0, ready, state }];
}
