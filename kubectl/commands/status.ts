import { errorLine, sanitizeLine } from '../../lib/base/sanitize.ts';
import { firstOf } from '../../lib/fleet/objects.ts';
import { type Column, markedLines, tableLines } from '../../lib/report/table.ts';
import { type Context, EXIT, exitCodeOf, rankOf, untilNextLook, worstOf } from '../api/context.ts';
import { readView } from '../cluster/fleet-controller.ts';
import { type Format, type Output, printMessage, printResult, proseOf } from '../text/output.ts';
import { aboutGuards, type FleetPart, judgeFleet, type NodeGroup } from './health.ts';

export type StatusFlags = {
  readonly output?: Format;
  readonly selector?: string;
  readonly wait?: boolean;
  /** How long to wait, in milliseconds. */
  readonly timeout: number;
};

export async function status(context: Context, flags: StatusFlags): Promise<number> {
  const { api, output } = context;
  const { output: format } = flags;
  const sorted = flags.wait ? await judgeUntilFine(context, flags) : await judge(context, flags);
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

/** The most urgent part first. */
async function judge(context: Context, { selector }: StatusFlags): Promise<readonly FleetPart[]> {
  const view = readView(context.api);
  const parts = Object.values(judgeFleet(context, view, selector));
  const judged = await Promise.all([aboutGuards(context, view), ...parts]);
  return judged.flat().sort((a, b) => orderOf(a) - orderOf(b));
}

/** Says what it waits for. After the timeout the last look counts, or its error. */
async function judgeUntilFine(context: Context, flags: StatusFlags): Promise<readonly FleetPart[]> {
  const { output, signal } = context;
  const deadlineMs = performance.now() + flags.timeout;
  let told = '';
  const tell = (text: string) => {
    if (text !== told) printMessage(output, text);
    told = text;
  };
  for (;;) {
    const isLast = performance.now() >= deadlineMs;
    try {
      const parts = await judge(context, flags);
      const wrong = parts.filter(({ tone }) => exitCodeOf(tone) !== EXIT.ok);
      if (isLast || wrong.length === 0) return parts;
      tell(`Waiting: ${wrong.flatMap(({ reasons }) => reasons).join(', ')}`);
    } catch (error) {
      if (isLast || signal.aborted) throw error;
      tell(`Waiting: ${sanitizeLine(errorLine(error))}`);
    }
    await untilNextLook(context);
  }
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
