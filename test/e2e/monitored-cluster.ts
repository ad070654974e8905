import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Cluster } from '../../cluster/cluster.ts';
import { evaluationPod } from '../../cluster/pods.ts';
import {
  KUBE_STATE_METRICS_SCRAPE,
  startKubeStateMetrics,
} from '../../cluster/services/kube-state-metrics.ts';
import { type Alert, type Prometheus, startPrometheus } from '../../cluster/services/prometheus.ts';
import { REPO } from '../../hack/paths.ts';
import { waitFor } from '../../hack/run.ts';
import { type Rule, type RuleFile, readRules } from '../monitoring/alerts.ts';
import { AT_ONCE, applyOverlay, deployWith, settingsPatch, waitForRollout } from './agents.ts';
import { createNamespace, useCluster } from './e2e-cluster.ts';

/** The option of kube-state-metrics in the docs. */
const SHOW_LABELS = '--metric-labels-allowlist=nodes=[gvisor.node-restriction.kubernetes.io/ready]';

const COMPONENT = join(REPO, 'manifests/components/monitoring');
/** Rights beyond those of the component. */
const KUBELET_RIGHTS = join(REPO, 'test/e2e/kubelet-rights.yaml');

/** Frequent proofs, and a long grace period for unknown verdicts. */
const SETTINGS = { PROOF_INTERVAL: '10s', UNKNOWN_GRACE: '1h' };

type Monitored = { readonly cluster: Cluster; readonly prometheus: Prometheus };

/**
 * Registers hooks that open the monitored cluster before the first test and restore it after the last. Returns an accessor
 * of the cluster and its Prometheus.
 */
export function useMonitoredCluster(): () => Monitored {
  let prometheus: Prometheus;
  const cluster = useCluster(async (opened) => {
    prometheus = await monitor(opened);
  }, restore);
  return () => ({ cluster: cluster(), prometheus });
}

/**
 * Deploys agents that prove every 10 s, kube-state-metrics, and a Prometheus with the scrape configurations and rules of
 * the components, with short waits.
 */
async function monitor(cluster: Cluster): Promise<Prometheus> {
  await applyAgents(cluster);
  await startKubeStateMetrics(cluster, [SHOW_LABELS]);
  await cluster.kubectl(['apply', '-f', join(COMPONENT, 'scrape-rbac.yaml')]);
  await cluster.kubectl(['apply', '-f', KUBELET_RIGHTS]);
  return startPrometheus(cluster, {
    scrapeConfigs: [
      await readFile(join(COMPONENT, 'scrape-config.yaml'), 'utf8'),
      KUBE_STATE_METRICS_SCRAPE,
      await readFile(join(REPO, 'test/e2e/kubelet-scrape.yaml'), 'utf8'),
    ],
    rules: [JSON.stringify(shortenRules(await readRules()))],
  });
}

async function restore(cluster: Cluster): Promise<void> {
  await deployWith(cluster);
  await cluster.kubectl(['label', 'nodes', '--all', 'test-pool-']);
  for (const name of ['prometheus', 'relay-prometheus', 'kube-state-metrics'])
    await cluster.controlPlane.stopDaemon(name);
  await cluster.kubectl(['delete', '-f', join(COMPONENT, 'scrape-rbac.yaml'), '--ignore-not-found']);
  await cluster.kubectl(['delete', '-f', KUBELET_RIGHTS, '--ignore-not-found']);
  await cluster.kubectl(['delete', 'namespace', 'monitoring', '--ignore-not-found']);
}

/** Windows of the rules, and shorter ones for scrapes every second. */
const WINDOWS: Readonly<Record<string, string>> = {
  '[3h]': '[1m]',
  '[1h]': '[1m]',
  '[10m]': '[10s]',
  '[5m]': '[5s]',
  '[2m]': '[5s]',
  '[1d]': '[1m]',
  '30m': '10s',
  '2m': '10s',
};

/** Shortens the durations of rules to two seconds, and their windows. */
export function shortenRules(file: RuleFile): RuleFile {
  const groups = file.groups.map(({ name, rules }) => ({
    name,
    rules: rules.map((rule) => ({
      ...rule,
      expr: shortenWindows(rule.expr),
      ...('for' in rule ? { for: '2s' } : {}),
      ...('keep_firing_for' in rule ? { keep_firing_for: '2s' } : {}),
    })),
  }));
  return { groups };
}

function shortenWindows(expr: Rule['expr']): string {
  return expr.replaceAll(/\[\d+[smhd]\]|(?<=offset )\d+[smhd]/g, (window) => {
    const short = WINDOWS[window];
    if (short === undefined) throw new Error(`no short window for ${window} in ${expr}`);
    return short;
  });
}

/** A node selector for the nodes with gVisor. */
export const POOL = { 'test-pool': 'gvisor' };

/** Restricts the agents to the nodes with gVisor. */
export async function usePool(cluster: Cluster): Promise<void> {
  await cluster.kubectl(['label', 'node', 'node-1', 'node-2', 'test-pool=gvisor', '--overwrite']);
  await applyAgents(cluster, POOL);
}

/** A namespace that requires gVisor, for a pod that runs outside gVisor. */
export const REQUIRES = 'requires-gvisor';

/** Runs a pod without gVisor on node-1 in {@link REQUIRES}. */
export async function runOutside(cluster: Cluster): Promise<void> {
  await createNamespace(cluster, REQUIRES, { 'gvisor-ready.dev/require': 'true' });
  const pod = evaluationPod('outside', { gvisor: false, spec: { nodeName: 'node-1' } });
  await cluster.kubectl(['apply', '-n', REQUIRES, '-f', '-'], pod);
}

/** Removes that namespace with its pod. */
export async function removeOutside(cluster: Cluster): Promise<void> {
  await cluster.kubectl(['delete', 'namespace', REQUIRES, '--ignore-not-found'], undefined, 90_000);
}

/**
 * Applies the base with short intervals and further settings, on the nodes that the selector allows, and waits for the
 * rollout.
 */
export async function applyAgents(
  cluster: Cluster,
  nodeSelector: Readonly<Record<string, string>> = {},
  settings: Readonly<Record<string, string>> = {},
): Promise<void> {
  const place = Object.entries(nodeSelector).map(([key, value]) => ({
    op: 'add',
    path: `/spec/template/spec/nodeSelector/${key}`,
    value,
  }));
  await applyOverlay(cluster, [], [...settingsPatch({ ...SETTINGS, ...settings }), ...place, ...AT_ONCE]);
  await waitForRollout(cluster);
}

/** Longer than a scrape interval. */
const GONE_MS = 3_000;

/** Waits for alerts and queries of a Prometheus. */
export function watchAlerts(prometheus: () => Prometheus) {
  /** The firing alert of this name, on a node if given. */
  const find = (alert: string, on?: string) => prometheus().find(alert, on);

  const fires = (alert: string, on?: string): Promise<Alert> =>
    waitFor(`${alert} to fire`, 120_000, () => find(alert, on), 250);

  /** Waits until it has not fired for {@link GONE_MS}, because a missed scrape also ends an alert. */
  const resolves = (alert: string, on?: string): Promise<true> => {
    let goneMs = Number.NaN;
    const gone = async () => {
      if ((await find(alert, on)) !== undefined) goneMs = Number.NaN;
      else if (Number.isNaN(goneMs)) goneMs = Date.now();
      return Date.now() - goneMs >= GONE_MS ? (true as const) : undefined;
    };
    return waitFor(`${alert} to resolve`, 120_000, gone, 250);
  };

  return { find, fires, resolves };
}
