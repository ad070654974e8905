import { dirname } from 'node:path';
import type { Cluster } from '../../cluster/cluster.ts';
import { REPO } from '../../hack/paths.ts';
import { run } from '../../hack/run.ts';

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
