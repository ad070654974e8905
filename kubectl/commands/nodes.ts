import { GROUPS } from '../../lib/fleet/view.ts';
import { type Column, type Style, tableLines } from '../../lib/report/table.ts';
import { optional } from '../api/api.ts';
import { type Context, EXIT, untilNextLook } from '../api/context.ts';
import { type AgentSummary, listAgents } from '../cluster/agent-reports.ts';
import { readView } from '../cluster/fleet-controller.ts';
import { listNodes, type NodeSummary } from '../cluster/node-summary.ts';
import { ageOf, type Format, isForPrograms, printMessage, printResult } from '../text/output.ts';

export type NodesFlags = {
  readonly output?: Format;
  readonly headers: boolean;
  readonly selector?: string;
  readonly watch?: boolean;
};

/** `agent` is undefined for none, "?" if the user may not list agents. */
export type NodeRow = NodeSummary & { readonly agent: AgentSummary | '?' | undefined };

function agentState({ agent }: Pick<NodeRow, 'agent'>): string {
  if (agent === undefined) return '-';
  if (agent === '?') return '?';
  if (agent.ready) return 'Ready';
  return agent.state === 'Running' ? 'NotReady' : agent.state;
}

// A map, because a label may have any value, such as "constructor".
const COLORS: ReadonlyMap<string, Style> = new Map([
  ['true', 'green'],
  ['false', 'red'],
  ['True', 'green'],
  ['False', 'red'],
  ['Unknown', 'yellow'],
]);
/** Shorter than kubectl's "Ready,SchedulingDisabled", so that narrow tables keep it. */
function kubeletState({ ready, cordoned }: NodeRow): string {
  if (ready) return cordoned ? 'cordoned' : 'Ready';
  return cordoned ? 'NotReady,cordoned' : 'NotReady';
}

const ANSWERS: Readonly<Record<string, string>> = { true: 'yes', false: 'no' };
const dash = (text: string) => text || '-';
/** A node where gVisor is not expected has no fault. */
const colorOf = ({ expected }: NodeRow, state: string) =>
  expected === false ? undefined : COLORS.get(state);

/** "runsc-kvm", or "runsc-kvm=false" if it is not proven. */
function handlersText({ handlers }: NodeRow): string {
  return dash(
    handlers.map(({ handler, label }) => (label === 'true' ? handler : `${handler}=${label}`)).join(','),
  );
}

