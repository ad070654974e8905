import type { Cluster } from '../../cluster/cluster.ts';
import { certificateUser, tokenUser } from './api-user.ts';

/** Users by their rights. */
export const USERS = {
  /** system:masters */
  admin: (cluster: Cluster) => certificateUser(cluster, 'root', ['system:masters']),
  /** everything in the namespace `strict`, including its Namespace object */
  owner: (cluster: Cluster) => certificateUser(cluster, 'owner'),
  /** namespaces and runtime classes of the whole cluster, without the right to lift */
  operator: (cluster: Cluster) => certificateUser(cluster, 'operator'),
  /** the same, and the right to lift */
  lifter: (cluster: Cluster) => certificateUser(cluster, 'lifter'),
  /** the same as the operator, and the right to lift for the namespace `strict` only */
  single: (cluster: Cluster) => certificateUser(cluster, 'single'),
  /** the same as the operator, and the right to delete namespaces that require gVisor */
  deleter: (cluster: Cluster) => certificateUser(cluster, 'deleter'),
  /** a program with the ClusterRole `edit` in the namespace `strict` */
  dispatcher: (cluster: Cluster) => tokenUser(cluster, 'strict', 'dispatcher'),
  /** a program whose writes are in the audit log: `edit` everywhere, and the rights of the operator and the scheduler */
  logged: (cluster: Cluster) => tokenUser(cluster, 'gvisor-ready', 'logged'),
  kubelet: (cluster: Cluster) => certificateUser(cluster, 'system:node:node-9', ['system:nodes']),
} as const;
