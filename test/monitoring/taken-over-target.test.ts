import assert from 'node:assert/strict';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { before, describe, it } from 'node:test';
import { parse } from 'yaml';
import type { Cluster } from '../../cluster/cluster.ts';
import { type Prometheus, startPrometheus } from '../../cluster/services/prometheus.ts';
import { REPO } from '../../hack/paths.ts';
import { MONITORING } from '../../hack/prometheus-rules.ts';
import { patient, waitFor } from '../../hack/run.ts';
import { useApiServer } from '../api/api-server.ts';
import { shortenRules } from '../e2e/monitored-cluster.ts';
import { alertsOf, type RuleFile, readRules } from './alerts.ts';

const cluster = useApiServer([]);
const read = (file: string) => readFile(join(REPO, file), 'utf8');

/** Serves the metrics of each address; NOW becomes the time, and FLIP alternates between 0 and 1 at each address. */
const SERVER = `const { readFileSync } = require('node:fs');
const turns = {};
require('node:http').createServer(({ socket }, response) => {
  const address = socket.localAddress;
  const text = JSON.parse(readFileSync('/etc/targets.json', 'utf8'))[address];
  if (text === undefined) return response.writeHead(503).end();
  turns[address] = 1 - (turns[address] ?? 0);
  response.setHeader('content-type', 'text/plain; version=0.0.4');
  response.end(text.replaceAll('NOW', Date.now() / 1000).replaceAll('FLIP', turns[address]));
}).listen(9477, '0.0.0.0');`;

type Metrics = Readonly<Record<string, string | number>>;
type Target = {
  readonly address: string;
  readonly component: 'agent' | 'fleet';
  readonly owner: 'DaemonSet' | 'ReplicaSet' | 'Node';
  readonly metrics?: Metrics;
};
const { kubeStateMetrics, targets: TARGETS } = parse(await read('test/monitoring/targets.yaml'), {
  merge: true,
}) as { readonly kubeStateMetrics: Metrics; readonly targets: Readonly<Record<string, Target>> };
const EVIL = Object.keys(TARGETS).filter((name) => name.endsWith('-evil'));

const linesOf = (metrics: Metrics) => Object.entries(metrics).map(([series, value]) => `${series} ${value}`);

/** Writes the metrics that each target serves. */
async function writeMetrics(others: Readonly<Record<string, readonly string[]>> = {}): Promise<void> {
  const served = Object.entries(TARGETS).map(
    ([name, { address, metrics }]) => [address, others[name] ?? (metrics && linesOf(metrics))] as const,
  );
  const texts = [['127.0.0.1', linesOf(kubeStateMetrics)] as const, ...served].map(([address, lines]) => [
    address,
    lines?.map((line) => `${line}\n`).join(''),
  ]);
  const { controlPlane } = cluster();
  await mkdir(controlPlane.path('/etc'), { recursive: true });
  const file = controlPlane.path('/etc/targets.json');
  // The server reads it at any time.
  await writeFile(`${file}.new`, JSON.stringify(Object.fromEntries(texts)));
  await rename(`${file}.new`, file);
}

/** Creates a pod as its owner's controller would, and its address as the kubelet would. */
async function addPod(cluster: Cluster, name: string): Promise<void> {
  const target = TARGETS[name];
  const nodeName = /node-\w+$/.exec(name)?.[0];
  const labels = {
    'app.kubernetes.io/name': 'gvisor-ready',
    'app.kubernetes.io/component': target?.component,
  };
  const owner = { apiVersion: 'v1', kind: target?.owner, name: 'x', uid: 'x', controller: true };
  const metadata = { name, namespace: 'gvisor-ready', labels, ownerReferences: [owner] };
  const ports = [{ name: 'metrics', containerPort: 9477 }];
  const spec = {
    nodeName,
    serviceAccountName: 'gvisor-ready-agent',
    priorityClassName: 'system-node-critical',
    containers: [{ name: 'x', image: 'x', ports }],
  };
  await cluster.kubectl(
    ['create', '-f', '-'],
    JSON.stringify({ apiVersion: 'v1', kind: 'Pod', metadata, spec }),
  );
  const address = target?.address;
  const status = { phase: 'Running', podIP: address, podIPs: [{ ip: address }] };
  const patch = ['patch', 'pod', name, '-n', 'gvisor-ready', '--subresource=status', '-p'];
  await cluster.kubectl([...patch, JSON.stringify({ status })]);
}

/** Every metric that a rule selects, with the labels that its selector requires. */
function selected(rules: readonly { readonly expr: string }[]): readonly string[] {
  const all = rules.flatMap(({ expr }) => [
    ...expr.matchAll(/\b((?:gvisor|kube)_\w+|up|ALERTS)(?:\{([^}]*)\})?/g),
  ]);
  const named = all.map(([, name, matchers = '']) => {
    // A regular expression is forged with its first alternative.
    const own = [...matchers.matchAll(/(\w+)=~?"([^"|.]+)[^"]*"/g)].filter(([, label]) => label !== 'job');
    const other = /reason!/.test(matchers) ? ['reason="Forged"'] : [];
    return [name, ...own.map(([, label, value]) => `${label}="${value}"`), ...other].join(' ');
  });
  return [...new Set(named)].sort();
}

