import { copyFile, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { waitFor } from '../../hack/run.ts';
import type { Cluster } from '../cluster.ts';
import { listenOnLoopback, startRelay } from '../control-plane/start-relay.ts';
import { SERVICE_ADDRESS } from '../plan/addresses.ts';
import { ensureTools } from '../tools/tools.ts';

const DIRECTORY = '/etc/prometheus';
const PORT = 9090;
/** Client libraries hard-code the path. */
const IN_CLUSTER = '/run/secrets/kubernetes.io/serviceaccount'; // /var/run is a link to /run

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

  /** Every five seconds. */
  async range(query: string, seconds: number): Promise<readonly SampleSeries[]> {
    const end = Date.now() / 1_000;
    const asked = { query, start: String(end - seconds), end: String(end), step: '5' };
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
  const { server, port } = await listenOnLoopback();
  await controlPlane.stopDaemon('relay-prometheus');
  await startRelay(controlPlane, server, { name: 'relay-prometheus', address: '127.0.0.1', port: PORT });
  const { prometheus } = await ensureTools(['prometheus']);
  const env = await actAsServiceAccount(cluster);
  const options = [
    `--config.file=${DIRECTORY}/prometheus.yml`,
    '--storage.tsdb.path=/var/lib/prometheus',
    `--web.listen-address=127.0.0.1:${PORT}`,
  ];
  await controlPlane.daemon('prometheus', [join(prometheus, 'prometheus'), ...options], env);
  const url = `http://127.0.0.1:${port}`;
  const isReady = async () => (await fetch(`${url}/-/ready`)).ok;
  await waitFor(`Prometheus (see ${controlPlane.dir}/prometheus.log)`, 60_000, isReady);
  return new Prometheus(url);
}

/**
 * Puts credentials of the service account where client libraries in the control plane's namespaces look, for 24 hours.
 * Returns their environment.
 */
async function actAsServiceAccount(cluster: Cluster): Promise<Readonly<Record<string, string>>> {
  const [namespace, name] = ['monitoring', 'prometheus'];
  const room = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } };
  const account = { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name, namespace } };
  const list = { apiVersion: 'v1', kind: 'List', items: [room, account] };
  await cluster.kubectl(['apply', '-f', '-'], JSON.stringify(list));
  const token = await cluster.kubectl(['create', 'token', name, '-n', namespace, '--duration=24h']);
  const directory = cluster.controlPlane.path(IN_CLUSTER);
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, 'token'), token.trim(), { mode: 0o600 });
  await copyFile(join(cluster.dir, 'pki/ca.crt'), join(directory, 'ca.crt'));
  await writeFile(join(directory, 'namespace'), namespace);
  return { KUBERNETES_SERVICE_HOST: SERVICE_ADDRESS, KUBERNETES_SERVICE_PORT: '443' };
}
