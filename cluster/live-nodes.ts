import { waitFor } from '../hack/run.ts';
import { type Column, tableLines } from '../lib/report/table.ts';
import type { Cluster } from './cluster.ts';
import { type LabelledNode, READY_PATH, viewNodes, watchLabels } from './story.ts';

/** A terminal has a table that is redrawn in place, else each change is a line. */
export type NodeDisplay = { readonly terminal: boolean; readonly write: (text: string) => void };

/** Shows label, condition and reason of each node while `work` runs. */
export async function showNodes<T>(
  cluster: Cluster,
  display: NodeDisplay,
  work: () => Promise<T>,
): Promise<T> {
  const nodes = new Map((await viewNodes(cluster)).map((node) => [node.name, node]));
  const table = () => tableOf([...nodes.values()], display.terminal);
  display.write(table());
  const begun = performance.now();
  const condition = '.status.conditions[?(@.type=="GVisorReady")]';
  const paths = ['.metadata.name', READY_PATH, `${condition}.status`, `${condition}.reason`];
  const watch = watchLabels(cluster, [], paths, ([name = '', ready = '', status = '', reason = '']) => {
    const old = nodes.get(name);
    const node: LabelledNode = { message: '', ...old, name, ready, status, reason };
    if (old === undefined || isSame(node, old)) return;
    nodes.set(name, node);
    const seconds = ((performance.now() - begun) / 1000).toFixed(2);
    if (display.terminal) display.write(`\x1b[${nodes.size + 1}F\x1b[J${table()}`);
    else {
      const lines = tableLines(COLUMNS, [...nodes.values()], { headers: false });
      display.write(`   ${seconds.padStart(6)} s  ${lines[[...nodes.keys()].indexOf(name)]}\n`);
    }
  });
  try {
    const result = await work();
    await waitFor('labels, conditions and the watch to agree', 10_000, async () => {
      const now = await viewNodes(cluster);
      const agree = now.every(({ ready, status }) => (ready === 'true') === (status === 'True'));
      const shown = now.every((node) => isSame(node, nodes.get(node.name)));
      return agree && shown ? true : undefined;
    });
    return result;
  } finally {
    watch.close();
  }
}

function isSame(node: LabelledNode, other: LabelledNode | undefined): boolean {
  return node.ready === other?.ready && node.status === other.status && node.reason === other.reason;
}

const COLUMNS: readonly Column<LabelledNode>[] = [
  { head: 'NODE', cell: ({ name }) => name },
  {
    head: 'LABEL ready',
    cell: ({ ready }) => ready || '-',
    color: ({ ready }) => (ready === 'true' ? 'green' : 'red'),
  },
  { head: 'GVisorReady', cell: ({ status }) => status || '-' },
  { head: 'REASON', cell: ({ reason }) => reason },
];

function tableOf(nodes: readonly LabelledNode[], colored: boolean): string {
  const screen = { colored, width: Number.POSITIVE_INFINITY };
  return tableLines(COLUMNS, nodes, { screen })
    .map((line) => `     ${line}\n`)
    .join('');
}
