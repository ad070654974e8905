import timers from 'node:timers/promises';
import type { V1Node } from '@kubernetes/client-node';
import { KubeError } from '../../agent/kube/error.ts';
import { type Column, type Style, tableLines } from '../../agent/text/table.ts';
import { type AgentSummary, listAgents } from '../agent-reports.ts';
import { optional } from '../api.ts';
import { type Context, EXIT } from '../context.ts';
import { type NodeSummary, summarizeNode } from '../node-summary.ts';
import { ageOf, type Format, isForPrograms, printLines, printMessage, serialize } from '../output.ts';

/** The flags of `nodes`. */
export type NodesFlags = { readonly output?: Format; readonly headers: boolean; readonly watch?: boolean };

/** A node with its agent: undefined for none, "?" when the user may not list agents. */
export type NodeRow = NodeSummary & { readonly agent: AgentSummary | '?' | undefined };

/** Lists every node with its agent. `rowOf` adds the agent to one that comes later. */
export async function listRows({ api }: Pick<Context, 'api'>) {
  const [{ items, resourceVersion }, agents] = await Promise.all([
    api.list<V1Node, NodeSummary>('/api/v1/nodes', {}, summarizeNode),
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
export function agentState({ agent }: NodeRow): string {
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
const dash = (text: string) => text || '-';

/** The columns of `nodes`. */
export function nodeColumns(nowMs: number): Column<NodeRow>[] {
  return [
    { head: 'NAME', cell: ({ name }) => name },
    { head: 'READY', cell: ({ ready }) => dash(ready), color: ({ ready }) => COLORS.get(ready) },
    { head: 'REASON', cell: ({ reason }) => dash(reason), color: ({ status }) => COLORS.get(status) },
    { head: 'SINCE', cell: ({ since }) => dash(ageOf(since, nowMs)), spare: 3 },
    {
      head: 'AGENT',
      cell: agentState,
      color: (row) => (agentState(row) === 'Ready' ? undefined : 'yellow'),
      spare: 2,
    },
    { head: 'RUNSC', cell: ({ runsc }) => dash(runsc), spare: 4 },
    { head: 'PLATFORM', cell: ({ platform }) => dash(platform), wide: true, spare: 5 },
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

/** A node in -o json. */
function jsonOf(row: NodeRow) {
  const { labels: _, taints: __, agent, ...node } = row;
  return {
    ...node,
    agent: agent === undefined || agent === '?' ? null : { pod: agent.name, state: agentState(row) },
  };
}

/** `nodes`: every node, what it says about gVisor, and the state of its agent. */
export async function nodes(context: Context, { output: format, headers }: NodesFlags): Promise<number> {
  const { output, now } = context;
  const { rows, agentsHidden } = await listRows(context);
  if (isForPrograms(format)) output.out(serialize({ nodes: rows.map(jsonOf) }, format));
  else if (rows.length === 0) printMessage(output, 'There are no nodes.');
  else {
    const options = { screen: output, headers, wide: format === 'wide' };
    printLines(output, tableLines(nodeColumns(now()), rows, options));
  }
  if (agentsHidden)
    printMessage(
      output,
      `You may not list the pods of ${context.api.installedIn}, so the agents are not shown.`,
    );
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
      await followNodes(context, shown, print);
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
  print: (rows: readonly NodeRow[]) => void,
): Promise<void> {
  const { rows, rowOf, resourceVersion } = await listRows(context);
  const gone = [...shown.values()].filter(({ name }) => !rows.some((row) => row.name === name));
  print([...rows.filter((row) => hasChanged(shown, row)), ...gone.map(deleted)]);
  for (const { name } of gone) shown.delete(name);
  for (const row of rows) shown.set(row.name, row);
  for await (const { type, object } of changesSince(context, resourceVersion)) {
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
      for (const row of rows) output.out(serialize(jsonOf(row), format));
      return;
    }
    const wide = format === 'wide';
    const lines = tableLines(nodeColumns(now()), rows, {
      screen: output,
      headers,
      wide,
      before: first ?? [],
    });
    printLines(output, headers && first !== undefined ? lines.slice(1) : lines);
    first ??= rows;
  };
}

/** Yields the changes since a version until the watch ends or the version has expired. */
async function* changesSince({ api, signal }: Context, version: string) {
  const query = new URLSearchParams({ watch: '1', resourceVersion: version, allowWatchBookmarks: 'true' });
  try {
    for await (const event of api.watch<V1Node>(`/api/v1/nodes?${query}`, signal)) {
      if (event.type === 'ERROR') return;
      if (event.type !== 'BOOKMARK') yield event;
    }
  } catch (error) {
    // A refusal is final; after a broken connection the next list decides.
    if (error instanceof KubeError && error.status !== 410 && !signal.aborted) throw error;
  }
}

function deleted(row: NodeRow): NodeRow {
  return { ...row, ready: '', status: '', reason: 'Deleted', since: '', agent: undefined };
}

/** Whether the row differs from the one shown before. */
function hasChanged(shown: ReadonlyMap<string, NodeRow>, row: NodeRow): boolean {
  const old = shown.get(row.name);
  const textOf = (each: NodeRow) =>
    [each.ready, each.status, each.reason, each.message, each.runsc, each.platform, agentState(each)].join(
      '\n',
    );
  return old === undefined || textOf(old) !== textOf(row);
}
