import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Cluster } from '../cluster.ts';
import { CONTROL_PLANE_ADDRESS } from '../plan/addresses.ts';
import { ensureTools } from '../tools/tools.ts';

const KUBECONFIG = '/etc/kubernetes/kube-router.kubeconfig';

/** Enforces NetworkPolicies. A new pod is unrestricted for some tenths of a second. */
export async function startKubeRouter(cluster: Cluster): Promise<void> {
  const tools = await ensureTools(['kube-router']);
  const admin = await readFile(cluster.kubeconfig, 'utf8');
  const command = [
    join(tools['kube-router'], 'kube-router'),
    '--run-firewall',
    '--run-router=false',
    '--run-service-proxy=false',
    `--kubeconfig=${KUBECONFIG}`,
    `--master=https://${CONTROL_PLANE_ADDRESS}`,
  ];
  for (const node of cluster.nodes()) {
    await node.write(KUBECONFIG, admin, 0o600);
    await node.machine.daemon('kube-router', command);
  }
}
