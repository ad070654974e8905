import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { patient, waitFor } from '../hack/run.ts';
import type { Cluster } from './cluster.ts';
import { breakNode, healNode } from './faults/break-node.ts';
import type { FaultName } from './faults/faults.ts';
import { imageName } from './images.ts';

/** The label that the scheduler uses. */
export const READY_LABEL = 'gvisor.node-restriction.kubernetes.io/ready';

/** What a node shows of itself in the API. `ready` is the label's value, "" when there is none. */
export type LabelledNode = {
  readonly name: string;
  readonly ready: string;
  /** The condition's status, "" before there is one. */
  readonly status: string;
  readonly reason: string;
  readonly message: string;
};

/** Every node as the API shows it now. */
export async function viewNodes(cluster: Cluster): Promise<LabelledNode[]> {
  const list = JSON.parse(await cluster.get('/api/v1/nodes')) as { items: RawNode[] };
  return list.items.map(viewOf);
}

type Condition = {
  readonly type: string;
  readonly status: string;
  readonly reason: string;
  readonly message: string;
};
type RawNode = {
  readonly metadata: { readonly name: string; readonly labels?: Readonly<Record<string, string>> };
  readonly status?: { readonly conditions?: readonly Condition[] };
};

function viewOf({ metadata, status }: RawNode): LabelledNode {
  const condition = status?.conditions?.find(({ type }) => type === 'GVisorReady');
  const { status: held = '', reason = '', message = '' } = condition ?? {};
  return { name: metadata.name, ready: metadata.labels?.[READY_LABEL] ?? '', status: held, reason, message };
}

/** Deploys the agent as the README says, and waits until every node has been judged. */
export async function deployAgent(cluster: Cluster, manifests: string): Promise<LabelledNode[]> {
  await cluster.kubectl(['apply', '-k', manifests]);
  return waitFor('a verdict on every node', 90_000, async () => {
    const nodes = await viewNodes(cluster);
    return nodes.every(({ ready, reason }) => ready !== '' && reason !== '') ? nodes : undefined;
  });
}

/** A pod of the workload image, as JSON for kubectl; with `gvisor` it asks for the RuntimeClass. */
export function evaluationPod(
  name: string,
  options: { readonly gvisor: boolean; readonly spec?: object; readonly container?: object },
): string {
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, labels: { app: 'evaluation' } },
    spec: {
      ...(options.gvisor ? { runtimeClassName: 'gvisor' } : {}),
      terminationGracePeriodSeconds: 0,
      containers: [
        { name: 'evaluation', image: imageName('workload'), imagePullPolicy: 'Never', ...options.container },
      ],
      ...options.spec,
    },
  });
}

type RawPod = { readonly spec: { readonly nodeName?: string }; readonly status: { readonly phase?: string } };

/** Creates a pod and waits until it runs; gives the name of its node. */
export async function runPod(
  cluster: Cluster,
  name: string,
  manifest: string,
  timeoutMs = 60_000,
): Promise<string> {
  await cluster.kubectl(['apply', '-f', '-'], manifest);
  return waitFor(`the pod ${name} to run`, timeoutMs, async () => {
    const pod = JSON.parse(await cluster.get(`/api/v1/namespaces/default/pods/${name}`)) as RawPod;
    const { phase } = pod.status;
    const node = pod.spec.nodeName;
    return phase === 'Running' ? node : undefined;
  });
}

/** The path of the label {@link READY_LABEL} in a Node, for kubectl's jsonpath. */
export const READY_PATH = `.metadata.labels.${READY_LABEL.replaceAll('.', '\\.')}`;

/** Calls `onChange` with what stands at these paths of the named nodes (of all when none is named), as a watch tells of them. */
export function watchLabels(
  cluster: Cluster,
  names: readonly string[],
  paths: readonly string[],
  onChange: (values: readonly string[]) => void,
): { readonly ended: Promise<unknown>; readonly close: () => void } {
  const format = `jsonpath=${paths.map((path) => `{${path}}`).join('|')}{"\\n"}`;
  const { command, args } = cluster.kubectlCommand(['get', 'nodes', ...names, '--watch', '-o', format]);
  const watch = spawn(command, args, { stdio: ['ignore', 'pipe', 'ignore'] });
  const lines = createInterface({ input: watch.stdout });
  lines.on('line', (line) => onChange(line.split('|')));
  const close = () => {
    lines.close();
    watch.kill();
  };
  return { ended: once(watch, 'exit'), close };
}

/**
 * Does something to a node and tells how many seconds passed until the API showed the label's new value,
 * seen through a watch that was open before.
 */
export async function secondsUntilLabel(
  cluster: Cluster,
  node: string,
  value: 'true' | 'false',
  act: () => Promise<void>,
  timeoutMs = 60_000,
): Promise<number> {
  const opened = Promise.withResolvers<void>();
  const seen = Promise.withResolvers<number>();
  const patienceMs = patient(timeoutMs);
  const timer = setTimeout(
    () =>
      seen.reject(new Error(`The label of ${node} did not become "${value}" within ${patienceMs / 1000} s`)),
    patienceMs,
  );
  let begun: number | undefined;
  const watch = watchLabels(cluster, [node], [READY_PATH], ([label]) => {
    opened.resolve();
    if (begun !== undefined && label === value) seen.resolve((performance.now() - begun) / 1000);
  });
  void watch.ended.then(() => seen.reject(new Error(`The watch on ${node} ended`)));
  try {
    await Promise.race([opened.promise, seen.promise]);
    begun = performance.now();
    await act();
    return await seen.promise;
  } finally {
    clearTimeout(timer);
    watch.close();
  }
}

/** Breaks a node and gives the seconds until its label said so. */
export function breakAndWait(cluster: Cluster, node: string, fault: FaultName): Promise<number> {
  return secondsUntilLabel(cluster, node, 'false', () => breakNode(cluster, cluster.node(node), fault));
}

/** Heals a node, or one fault of it, and gives the seconds until it was proven again. */
export function healAndWait(cluster: Cluster, node: string, fault?: FaultName): Promise<number> {
  return secondsUntilLabel(cluster, node, 'true', () => healNode(cluster, cluster.node(node), fault));
}