/** Additional handlers have a column if any row has one. */
export function nodeColumns(nowMs: number, rows: readonly NodeRow[]): Column<NodeRow>[] {
  const additional: Column<NodeRow> = { head: 'HANDLERS', cell: handlersText, wide: true, spare: 2 };
  return [
    { head: 'NAME', cell: ({ name }) => name },
    {
      head: 'STATUS',
      cell: kubeletState,
      color: (row) => (kubeletState(row) === 'Ready' ? undefined : 'yellow'),
    },
    { head: 'EXPECTED', cell: ({ expected }) => ANSWERS[String(expected)] ?? '-', spare: 4 },
    { head: 'READY', cell: ({ label }) => dash(label), color: (row) => colorOf(row, row.label) },
    { head: 'REASON', cell: ({ reason }) => dash(reason), color: (row) => colorOf(row, row.status) },
    { head: 'SINCE', cell: ({ since }) => dash(ageOf(since, nowMs)), spare: 3 },
    {
      head: 'AGENT',
      cell: agentState,
      color: (row) => (agentState(row) === 'Ready' ? undefined : 'yellow'),
      spare: 2,
    },
    { head: 'RUNSC', cell: ({ gvisor }) => dash(gvisor), spare: 4 },
    { head: 'PLATFORM', cell: ({ platform }) => dash(platform), wide: true, spare: 5 },
    ...(rows.some(({ handlers }) => handlers.length > 0) ? [additional] : []),
    { head: 'PROVEN-BY', cell: ({ provenBy }) => dash(provenBy), wide: true, spare: 6 },
    {
      head: 'CONTAINERD',
      cell: ({ runtime }) => dash(runtime.replace(/^containerd:\/\//, '')),
      wide: true,
      spare: 7,
    },
    { head: 'MESSAGE', cell: ({ message }) => dash(message), wide: true, prose: true, spare: 1 },
  ];
}

const BY_NUMBER = new Intl.Collator('en', { numeric: true });

/** Those that need a person first, then those that are well, then those where gVisor is not expected. */
function byAttention(a: NodeRow, b: NodeRow): number {
  return attention(a) - attention(b) || BY_NUMBER.compare(a.name, b.name);
}

function attention(row: NodeRow): number {
  if (row.expected === false) return 2;
  const hasAgent = row.agent === '?' || row.agent?.ready === true;
  return row.label === 'true' && row.status === 'True' && row.ready && hasAgent ? 1 : 0;
}

/** For -o json: without `agent` if the user may not list agents; null for a value that is not set. */
export function nodeJson(row: NodeRow) {
  const { name, label, handlers, expected, status, reason, since, agent } = row;
  const { ready: kubeletReady, cordoned, kubelet, runtime, os, architecture } = row;
  const agentJson = agent &&
    agent !== '?' && { pod: agent.name, state: agentState(row), version: agent.version };
  return {
    name,
    expected: expected ?? null,
    ready: label || null,
    handlers: Object.fromEntries(handlers.map((each) => [each.handler, each.label])),
    condition: status === '' ? null : { status, reason, since },
    runsc: row.gvisor || null,
    platform: row.platform || null,
    provenBy: row.provenBy || null,
    kubeletReady,
    cordoned,
    kubelet,
    runtime,
    os,
    architecture,
    ...(agent === '?' ? {} : { agent: agent ? agentJson : null }),
  };
}

export async function nodes(context: Context, flags: NodesFlags): Promise<number> {
  const { api, output } = context;
  const { output: format, selector } = flags;
  const [rows, view] = await Promise.all([listRows(context, flags), readView(api).catch(() => undefined)]);
  const { alarms = [] } = typeof view === 'object' ? view : {};
  for (const { reason, message } of alarms)
    if (reason === GROUPS.refuted) printMessage(output, `${reason}: ${message}`);
  if (rows.length === 0 && !isForPrograms(format))
    printMessage(output, selector === undefined ? 'There are no nodes.' : 'No node has those labels.');
  else printResult(output, format, { nodes: rows.map(nodeJson) }, linesOf(context, flags, rows));
  const hidden = `You may not list the pods of ${api.installedIn}, so the agents are not shown.`;
  if (rows.some(({ agent }) => agent === '?')) printMessage(output, hidden);
  if (flags.watch) await follow(context, flags, rows);
  return EXIT.ok;
}

async function listRows({ api }: Context, { selector }: NodesFlags): Promise<readonly NodeRow[]> {
  const [found, agents] = await Promise.all([listNodes(api, selector), optional(listAgents(api), [403])]);
  const byNode = new Map(agents?.map((agent) => [agent.node, agent]));
  return found
    .map((node): NodeRow => ({ ...node, agent: agents === undefined ? '?' : byNode.get(node.name) }))
    .sort(byAttention);
}

function linesOf({ output, now }: Context, flags: NodesFlags, rows: readonly NodeRow[]): readonly string[] {
  const options = { screen: output, headers: flags.headers, wide: flags.output === 'wide' };
  return tableLines(nodeColumns(now(), rows), rows, options);
}

/** Prints each row that changes, as `kubectl get -w` does, until interrupted. */
async function follow(context: Context, flags: NodesFlags, first: readonly NodeRow[]): Promise<never> {
  const { output } = context;
  const seenOf = (rows: readonly NodeRow[]) =>
    new Map(rows.map((row) => [row.name, JSON.stringify(nodeJson(row))]));
  let before = seenOf(first);
  for (;;) {
    await untilNextLook(context);
    const rows = await listRows(context, flags);
    const [, ...lines] = linesOf(context, { ...flags, headers: true }, rows);
    for (const [at, row] of rows.entries()) {
      const isChanged = before.get(row.name) !== JSON.stringify(nodeJson(row));
      if (isChanged) printResult(output, flags.output, nodeJson(row), [lines[at] ?? '']);
    }
    const seen = seenOf(rows);
    for (const name of before.keys()) if (!seen.has(name)) printMessage(output, `${name} is gone.`);
    before = seen;
  }
}
