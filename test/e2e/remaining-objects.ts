import type { Cluster } from '../../cluster/cluster.ts';
import { readNode } from './agents.ts';

/** Kinds of the objects of an installation. */
const KINDS = [
  ...['namespaces', 'clusterroles', 'clusterrolebindings', 'roles', 'rolebindings', 'serviceaccounts'],
  ...['runtimeclasses', 'flowschemas', 'prioritylevelconfigurations', 'resourcequotas', 'networkpolicies'],
  ...['validatingadmissionpolicies', 'validatingadmissionpolicybindings', 'services', 'secrets'],
  ...['daemonsets', 'deployments', 'jobs', 'pods'],
].join(',');

/** The labels, annotations, taints and conditions of a Node that are the agents'. */
export async function marksOn(cluster: Cluster, node: string): Promise<readonly string[]> {
  const { metadata, spec, status } = await readNode(cluster, node);
  return [
    ...Object.keys({ ...metadata.labels, ...metadata.annotations }),
    ...(spec.taints ?? []).map(({ key }) => key),
    ...status.conditions.map(({ type }) => type),
  ].filter((key) => /gvisor/i.test(key));
}

/** The objects in the cluster with the project's names. */
export async function remainingObjects(cluster: Cluster): Promise<readonly string[]> {
  const names = await cluster.kubectl(['get', KINDS, '-A', '-o', 'name']);
  return names.split('\n').filter((name) => name.includes('gvisor'));
}
