import { join } from 'node:path';
import type { Cluster } from '../cluster.ts';
import { ensureTools } from '../tools/tools.ts';

const PORT = 8080;

/** YAML. */
export const KUBE_STATE_METRICS_SCRAPE = `scrape_configs:
  - job_name: kube-state-metrics
    honor_labels: true
    static_configs: [{ targets: ["127.0.0.1:${PORT}"] }]
`;

/** Runs as the controller manager, which may list everything. */
export async function startKubeStateMetrics(cluster: Cluster, args: readonly string[]): Promise<void> {
  const { controlPlane } = cluster;
  const tools = await ensureTools(['kube-state-metrics']);
  await controlPlane.stopDaemon('kube-state-metrics');
  const command = [
    join(tools['kube-state-metrics'], 'kube-state-metrics'),
    '--kubeconfig=/etc/kubernetes/kube-controller-manager.kubeconfig',
    '--resources=nodes,pods,daemonsets',
    '--host=127.0.0.1',
    `--port=${PORT}`,
    '--telemetry-host=127.0.0.1',
  ];
  await controlPlane.daemon('kube-state-metrics', [...command, ...args]);
}
