import { print } from '../../hack/progress.ts';
import { waitFor } from '../../hack/run.ts';
import { formatTable } from '../../hack/table.ts';
import type { Cluster } from '../cluster.ts';
import { READY_PATH, viewNodes, watchLabels } from '../labels.ts';

const HEAD = ['NODE', 'LABEL ready', 'GVisorReady', 'REASON'];
const CONDITION = '.status.conditions[?(@.type=="GVisorReady")]';
const PATHS = ['.metadata.name', READY_PATH, `${CONDITION}.status`, `${CONDITION}.reason`];

/** Prints label, condition and reason of each node, and a line for each change while `work` runs. */
export async function showNodes<T>(cluster: Cluster, work: () => Promise<T>): Promise<T> {
  const view = async () =>
    (await viewNodes(cluster)).map(({ name, ready, status, reason }) => [name, ready, status, reason]);
  const nodes = new Map((await view()).map((cells) => [cells[0], cells]));
  const lines = () => {
    const rows = [...nodes.values()].map((cells) => cells.map((cell) => cell || '-'));
    return formatTable([HEAD, ...rows]).split('\n');
  };
  for (const line of lines()) print(`     ${line}`);
  const begun = performance.now();
  const watch = watchLabels(cluster, [], PATHS, (cells) => {
    const [name = ''] = cells;
    if (String(cells) === String(nodes.get(name))) return;
    nodes.set(name, [...cells]);
    const seconds = ((performance.now() - begun) / 1000).toFixed(2);
    print(`   ${seconds.padStart(6)} s  ${lines()[[...nodes.keys()].indexOf(name) + 1]}`);
  });
  try {
    const result = await work();
    await waitFor('labels, conditions and the watch to agree', 10_000, async () => {
      const now = await view();
      const agree = now.every(([, ready, status]) => (ready === 'true') === (status === 'True'));
      return agree && now.every((cells) => String(cells) === String(nodes.get(cells[0])));
    });
    return result;
  } finally {
    watch.close();
  }
}
