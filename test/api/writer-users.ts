import type { Cluster } from '../../cluster/cluster.ts';
import { NAMESPACE } from '../../lib/kube/access.ts';
import { certificateUser, tokenUser } from './api-user.ts';

/** Clients that write Nodes and events. */
export const WRITERS = {
  /** the agent on node-1, with a token that is bound to its pod */
  agent: (cluster: Cluster) => tokenUser(cluster, NAMESPACE, 'gvisor-ready-agent', 'agent-node-1'),
  /** the token of the same service account without a pod */
  unboundAgent: (cluster: Cluster) => tokenUser(cluster, NAMESPACE, 'gvisor-ready-agent'),
  /** the agent on node-3, which has no condition yet */
  agent3: (cluster: Cluster) => tokenUser(cluster, NAMESPACE, 'gvisor-ready-agent', 'agent-node-3'),
  /** the agent on node-4, which has no taint */
  agent4: (cluster: Cluster) => tokenUser(cluster, NAMESPACE, 'gvisor-ready-agent', 'agent-node-4'),
  /** the agent on node-5, which has more than a thousand labels */
  agent5: (cluster: Cluster) => tokenUser(cluster, NAMESPACE, 'gvisor-ready-agent', 'agent-node-5'),
  /** the agent on node-8; one more label or annotation is too many there */
  agent8: (cluster: Cluster) => tokenUser(cluster, NAMESPACE, 'gvisor-ready-agent', 'agent-node-8'),
  /** the agent on node-9, which has its condition twice */
  agent9: (cluster: Cluster) => tokenUser(cluster, NAMESPACE, 'gvisor-ready-agent', 'agent-node-9'),
  fleet: (cluster: Cluster) => tokenUser(cluster, NAMESPACE, 'gvisor-ready-fleet'),
  /** a pod on node-1 under another name, with every right on Nodes and the verb of agents */
  renamed: (cluster: Cluster) => tokenUser(cluster, 'other', 'renamed', 'renamed-node-1'),
  /** a pod on node-1 with every right on Nodes, and without the verb of agents */
  otherPod: (cluster: Cluster) => tokenUser(cluster, 'other', 'plain', 'plain-node-1'),
  /** the verb of agents without a pod */
  reporter: (cluster: Cluster) => certificateUser(cluster, 'reporter'),
  /** every right on Nodes, without the project's verbs */
  nodeAdmin: (cluster: Cluster) => certificateUser(cluster, 'node-admin'),
  /** the default role of node-problem-detector */
  detector: (cluster: Cluster) => certificateUser(cluster, 'detector'),
  /** the job of manifests/uninstall */
  uninstaller: (cluster: Cluster) => certificateUser(cluster, 'uninstaller'),
  kubelet: (cluster: Cluster) => certificateUser(cluster, 'system:node:node-1', ['system:nodes']),
} as const;
