import timers from 'node:timers/promises';
import type { V1Node } from '@kubernetes/client-node';
import { GROUPS } from '../../lib/fleet/view.ts';
import { KubeError } from '../../lib/kube/error.ts';
import { type Column, type Style, tableLines } from '../../lib/report/table.ts';
import { type AgentSummary, listAgents } from '../agent-reports.ts';
import { optional } from '../api.ts';
import { type Context, EXIT } from '../context.ts';
import { readView } from '../fleet-controller.ts';
import { kubeletState, type NodeSummary, summarizeNode } from '../node-summary.ts';
import {
  ageOf,
  type Format,
  isForPrograms,
  printLines,
  printMessage,
  printResult,
  serialize,
} from '../output.ts';

export type NodesFlags = {
  readonly output?: Format;
  readonly headers: boolean;
  readonly watch?: boolean;
  readonly selector?: string;
};

/** A node with its agent: undefined for none, "?" when the user may not list agents. */
export type NodeRow = NodeSummary & { readonly agent: AgentSummary | '?' | undefined };

/** Lists the nodes that a label selector matches with their agents. `rowOf` adds the agent to one that comes later. */
export async function listRows({ api }: Pick<Context, 'api'>, selector?: string) {
  const [{ items, resourceVersion }, agents] = await Promise.all([
    api.list<V1Node, NodeSummary>('/api/v1/nodes', { labelSelector: selector }, summarizeNode),
    optional(listAgents(api), [403]),
  ]);
  const byNode = new Map(agents?.map((agent) => [agent.node, agent]));
  const rowOf = (node: NodeSummary): NodeRow => ({
    ...node,
    agent: agents === undefined ? '?' : byNode.get(node.name),
  });
  return { rows: items.map(rowOf), rowOf, agentsHidden: agents === undefined, resourceVersion };
}

/** The state of a node's agent, for the column AGENT. */
export function agentState({ agent }: Pick<NodeRow, 'agent'>): string {
  if (agent === undefined) return '-';
  if (agent === '?') return '?';
  return agent.ready ? 'Ready' : agent.state === 'Running' ? 'NotReady' : agent.state;
}

// A map, because a label may have any value, such as "constructor".
const COLORS: ReadonlyMap<string, Style> = new Map([
  ['true', 'green'],
  ['false', 'red'],
  ['True', 'green'],
  ['False', 'red'],
  ['Unknown', 'yellow'],
]);
const ANSWERS: Readonly<Record<string, string>> = { true: 'yes', false: 'no' };
const dash = (text: string) => text || '-';
/** A node where gVisor is not expected has no fault to show. */
const colorOf = ({ expected }: NodeRow, state: string) =>
  expected === false ? undefined : COLORS.get(state);

/** The labels of additional handlers: "runsc-kvm", or "runsc-kvm=false" where it is not proven. */
function handlersText({ handlers }: NodeRow): string {
  return dash([...handlers].map(([name, ready]) => (ready === 'true' ? name : `${name}=${ready}`)).join(','));
}

