import assert from 'node:assert/strict';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { before, describe, it } from 'node:test';
import type { Cluster } from '../../cluster/cluster.ts';
import { type Prometheus, startPrometheus } from '../../cluster/control-plane/prometheus.ts';
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

type Target = {
  readonly address: string;
  readonly component: 'agent' | 'fleet';
  readonly owner: 'DaemonSet' | 'ReplicaSet' | 'Node';
  readonly text?: readonly string[];
};

/** Metrics of a healthy node, with these changes. */
function agent(changes: Readonly<Record<string, string | number>> = {}): readonly string[] {
  const all = {
    'gvisor_ready_node_status{status="True"}': 1,
    'gvisor_ready_node_reason{reason="SandboxProven"}': 1,
    'gvisor_ready_node_info{runsc="release-1"}': 1,
    gvisor_ready_node_expected: 1,
    gvisor_ready_time_seconds: 'NOW',
    gvisor_ready_last_proof_timestamp_seconds: 'NOW',
    gvisor_ready_pods_last_seen_timestamp_seconds: 'NOW',
    gvisor_ready_proof_interval_seconds: 600,
    gvisor_ready_last_boot_seconds: 0.3,
    gvisor_ready_unsandboxed_pods: 0,
    gvisor_ready_unknown_pods: 0,
    gvisor_ready_unlimited_pods: 0,
    ...changes,
  };
  return Object.entries(all).map(([series, value]) => `${series} ${value}`);
}

const BROKEN = {
  'gvisor_ready_node_status{status="True"}': 0,
  'gvisor_ready_node_reason{reason="SandboxProven"}': 0,
  'gvisor_ready_node_reason{reason="ShimNotFound"}': 1,
  'gvisor_ready_node_info{runsc="release-2"}': 1,
  gvisor_ready_last_boot_seconds: 9,
  gvisor_ready_unsandboxed_pods: 2,
  gvisor_ready_unknown_pods: 1,
  gvisor_ready_unlimited_pods: 1,
};
const STALE = {
  gvisor_ready_last_proof_timestamp_seconds: 1,
  gvisor_ready_installation_failed: 1,
  'gvisor_ready_handler_status{handler="runsc-kvm", status="True"}': 0,
  'gvisor_ready_sandbox_problems{reason="ShimUnresponsive"}': 1,
};
const FLEET = [
  'gvisor_ready_fleet_watches_up 0',
  'gvisor_ready_fleet_agents_missing 4',
  'gvisor_ready_fleet_circuit_breaker_open{reason="ApiServerAway"} 1',
  'gvisor_ready_fleet_label_without_agent{node="node-gone"} 1',
  'gvisor_ready_fleet_node_labelled{node="node-broken"} 1',
  'gvisor_ready_fleet_guard_missing{guard="gvisor-ready-agent"} 1',
  'gvisor_ready_fleet_gvisor_required 1',
  'gvisor_ready_fleet_failed_writes 1',
];
const READY = 'kube_node_labels{label_gvisor_node_restriction_kubernetes_io_ready="true"';
const AGENT_POD =
  'kube_pod_info{namespace="gvisor-ready", created_by_kind="DaemonSet", created_by_name="gvisor-ready-agent"';
const DAEMON_SET = '{namespace="gvisor-ready", daemonset="gvisor-ready-agent"}';
const STUCK = 'namespace="eval", pod="stuck", uid="stuck"';
const KUBE_STATE_METRICS = [
  ...['node-broken', 'node-gone'].flatMap((node) => [
    `kube_node_info{node="${node}"} 1`,
    `${READY}, node="${node}"} 1`,
    `kube_node_status_condition{condition="Ready", status="true", node="${node}"} 1`,
  ]),
  `${AGENT_POD}, node="node-waits"} 1`,
  `kube_pod_info{${STUCK}, node="node-well"} 1`,
  `kube_pod_deletion_timestamp{${STUCK}} 1`,
  `kube_pod_runtimeclass_name_info{${STUCK}, runtimeclass_name="gvisor"} 1`,
  `kube_pod_status_phase{${STUCK}, phase="Running"} 1`,
  `kube_daemonset_status_desired_number_scheduled${DAEMON_SET} 9`,
  `kube_daemonset_status_current_number_scheduled${DAEMON_SET} 9`,
  'kube_daemonset_status_number_unavailable{namespace="gvisor-ready",daemonset="gvisor-ready-canary"} 1',
];

/** The target of an agent at 127.0.0.LAST; without a text it does not answer. */
const agentAt = (last: number, text?: readonly string[]): Target => ({
  ...{ address: `127.0.0.${last}`, component: 'agent', owner: 'DaemonSet' },
  ...(text && { text }),
});
/** Agents and the fleet controller by pod name, and mirror pods with their labels. */
const TARGETS: Readonly<Record<string, Target>> = {
  'agent-node-well': agentAt(2, agent()),
  'agent-node-broken': agentAt(3, agent(BROKEN)),
  'agent-node-stale': agentAt(4, agent(STALE)),
  'agent-node-flaps': agentAt(5, agent({ 'gvisor_ready_node_status{status="True"}': 'FLIP' })),
  'agent-node-down': agentAt(6),
  'agent-node-evil': agentAt(7, []),
  'fleet-node-well': { ...agentAt(8, FLEET), component: 'fleet', owner: 'ReplicaSet' },
  'agents-mirror-node-evil': { ...agentAt(9), owner: 'Node' },
  'fleets-mirror-node-evil': { ...agentAt(10), component: 'fleet', owner: 'Node' },
};
const EVIL = Object.keys(TARGETS).filter((name) => name.endsWith('-evil'));

/** Writes the metrics that each target serves. */
async function writeMetrics(others: Readonly<Record<string, readonly string[]>> = {}): Promise<void> {
  const texts = Object.entries(TARGETS).map(([name, { address, text }]) => [
    address,
    (others[name] ?? text)?.map((line) => `${line}\n`).join(''),
  ]);
  const { controlPlane } = cluster();
  await mkdir(controlPlane.path('/etc'), { recursive: true });
  const all = { '127.0.0.1': KUBE_STATE_METRICS.map((line) => `${line}\n`).join('') };
  const file = controlPlane.path('/etc/targets.json');
  // The server reads it at any time.
  await writeFile(`${file}.new`, JSON.stringify({ ...all, ...Object.fromEntries(texts) }));
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
    const alerts = 'ALERTS{alertstate="firing", node!="node-evil"}';
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
  it('fires every alert but three for honest targets', async () => {
    const names = alertsOf(rules).map(({ alert }) => alert);
    // These need most of the fleet to be broken, silent or not there.
    const never = ['GVisorNoNodeReady', 'GVisorAgentsMissing', 'GVisorAgentsSilent'];
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
