import { dirname } from 'node:path';
import type { Cluster } from '../../cluster/cluster.ts';
import { REPO } from '../../hack/paths.ts';
import { run } from '../../hack/run.ts';
import { readNode } from './agents.ts';

/** Runs documented commands in the repository, with the cluster's kubeconfig and further directories in PATH. */
export function runWithKubectl(
  cluster: Cluster,
  script: string,
  programs: readonly string[] = [],
): Promise<string> {
  const path = [...programs, dirname(cluster.kubectlCommand([]).command), process.env.PATH].join(':');
  const env = { ...process.env, PATH: path, KUBECONFIG: cluster.kubeconfig };
  return run('/bin/sh', ['-euc', script], { cwd: REPO, env, timeoutMs: 240_000 });
}

/** Output of the chart's test; Helm 4 wraps it in log lines. */
export const TEST_PASSED = /This pod runs in gVisor: Linux version \S+ #1 SMP Sun Jan 10 15:06:54 PST 2016/;

/** Output of the chart's uninstall in a cluster of two nodes. */
export const UNINSTALLED = /2 of 2 nodes to clean/;

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