/** The columns of `nodes`; that of additional handlers where one of these rows has any. */
export function nodeColumns(nowMs: number, rows: readonly NodeRow[] = []): Column<NodeRow>[] {
  const additional: Column<NodeRow> = { head: 'HANDLERS', cell: handlersText, wide: true, spare: 2 };
  return [
    { head: 'NAME', cell: ({ name }) => name },
    {
      head: 'STATUS',
      cell: kubeletState,
      color: (row) => (kubeletState(row) === 'Ready' ? undefined : 'yellow'),
    },
    { head: 'EXPECTED', cell: ({ expected }) => ANSWERS[String(expected)] ?? '-', spare: 4 },
    { head: 'READY', cell: ({ ready }) => dash(ready), color: (row) => colorOf(row, row.ready) },
    { head: 'REASON', cell: ({ reason }) => dash(reason), color: (row) => colorOf(row, row.status) },
    { head: 'SINCE', cell: ({ since }) => dash(ageOf(since, nowMs)), spare: 3 },
    {
      head: 'AGENT',
      cell: agentState,
      color: (row) => (agentState(row) === 'Ready' ? undefined : 'yellow'),
      spare: 2,
    },
    { head: 'RUNSC', cell: ({ runsc }) => dash(runsc), spare: 4 },
    { head: 'PLATFORM', cell: ({ platform }) => dash(platform), wide: true, spare: 5 },
    ...(rows.some(({ handlers }) => handlers.size > 0) ? [additional] : []),
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

/** A node in -o json, without `agent` where the user may not list agents; null stands for a value that is not set. */
export function nodeJson(row: NodeRow) {
  const { name, ready, handlers, expected, status, reason, since, agent } = row;
  const { alive: kubeletReady, cordoned, kubelet, runtime, os, architecture } = row;
  const agentJson = agent &&
    agent !== '?' && { pod: agent.name, state: agentState(row), version: agent.version };
  return {
    name,
    expected: expected ?? null,
    ready: ready || null,
    handlers: Object.fromEntries(handlers),
    condition: status === '' ? null : { status, reason, since },
    runsc: row.runsc || null,
    platform: row.platform || null,
    provenBy: row.provenBy || null,
    ...{ kubeletReady, cordoned, kubelet, runtime, os, architecture },
    ...(agent === '?' ? {} : { agent: agent ? agentJson : null }),
  };
}

/** `nodes`: every node, what it says about gVisor, and the state of its agent. */
export async function nodes(
  context: Context,
  { output: format, headers, selector }: NodesFlags,
): Promise<number> {
  const { output, now } = context;
  const [{ rows, agentsHidden }, view] = await Promise.all([
    listRows(context, selector),
    readView(context.api, 'alarms').catch(() => undefined),
  ]);
  const { alarms = [] } = typeof view === 'object' ? view : {};
  for (const { reason, message } of alarms)
    if (reason === GROUPS.refuted) printMessage(output, `${reason}: ${message}`);
  if (rows.length === 0 && !isForPrograms(format))
    printMessage(output, selector === undefined ? 'There are no nodes.' : 'No node has those labels.');
  else {
    const options = { screen: output, headers, wide: format === 'wide' };
    const lines = tableLines(nodeColumns(now(), rows), rows, options);
    printResult(output, format, { nodes: rows.map(nodeJson) }, lines);
  }
  const hidden = `You may not list the pods of ${context.api.installedIn}, so the agents are not shown.`;
  if (agentsHidden) printMessage(output, hidden);
  return EXIT.ok;
}

const RESTART_MS = 1_000;

/** `nodes -w`: prints every node, then each one whose row changes, until the signal aborts. */
export async function watchNodes(context: Context, options: NodesFlags): Promise<number> {
  const print = rowPrinter(context, options);
  const shown = new Map<string, NodeRow>();
  try {
    // A watch that ends is restarted with a new list.
    for (;;) {
      await followNodes(context, shown, { print, ...options });
      await timers.setTimeout(RESTART_MS, undefined, { signal: context.signal });
    }
  } catch (error) {
    if (!context.signal.aborted) throw error;
  }
  return EXIT.ok;
}

async function followNodes(
  context: Context,
  shown: Map<string, NodeRow>,
  { print, selector }: Pick<NodesFlags, 'selector'> & { readonly print: (rows: readonly NodeRow[]) => void },
): Promise<void> {
  const { rows, rowOf, resourceVersion } = await listRows(context, selector);
  const gone = [...shown.values()].filter(({ name }) => !rows.some((row) => row.name === name));
  print([...rows.filter((row) => hasChanged(shown, row)), ...gone.map(deleted)]);
  for (const { name } of gone) shown.delete(name);
  for (const row of rows) shown.set(row.name, row);
  for await (const { type, object } of changesSince(context, resourceVersion, selector)) {
    const row = rowOf(summarizeNode(object));
    if (type === 'DELETED') {
      shown.delete(row.name);
      print([deleted(row)]);
    } else if (hasChanged(shown, row)) {
      shown.set(row.name, row);
      print([row]);
    }
  }
}

/** Returns a function that prints rows aligned with the first ones. */
function rowPrinter({ output, now }: Context, { output: format, headers }: NodesFlags) {
  let first: readonly NodeRow[] | undefined;
  return (rows: readonly NodeRow[]): void => {
    if (rows.length === 0) return;
    if (isForPrograms(format)) {
      for (const row of rows) output.out(serialize(nodeJson(row), format));
      return;
    }
    const table = { screen: output, headers, wide: format === 'wide', before: first ?? [] };
    const lines = tableLines(nodeColumns(now(), first ?? rows), rows, table);
    printLines(output, headers && first !== undefined ? lines.slice(1) : lines);
    first ??= rows;
  };
}

/** Yields the changes since a version until the watch ends or the version has expired. */
async function* changesSince({ api, signal }: Context, version: string, selector: string | undefined) {
  const query = new URLSearchParams({
    ...(selector && { labelSelector: selector }),
    watch: '1',
    resourceVersion: version,
    allowWatchBookmarks: 'true',
  });
  try {
    for await (const event of api.watch<V1Node>(`/api/v1/nodes?${query}`)) {
      if (event.type === 'ERROR') return;
      if (event.type !== 'BOOKMARK') yield event;
    }
  } catch (error) {
    // A refusal is final; after a broken connection the next list decides.
    if (error instanceof KubeError && error.status !== 410 && !signal.aborted) throw error;
  }
}

function deleted(row: NodeRow): NodeRow {
  const nothing = { ready: '', handlers: new Map(), status: '', since: '', agent: undefined };
  return { ...row, ...nothing, reason: 'Deleted' };
}

/** Whether the row differs from the one shown before. */
function hasChanged(shown: ReadonlyMap<string, NodeRow>, row: NodeRow): boolean {
  const old = shown.get(row.name);
  const textOf = (each: NodeRow) => JSON.stringify([nodeJson(each), each.message]);
  return old === undefined || textOf(old) !== textOf(row);
}
