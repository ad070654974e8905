import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { V1Node, V1NodeList } from '@kubernetes/client-node';
import { waitFor } from '../hack/run.ts';
import type { Cluster } from './cluster.ts';

export const READY_LABEL = 'gvisor.node-restriction.kubernetes.io/ready';

/** A value that is not set is "". */
type LabelledNode = {
  readonly name: string;
  readonly ready: string;
  /** The condition's. */
  readonly status: string;
  readonly reason: string;
  readonly message: string;
};

export async function viewNodes(cluster: Pick<Cluster, 'get'>): Promise<LabelledNode[]> {
  const list = JSON.parse(await cluster.get('/api/v1/nodes')) as V1NodeList;
  return list.items.map(viewOf);
}

function viewOf({ metadata, status }: V1Node): LabelledNode {
  const condition = status?.conditions?.find(({ type }) => type === 'GVisorReady');
  const { status: held = '', reason = '', message = '' } = condition ?? {};
  return {
    name: metadata?.name ?? '',
    ready: metadata?.labels?.[READY_LABEL] ?? '',
    status: held,
    reason,
    message,
  };
}

/** Waits for a verdict on every node. */
export async function deployAgent(
  cluster: Pick<Cluster, 'get' | 'kubectl'>,
  manifests: string,
): Promise<LabelledNode[]> {
  await cluster.kubectl(['apply', '-k', manifests]);
  return waitFor('a verdict on every node', 90_000, async () => {
    const nodes = await viewNodes(cluster);
    return nodes.every(({ ready, reason }) => ready !== '' && reason !== '') ? nodes : undefined;
  });
}

/** A jsonpath. */
export const READY_PATH = labelPath(READY_LABEL);

function labelPath(label: string): string {
  return `.metadata.labels.${label.replaceAll('.', '\\.')}`;
}

/** Watches nodes, all if none is named, and calls `onChange` with the values at these jsonpaths. */
export function watchLabels(
  cluster: Cluster,
  names: readonly string[],
  paths: readonly string[],
  onChange: (values: readonly string[]) => void,
): { readonly close: () => void } {
  const format = `jsonpath=${paths.map((path) => `{${path}}`).join('|')}{"\\n"}`;
  const { command, args } = cluster.kubectlCommand(['get', 'nodes', ...names, '--watch', '-o', format]);
  const watch = spawn(command, args, { stdio: ['ignore', 'pipe', 'ignore'] });
  const lines = createInterface({ input: watch.stdout });
  lines.on('line', (line) => onChange(line.split('|')));
  const close = () => {
    lines.close();
    watch.kill();
  };
  return { close };
}

/** Seconds from `act` until a watch, opened before, shows the label's new value. */
export async function secondsUntilLabel(
  cluster: Cluster,
  node: string,
  value: 'true' | 'false',
  act: () => Promise<void>,
  { timeoutMs = 60_000, label = READY_LABEL } = {},
): Promise<number> {
  let isOpen = false;
  let begunMs: number | undefined;
  let seconds: number | undefined;
  const watch = watchLabels(cluster, [node], [labelPath(label)], ([now]) => {
    isOpen = true;
    if (begunMs !== undefined && now === value) seconds ??= (performance.now() - begunMs) / 1000;
  });
  try {
    await waitFor(`a watch on ${node}`, timeoutMs, async () => isOpen);
    begunMs = performance.now();
    await act();
    const what = `the label ${label} of ${node} to become "${value}"`;
    return await waitFor(what, timeoutMs, async () => seconds);
  } finally {
    watch.close();
  }
}
