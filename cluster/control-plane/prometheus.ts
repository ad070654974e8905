import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { waitFor } from '../../hack/run.ts';
import type { Cluster } from '../cluster.ts';
import { ensureTools } from '../tools.ts';
import { actAsServiceAccount } from './service-account.ts';
import { listenOnLoopback, startRelay } from './start-relay.ts';

const DIRECTORY = '/etc/prometheus';
const PORT = 9090;

/** Contents of whole files (YAML). */
export type PrometheusFiles = {
  readonly scrapeConfigs: readonly string[];
  readonly rules: readonly string[];
};

export type Sample = {
  readonly metric: Readonly<Record<string, string>>;
  readonly value: readonly [time: number, value: string];
};

export type SampleSeries = {
  readonly metric: Readonly<Record<string, string>>;
  readonly values: readonly Sample['value'][];
};

/** One of /api/v1/alerts. */
export type Alert = {
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly state: 'pending' | 'firing';
};

export class Prometheus {
  /** Loopback of the host. */
  readonly url: string;

  constructor(url: string) {
    this.url = url;
  }

  async #get<T>(path: string, parameters: Readonly<Record<string, string>> = {}): Promise<T> {
    const response = await fetch(`${this.url}/api/v1/${path}?${new URLSearchParams(parameters)}`);
    const body = (await response.json()) as { status: string; data: T; error?: string };
    if (body.status === 'success') return body.data;
    throw new Error(`Prometheus refuses ${path} ${JSON.stringify(parameters)}: ${body.error}`);
  }

  async query(query: string): Promise<readonly Sample[]> {
    return (await this.#get<{ result: readonly Sample[] }>('query', { query })).result;
  }

  async range(query: string, seconds: number, step = 5): Promise<readonly SampleSeries[]> {
    const end = Date.now() / 1_000;
    const asked = { query, start: String(end - seconds), end: String(end), step: String(step) };
    return (await this.#get<{ result: readonly SampleSeries[] }>('query_range', asked)).result;
  }

  /** A firing alert, optionally of one node. */
  async find(alert: string, node?: string): Promise<Alert | undefined> {
    const { alerts } = await this.#get<{ alerts: readonly Alert[] }>('alerts');
    return alerts.find(
      ({ state, labels }) =>
        state === 'firing' && labels.alertname === alert && (node === undefined || labels.node === node),
    );
  }
}

/**
 * Prometheus has the service account monitoring/prometheus, and scrapes and evaluates every second. Replaces a running
 * one and its data.
 */
export async function startPrometheus(cluster: Cluster, files: PrometheusFiles): Promise<Prometheus> {
  const { controlPlane } = cluster;
  await controlPlane.stopDaemon('prometheus');
  await controlPlane.run(['rm', '-rf', DIRECTORY, '/var/lib/prometheus']);
  await mkdir(controlPlane.path(DIRECTORY), { recursive: true });
  const put = (name: string, text: string) => writeFile(join(controlPlane.path(DIRECTORY), name), text);
  const config = {
    global: { scrape_interval: '1s', scrape_timeout: '1s', evaluation_interval: '1s' },
    scrape_config_files: ['scrape-*.yaml'],
    rule_files: ['rules-*.yaml'],
  };
  await put('prometheus.yml', JSON.stringify(config)); // JSON is YAML
  for (const [index, text] of files.scrapeConfigs.entries()) await put(`scrape-${index}.yaml`, text);
  for (const [index, text] of files.rules.entries()) await put(`rules-${index}.yaml`, text);
  const { server, port } = await listenOnLoopback(0);
  await controlPlane.stopDaemon('relay-prometheus');
  await startRelay(controlPlane, server, { name: 'relay-prometheus', address: '127.0.0.1', port: PORT });
  const url = `http://127.0.0.1:${port}`;
  await continuePrometheus(cluster, url);
  return new Prometheus(url);
}

/** Keeps its files and data. */
export async function continuePrometheus(cluster: Cluster, url: string): Promise<void> {
  const { controlPlane } = cluster;
  const { prometheus } = await ensureTools(['prometheus']);
  const env = await actAsServiceAccount(cluster, 'monitoring', 'prometheus');
  const options = [
    `--config.file=${DIRECTORY}/prometheus.yml`,
    '--storage.tsdb.path=/var/lib/prometheus',
    `--web.listen-address=127.0.0.1:${PORT}`,
  ];
  await controlPlane.daemon('prometheus', [join(prometheus, 'prometheus'), ...options], env);
  await waitFor(`Prometheus (see ${controlPlane.dir}/prometheus.log)`, 60_000, async () =>
    (await fetch(`${url}/-/ready`)).ok ? true : undefined,
  );
}
