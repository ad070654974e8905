import assert from 'node:assert/strict';
import { mkdtemp, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import type { V1PodList } from '@kubernetes/client-node';
import type { Cluster, GetResponse } from '../../cluster/cluster.ts';
import { openAuthority } from '../../cluster/control-plane/pki.ts';
import type { Machine } from '../../cluster/machine/machine.ts';
import { processesIn } from '../../cluster/machine/machine.ts';
import type { Image } from '../../cluster/tools/images.ts';
import { REPO } from '../../hack/paths.ts';
import { patient, waitFor } from '../../hack/run.ts';
import { getForwarded } from '../../kubectl/api/port-forward.ts';
import type { Report } from '../../lib/report/report.ts';

/** The domain of the agents' labels, annotations and taint. */
export const DOMAIN = 'gvisor.node-restriction.kubernetes.io';
const NAMESPACE = ['--namespace', 'gvisor-ready'] as const;
const PODS = '/api/v1/namespaces/gvisor-ready/pods';
const DAEMON_SET = ['daemonset', 'gvisor-ready-agent', ...NAMESPACE] as const;

/** The fields of a Node that tests read. */
export type TestedNode = {
  readonly metadata: {
    readonly uid: string;
    readonly labels: Readonly<Record<string, string>>;
    readonly annotations: Readonly<Record<string, string>>;
  };
  readonly spec: { readonly taints?: readonly { readonly key: string; readonly effect: string }[] };
  readonly status: {
    readonly conditions: readonly Condition[];
    readonly nodeInfo: { readonly bootID: string };
  };
};
type Condition = {
  readonly type: string;
  readonly status: string;
  readonly reason: string;
  readonly message: string;
  readonly lastTransitionTime: string;
};

export async function readNode(cluster: Cluster, node: string): Promise<TestedNode> {
  return JSON.parse(await cluster.get(`/api/v1/nodes/${node}`)) as TestedNode;
}

/** The label `ready` and the condition as "STATUS REASON", each "" if absent. */
export function readinessOf({ metadata, status }: TestedNode) {
  const condition = status.conditions.find(({ type }) => type === 'GVisorReady');
  return {
    ready: metadata.labels[`${DOMAIN}/ready`] ?? '',
    condition: condition === undefined ? '' : `${condition.status} ${condition.reason}`,
    since: condition?.lastTransitionTime ?? '',
    provenBy: metadata.annotations[`${DOMAIN}/proven-by`] ?? '',
  };
}

/** Waits until label and condition of a Node match, and returns them. */
export function waitForNode(
  cluster: Cluster,
  node: string,
  matches: (readiness: ReturnType<typeof readinessOf>) => boolean,
  timeoutMs = 60_000,
): Promise<ReturnType<typeof readinessOf>> {
  let last = '';
  return waitFor(`${node} to say what is expected`, timeoutMs, async () => {
    const readiness = readinessOf(await readNode(cluster, node));
    last = JSON.stringify(readiness);
    return matches(readiness) ? readiness : undefined;
  }).catch((cause: unknown) => {
    throw new Error(`The last state of ${node}: ${last}`, { cause });
  });
}

/** The agent's pod on a node. Name and address are "" if there is none. */
export async function agentOn(cluster: Cluster, node: string) {
  const query = new URLSearchParams({
    fieldSelector: `spec.nodeName=${node}`,
    labelSelector: 'app.kubernetes.io/component=agent',
  });
  const { items } = JSON.parse(await cluster.get(`${PODS}?${query}`)) as V1PodList;
  const staying = items.find(({ metadata }) => metadata?.deletionTimestamp === undefined);
  const { podIP: address = '', conditions = [], containerStatuses = [] } = staying?.status ?? {};
  return {
    name: staying?.metadata?.name ?? '',
    address,
    ready: conditions.some(({ type, status }) => type === 'Ready' && status === 'True'),
    restarts: containerStatuses[0]?.restartCount ?? 0,
  };
}

/** PIDs of the agent on a node, in the form that `machine.kill` takes. */
export function agentPids(machine: Machine): readonly number[] {
  const pids = processesIn(machine)
    .filter(({ argv }) => argv.includes('/app/agent.cjs'))
    .map(({ pid }) => pid);
  assert.equal(pids.length, 1);
  return pids;
}

/** Requests a path of a node's agent through the API server's proxy. */
export async function getFromAgent(cluster: Cluster, node: string, path: string): Promise<GetResponse> {
  const { name } = await agentOn(cluster, node);
  return cluster.request(`${PODS}/${name}:9477/proxy${path}`);
}

/** The report of a node's agent, without the pods, which it shows only over a port-forward. */
export async function readReport(cluster: Cluster, node: string): Promise<Report> {
  const { code, text } = await getFromAgent(cluster, node, '/report');
  if (code === 200) return JSON.parse(text) as Report;
  throw new Error(`The agent on ${node} responds ${code} to /report: ${text.slice(0, 200)}`);
}

const admins = new Map<
  string,
  Promise<{ readonly cert: string; readonly key: string; readonly ca: string }>
>();

async function adminOf({ dir }: Cluster) {
  const authority = await openAuthority(join(dir, 'pki'));
  return { ca: authority.cert, ...(await authority.issue('admin', ['system:masters'])) };
}

/** Requests a path of a pod over a port-forward, which agents and controller trust. */
export async function getFromPod(
  cluster: Cluster,
  pod: string,
  port: number,
  path: string,
): Promise<GetResponse> {
  const admin = admins.get(cluster.dir) ?? adminOf(cluster);
  admins.set(cluster.dir, admin);
  const url = new URL(`wss://127.0.0.1:${cluster.port}${PODS}/${pod}/portforward?ports=${port}`);
  const signal = AbortSignal.timeout(patient(20_000));
  return getForwarded(url, path, { ...(await admin), signal, maxBytes: 4 * 2 ** 20 });
}

/** Requests a path of a node's agent over a port-forward. */
export async function getFromAgentForwarded(
  cluster: Cluster,
  node: string,
  path: string,
): Promise<GetResponse> {
  return getFromPod(cluster, (await agentOn(cluster, node)).name, 9477, path);
}

export async function readMetrics(cluster: Cluster, node: string): Promise<string> {
  const { code, text } = await getFromAgent(cluster, node, '/metrics');
  if (code === 200) return text;
  throw new Error(`The agent on ${node} responds ${code} to /metrics: ${text.slice(0, 200)}`);
}

/** Waits for a line of the metrics of a node's agent. */
export async function waitForMetric(
  cluster: Cluster,
  node: string,
  line: string,
  timeoutMs = 30_000,
): Promise<void> {
  const has = async () => (await readMetrics(cluster, node)).split('\n').includes(line);
  await waitFor(`the metric ${line} of ${node}`, timeoutMs, has);
}

/** Messages of the events on a pod with this reason. */
export async function podEvents(
  cluster: Cluster,
  namespace: string,
  pod: string,
  reason: string,
): Promise<readonly string[]> {
  const selector = `--field-selector=involvedObject.kind=Pod,involvedObject.name=${pod},reason=${reason}`;
  const path = 'jsonpath={range .items[*]}{.message}{"\\n"}{end}';
  const text = await cluster.kubectl(['get', 'events', '-n', namespace, selector, '-o', path]);
  return text.split('\n').filter(Boolean);
}

/** Writes a kustomization of the base with components, patches of the DaemonSet and other fields; returns its directory. */
export async function overlay(
  components: readonly string[],
  patch: readonly object[] = [],
  fields: object = {},
): Promise<string> {
  const directory = await realpath(await mkdtemp(join(tmpdir(), 'overlay-')));
  const from = (path: string) => relative(directory, join(REPO, 'manifests', path));
  const kustomization = {
    apiVersion: 'kustomize.config.k8s.io/v1beta1',
    kind: 'Kustomization',
    ...fields,
    resources: [from('base')],
    components: components.map((name) => from(`components/${name}`)),
    ...(patch.length === 0
      ? {}
      : { patches: [{ target: { kind: 'DaemonSet' }, patch: JSON.stringify(patch) }] }),
  };
  await writeFile(join(directory, 'kustomization.yaml'), JSON.stringify(kustomization));
  return directory;
}

/** The fields of an overlay for another namespace, as docs/gitops.md has them. */
export const inNamespace = (namespace: string) => ({
  namespace,
  transformers: [relative(join(tmpdir(), 'overlay-'), join(REPO, 'manifests/namespace'))],
});

/** Applies the base with components and patches of the DaemonSet. */
export async function applyOverlay(
  cluster: Cluster,
  components: readonly string[],
  patch: readonly object[] = [],
): Promise<void> {
  const directory = await overlay(components, patch);
  try {
    await cluster.kubectl(['apply', '-k', directory]);
  } finally {
    await rm(directory, { recursive: true });
  }
}

export async function removeEnforcement(cluster: Cluster): Promise<void> {
  const kinds = 'validatingadmissionpolicy,validatingadmissionpolicybinding,clusterrole';
  await cluster.kubectl(['delete', kinds, '-A', '-l', 'app.kubernetes.io/component=enforce']);
}

export async function waitForRollout(cluster: Cluster): Promise<void> {
  await onDaemonSet(cluster, ['rollout', 'status'], ['--timeout=270s']);
}

/** A patch that adds settings to the agent's container. */
export function settingsPatch(settings: Readonly<Record<string, string>>): readonly object[] {
  const path = '/spec/template/spec/containers/0/env/-';
  return Object.entries(settings).map(([name, value]) => ({ op: 'add', path, value: { name, value } }));
}

/** A patch for a rollout to all nodes at once. */
export const AT_ONCE: readonly object[] = [
  { op: 'replace', path: '/spec/minReadySeconds', value: 0 },
  { op: 'replace', path: '/spec/updateStrategy/rollingUpdate/maxUnavailable', value: '100%' },
];

/** Deploys agents with these settings and components to all nodes at once, and waits until they are Ready. */
export async function deployWith(
  cluster: Cluster,
  settings: Readonly<Record<string, string>> = {},
  components: readonly string[] = [],
): Promise<void> {
  await applyOverlay(cluster, components, [...settingsPatch(settings), ...AT_ONCE]);
  await waitForRollout(cluster);
}

/** Runs another image of the agent on all nodes, and waits for the rollout. */
export async function deployImage(cluster: Cluster, image: Image): Promise<void> {
  await Promise.all(cluster.nodes().map((node) => node.load(image)));
  await onDaemonSet(cluster, ['set', 'image'], [`gvisor-ready-agent=${image.name}`]);
  await waitForRollout(cluster);
}

/** Runs kubectl on the DaemonSet: `verb` before its name, `rest` behind. */
export function onDaemonSet(
  cluster: Cluster,
  verb: readonly string[],
  rest: readonly string[] = [],
): Promise<string> {
  return cluster.kubectl([...verb, ...DAEMON_SET, ...rest], undefined, 100_000);
}
