import { firstOf } from '../../lib/fleet/objects.ts';
import { type Column, markedLines, tableLines } from '../../lib/report/table.ts';
import { type Context, exitCodeOf, rankOf, worstOf } from '../context.ts';
import { readView } from '../fleet-controller.ts';
import { type Format, type Output, printResult, proseOf } from '../output.ts';
import { type FleetPart, judgeFleet, judgeGuards, type NodeGroup } from './health.ts';

export type StatusFlags = { readonly output?: Format; readonly selector?: string };

export async function status(context: Context, { output: format, selector }: StatusFlags): Promise<number> {
  const { api, output } = context;
  const view = readView(api);
  const parts = Object.values(judgeFleet(context, view, selector));
  const judged = await Promise.all([judgeGuards(context, view), ...parts]);
  const sorted = judged.flat().sort((a, b) => orderOf(a) - orderOf(b));
  const result = worstOf(sorted.map(({ tone }) => tone));
  const alarms = sorted.flatMap(({ tone, reasons }) => (tone === 'fail' ? reasons : []));
  const json = sorted.map(
    ({ key, tone, reasons, data }) => [key, { result: tone, reasons, ...data }] as const,
  );
  const handlers = json.flatMap(([key, each]) => (key === 'handlers' ? [each] : []));
  const data = { context: api.access.context, result, alarms, ...Object.fromEntries(json), handlers };
  const { context: name } = api.access;
  printResult(output, format, data, [
    `  ${'Context'.padEnd(12)}${name}`,
    ...sorted.flatMap(({ tone, about, text }) =>
      markedLines(tone, text, { ...proseOf(output), label: about.padEnd(12) }),
    ),
    ...sorted.flatMap(({ groups = {} }) =>
      Object.entries(groups).flatMap(([head, each]) => groupLines(head, each, output)),
    ),
  ]);
  return exitCodeOf(result);
}

/** Nodes and handlers come first among the parts that pass, and after more urgent ones among the others. */
function orderOf({ key, tone }: FleetPart): number {
  return rankOf(tone) - (tone === 'pass' && (key === 'nodes' || key === 'handlers') ? 0.5 : 0);
}

function groupLines(head: string, groups: readonly NodeGroup[], output: Output): string[] {
  const [first] = groups;
  if (first === undefined) return [];
  const columns: readonly Column<NodeGroup>[] = [
    { head, cell: ({ reason }) => reason },
    { head: 'NODES', cell: ({ nodes }) => String(nodes.length) },
    { head: 'WHICH', cell: ({ nodes }) => firstOf(nodes), prose: true },
  ];
  const see = head === 'NOT PROVEN' ? ['', `See why: kubectl gvisor-ready why ${first.nodes[0]}`] : [];
  return ['', ...tableLines(columns, groups, { screen: output }), ...see];
}
