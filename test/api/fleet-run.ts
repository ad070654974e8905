import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import { createKube } from '../../agent/kube/client.ts';
import type { Cluster } from '../../cluster/cluster.ts';
import { accessOf, openConfig } from '../../fleet/access.ts';
import { FleetController } from '../../fleet/controller.ts';
import { FleetMetrics } from '../../fleet/metrics.ts';
import { parseFleetConfig } from '../../fleet/settings.ts';

/** The shortest times that the settings allow. */
const SHORT = {
  AGENT_TIMEOUT: '10s',
  NODE_AGE: '0s',
  CIRCUIT_BREAKER_WINDOW: '30s',
  RECOVERY_DELAY: '5s',
  REPORT_INTERVAL: '5s',
};

/** A kubeconfig with a token of the controller's service account and nothing else. */
export async function controllerKubeconfig(cluster: Cluster): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'fleet-'));
  const words = ['create', 'token', '-n', 'gvisor-ready', 'gvisor-ready-fleet'];
  const token = (await cluster.kubectl(words)).trim();
  const read = ['config', 'view', '--raw', '--flatten', '-o', 'json'];
  const config = JSON.parse(await cluster.kubectl(read)) as { users: { user: object }[] };
  for (const each of config.users) each.user = { token };
  const path = join(folder, 'kubeconfig');
  await writeFile(path, JSON.stringify(config), { mode: 0o600 });
  return path;
}

/** A controller in this process, with a token of its service account. */
export class FleetRun {
  readonly fleet: FleetController;
  readonly metrics: FleetMetrics;
  readonly #stop = new AbortController();
  readonly #ended: Promise<unknown>;

  private constructor(fleet: FleetController, metrics: FleetMetrics, closed: () => Promise<unknown>) {
    this.fleet = fleet;
    this.metrics = metrics;
    this.#ended = fleet.run(this.#stop.signal).then(closed);
  }

  static async start(cluster: Cluster, env: Readonly<Record<string, string>> = SHORT): Promise<FleetRun> {
    const kubeconfig = await controllerKubeconfig(cluster);
    const parsed = parseFleetConfig({ ...env, KUBECONFIG: kubeconfig });
    if ('problems' in parsed) throw new Error(parsed.problems.join('; '));
    const config = openConfig(kubeconfig);
    const metrics = new FleetMetrics('test');
    const kube = createKube(await accessOf(config), {
      agent: 'gvisor-ready-fleet/test',
      count: metrics.countRequest,
    });
    const log = pino({ level: process.env.FLEET_LOG ?? 'silent' });
    const fleet = new FleetController({ kube, config, log, settings: parsed.config, metrics });
    return new FleetRun(fleet, metrics, async () => {
      await kube.close();
      await rm(join(kubeconfig, '..'), { recursive: true });
    });
  }

  get breaker(): readonly string[] {
    return this.fleet.view.breaker.map(({ reason }) => reason);
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#ended;
  }
}
