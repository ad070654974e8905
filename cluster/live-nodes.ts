import { styleText } from 'node:util';
import { waitFor } from '../hack/run.ts';
import type { Cluster } from './cluster.ts';
import { type LabelledNode, READY_PATH, viewNodes, watchLabels } from './story.ts';

/** A terminal shows a table that is redrawn in place; otherwise each change is a line. */
export type Display = { readonly terminal: boolean; readonly write: (text: string) => void };

/** Shows label, condition and reason of each node while `work` runs. */
export async function showNodes<T>(cluster: Cluster, display: Display, work: () => Promise<T>): Promise<T> {
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
    else display.write(`   ${seconds.padStart(6)} s  ${rowOf(node, false)}\n`);
  });
  try {
    const result = await work();
    await waitFor('labels, conditions and the watch to agree', 10_000, async () => {
      const now = await viewNodes(cluster);
      const agree = now.every(({ ready, status }) => (ready === 'true') === (status === 'True'));
      const seen = now.every((node) => isSame(node, nodes.get(node.name)));
      return agree && seen ? true : undefined;
    });
    return result;
  } finally {
    watch.close();
  }
}

function isSame(node: LabelledNode, other: LabelledNode | undefined): boolean {
  return node.ready === other?.ready && node.status === other.status && node.reason === other.reason;
}

export function tableOf(nodes: readonly LabelledNode[], colored: boolean): string {
  const head = `     ${'NODE'.padEnd(10)}${'LABEL ready'.padEnd(14)}${'GVisorReady'.padEnd(13)}REASON`;
  return `${[head, ...nodes.map((node) => `     ${rowOf(node, colored)}`)].join('\n')}\n`;
}

function rowOf({ name, ready, status, reason }: LabelledNode, colored: boolean): string {
  const label = (ready === '' ? '-' : ready).padEnd(14);
  const shown = colored ? styleText(ready === 'true' ? 'green' : 'red', label) : label;
  return `${name.padEnd(10)}${shown}${(status === '' ? '-' : status).padEnd(13)}${reason}`;
}
