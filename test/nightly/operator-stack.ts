import { mkdtemp, readFile, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Cluster } from '../../cluster/cluster.ts';
import { listenOnLoopback, startRelay } from '../../cluster/control-plane/start-relay.ts';
import { CONTROL_PLANE_ADDRESS } from '../../cluster/plan/addresses.ts';
import { Prometheus } from '../../cluster/services/prometheus.ts';
import { ensureImage } from '../../cluster/tools/images.ts';
import { REPO } from '../../hack/paths.ts';
import { waitFor } from '../../hack/run.ts';
import { deployWith } from '../e2e/agents.ts';
import { shortenRules } from '../e2e/monitored-cluster.ts';
import type { RuleFile } from '../monitoring/alerts.ts';
import { documentedKustomization, writeKustomization } from '../monitoring/documented-kustomization.ts';
import {
  MONITORING_IMAGES,
  MONITORING_NODE,
  operatorBundle,
  operatorStack,
  RECEIVER_PORT,
} from './operator-objects.ts';

const RIGHTS = join(REPO, 'manifests/components/monitoring/scrape-rbac.yaml');
const RECEIVED = '/var/log/alerts.jsonl';
const RECEIVER = 'alert-receiver';
const RELAY = 'relay-prometheus';

/** An alert in a webhook of Alertmanager. */
export type ReceivedAlert = {
  readonly status: 'firing' | 'resolved';
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
};

/**
 * Installs the operator from its Go module, the objects of docs/monitoring.md with shorter waits in the rules, and a Prometheus
 * and an Alertmanager managed by the operator. Returns that Prometheus once it is ready.
 */
export async function deployOperator(cluster: Cluster): Promise<Prometheus> {
  for (const id of MONITORING_IMAGES) await cluster.node(MONITORING_NODE).load(await ensureImage(id));
  await apply(cluster, await operatorBundle());
  await cluster.kubectl(
    ['wait', '--for=condition=Established', 'crd', '--all', '--timeout=180s'],
    '',
    70_000,
  );
  await applyDocumented(cluster);
  await shortenInstalledRules(cluster);
  await startReceiver(cluster);
  await cluster.kubectl(['apply', '-f', RIGHTS]);
  await apply(cluster, await operatorStack());
  for (const kind of ['alertmanager', 'prometheus']) {
    const available = ['--for=condition=Available', kind, '--all', '--timeout=360s'];
    await cluster.kubectl(['wait', '-n', 'monitoring', ...available], '', 130_000);
  }
  return reachPrometheus(cluster);
}

/** Server-side apply, because the annotation of a client-side apply is too long for the operator's CRDs. */
async function apply(cluster: Cluster, text: string): Promise<void> {
  await cluster.kubectl(['apply', '--server-side', '-f', '-'], text, 120_000);
}

/** Applies the kustomization of docs/monitoring.md with the patch for the operator's selectors. */
async function applyDocumented(cluster: Cluster): Promise<void> {
  const { patches = [], ...rest } = await documentedKustomization();
  const labels = patches.filter(({ target }) => target.group === 'monitoring.coreos.com');
  const directory = await realpath(await mkdtemp(join(tmpdir(), 'documented-')));
  try {
    await writeKustomization(directory, { ...rest, patches: labels });
    await cluster.kubectl(['apply', '-k', directory]);
  } finally {
    await rm(directory, { recursive: true });
  }
}

async function shortenInstalledRules(cluster: Cluster): Promise<void> {
  const list = await cluster.kubectl(['get', 'prometheusrules', '-n', 'gvisor-ready', '-o', 'json']);
  const { items } = JSON.parse(list) as { items: { metadata: { name: string }; spec: RuleFile }[] };
  for (const { metadata, spec } of items) {
    const patch = ['--type=merge', '-p', JSON.stringify({ spec: shortenRules(spec) })];
    await cluster.kubectl(['patch', '-n', 'gvisor-ready', 'prometheusrule', metadata.name, ...patch]);
  }
}

/** The receiver runs in the control plane's machine, because pods cannot reach the host's network. */
async function startReceiver({ controlPlane }: Cluster): Promise<void> {
  await controlPlane.run(['rm', '-f', RECEIVED]);
  const script = join(REPO, 'test/nightly/alert-receiver.ts');
  const command = [process.execPath, script, CONTROL_PLANE_ADDRESS, String(RECEIVER_PORT), RECEIVED];
  await controlPlane.stopDaemon(RECEIVER);
  await controlPlane.daemon(RECEIVER, command);
}

async function reachPrometheus(cluster: Cluster): Promise<Prometheus> {
  const pod = await cluster.get('/api/v1/namespaces/monitoring/pods/prometheus-prometheus-0');
  const { podIP } = (JSON.parse(pod) as { status: { podIP: string } }).status;
  const { server, port } = await listenOnLoopback();
  await cluster.controlPlane.stopDaemon(RELAY);
  await startRelay(cluster.controlPlane, server, { name: RELAY, address: podIP, port: 9090 });
  const url = `http://127.0.0.1:${port}`;
  await waitFor('the Prometheus of the operator', 60_000, async () => (await fetch(`${url}/-/ready`)).ok);
  return new Prometheus(url);
}

/** Waits until the last notification of an alert with these labels has this status; returns the alert. */
export function received(
  cluster: Cluster,
  status: ReceivedAlert['status'],
  labels: Readonly<Record<string, string>>,
): Promise<ReceivedAlert> {
  return waitFor(`Alertmanager to send ${status} for ${JSON.stringify(labels)}`, 120_000, async () => {
    const lines = (await readFile(cluster.controlPlane.path(RECEIVED), 'utf8')).trim().split('\n');
    const alerts = lines.flatMap((line) => (JSON.parse(line) as { alerts: ReceivedAlert[] }).alerts);
    const last = alerts.findLast((alert) =>
      Object.entries(labels).every(([name, value]) => alert.labels[name] === value),
    );
    return last?.status === status ? last : undefined;
  });
}

/** Removes the stack with the operator's CRDs, and deploys agents without components. */
export async function removeOperator(cluster: Cluster): Promise<void> {
  for (const name of [RECEIVER, RELAY]) await cluster.controlPlane.stopDaemon(name);
  const remove = (what: readonly string[], input?: string) =>
    cluster.kubectl(['delete', '--ignore-not-found', ...what], input, 120_000);
  await remove(['-f', RIGHTS]);
  await remove(['namespace', 'monitoring']);
  await remove(['-f', '-'], await operatorBundle());
  await remove(['-n', 'kube-system', 'service,endpoints', 'kubelet']);
  await remove(['-n', 'gvisor-ready', 'configmap', 'gvisor-ready-dashboard']);
  await deployWith(cluster);
}