/** Each of these series under the labels of other nodes and of another cluster, low and high, with timestamps in the future. */
function forge(selections: readonly string[]): readonly string[] {
  const laterMs = Date.now() + 300_000;
  const places = ['well', 'broken', 'stale', 'flaps', 'down', 'gone', 'waits'].map(
    (name) => `node="node-${name}",pod="agent-node-${name}"`,
  );
  return selections.flatMap((selection, at) => {
    const [name, ...labels] = selection.split(' ');
    return places.flatMap((place) =>
      [0, 1e9].map((value) => {
        const forged = [...labels, place, 'job="gvisor-ready-agent"', 'instance="127.0.0.2:9477"'];
        const cluster = ['cluster="other"', `x="${at}-${value}"`];
        const unique = [...new Set([...forged, ...cluster])].filter(
          (each, index, all) => all.findIndex((one) => one.split('=')[0] === each.split('=')[0]) === index,
        );
        return `${name}{${unique.join(',')}} ${value} ${laterMs}`;
      }),
    );
  });
}

describe('a real Prometheus with a target on a compromised node', () => {
  let prometheus: Prometheus;
  let rules: RuleFile;
  /** The alerts that fire most of the time: a scrape that is late on a busy machine is not the forger's work. */
  const firing = async () => {
    // That of metrics without labels names no node, and here only the forger's own target has none.
    const others = 'alertname!="GVisorMetricsUnmatched"';
    const alerts = `ALERTS{alertstate="firing", node!="node-evil", ${others}}`;
    const samples = await prometheus.query(`count_over_time(${alerts}[10s]) > 5`);
    return samples.map(({ metric: { alertstate, ...labels } }) => JSON.stringify(labels)).sort();
  };
  const sees = (query: string) =>
    waitFor(`Prometheus to see ${query}`, 60_000, async () =>
      (await prometheus.query(query)).length > 0 ? true : undefined,
    );

  before(
    async () => {
      rules = await readRules();
      await writeMetrics();
      await cluster().controlPlane.daemon('targets', [process.execPath, '-e', SERVER]);
      for (const name of Object.keys(TARGETS)) await addPod(cluster(), name);
      await cluster().kubectl(['create', 'namespace', 'monitoring']);
      await cluster().kubectl(['apply', '-f', `${REPO}/${MONITORING}/scrape-rbac.yaml`]);
      const kube = { job_name: 'kube-state-metrics', honor_labels: true };
      const scrape = [{ ...kube, static_configs: [{ targets: ['127.0.0.1:9477'] }] }];
      prometheus = await startPrometheus(cluster(), {
        scrapeConfigs: [
          await read(`${MONITORING}/scrape-config.yaml`),
          JSON.stringify({ scrape_configs: scrape }),
        ],
        rules: [JSON.stringify(shortenRules(rules))],
      });
    },
    { timeout: patient(180_000) },
  );

  let honest: readonly string[];
  it('fires every alert but four for honest targets', async () => {
    const names = alertsOf(rules).map(({ alert }) => alert);
    // These need most of the fleet to be broken, silent or not there, or are not looked at.
    const never = [
      'GVisorNoNodeReady',
      'GVisorAgentsMissing',
      'GVisorAgentsSilent',
      'GVisorMetricsUnmatched',
    ];
    const expected = names.filter((name) => !never.includes(name)).sort();
    honest = await waitFor('the alerts for honest targets', 60_000, async () => {
      const all = await firing();
      const fired = new Set(all.map((labels) => (JSON.parse(labels) as { alertname: string }).alertname));
      return expected.every((name) => fired.has(name)) ? all : undefined;
    }).catch(async (cause: unknown) => {
      throw new Error(`expected ${expected}; firing: ${await firing()}`, { cause });
    });
  });

  it('neither loses an alert of another node nor gains one', async () => {
    const selections = selected(rules.groups.flatMap((group) => group.rules));
    assert.ok(selections.length > 30, `${selections.length} selections`);
    const forged = forge(selections);
    await writeMetrics(Object.fromEntries(EVIL.map((name) => [name, forged])));
    // Longer than every wait and window of the rules here.
    await sees('count_over_time(gvisor_ready_unlimited_pods{x!=""}[1m]) > 14');
    await waitFor('the same alerts', 60_000, async () => {
      assert.deepEqual(await firing(), honest);
      return true;
    });
    const forgedSeries = async () => (await prometheus.query('{x!=""}')).map(({ metric }) => metric);
    const places = new Set(
      (await forgedSeries()).map(({ node, cluster = '', job, pod, namespace }) =>
        JSON.stringify([node, cluster, job, pod, namespace]),
      ),
    );
    assert.deepEqual(
      [...places],
      [JSON.stringify(['node-evil', '', 'gvisor-ready-agent', 'agent-node-evil', 'gvisor-ready'])],
    );
    const names = new Set((await forgedSeries()).map(({ __name__ = '' }) => __name__));
    assert.deepEqual(
      [...names].filter((name) => !name.startsWith('gvisor_') || name.startsWith('gvisor_ready_fleet_')),
      [],
    );
  });

  it('counts a target with too many series as down', async () => {
    const [first = ''] = EVIL;
    await writeMetrics({
      [first]: Array.from({ length: 1_001 }, (_, at) => `gvisor_ready_node_status{x="${at}"} 1`),
    });
    await sees('up{node="node-evil"} == 0');
    assert.deepEqual(await prometheus.query('gvisor_ready_node_status{node="node-evil"}'), []);
  });
});
