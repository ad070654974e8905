import timers from 'node:timers/promises';
import { KubeError } from '../agent/kube/error.ts';
import { listAgents, orAbsent } from './agents.ts';
import type { WatchEvent } from './api.ts';
import { type Context, EXIT } from './context.ts';
import { type RawNode, viewNode } from './node-view.ts';
import { agentState, type NodeRow, type NodesOptions, nodeColumns, publicNode } from './nodes.ts';
import { isForPrograms, serialize, tableLines } from './output.ts';

const AGAIN_MS = 1_000;

/**
 * `nodes -w`: the nodes, then each again whenever what is shown of it has changed, until the signal. A watch that ends
 * is begun again with a new list.
 */
export async function watchNodes(context: Context, options: NodesOptions): Promise<number> {
  try {
    await watchOn(context, options);
  } catch (error) {
    if (!context.signal.aborted) throw error;
  }
  return EXIT.fine;
}

async function watchOn(context: Context, options: NodesOptions): Promise<void> {
  const { api, signal } = context;
  const shown = new Map<string, NodeRow>();
  const show = rowPrinter(context, options);
  while (!signal.aborted) {
    const agents = await orAbsent(listAgents(api), [403]);
    const rowOf = (raw: RawNode): NodeRow => {
      const node = viewNode(raw);
      return {
        ...node,
        agent: agents === undefined ? '?' : agents.find((agent) => agent.node === node.name),
      };
    };
    const { items, resourceVersion } = await api.list<RawNode, NodeRow>('/api/v1/nodes', {}, rowOf);
    const gone = [...shown.values()].filter(({ name }) => !items.some((row) => row.name === name));
    show([...items.filter((row) => isNews(shown, row)), ...gone.map(deleted)]);
    for (const { name } of gone) shown.delete(name);
    for (const row of items) shown.set(row.name, row);
    for await (const { type, object } of changesOf(context, resourceVersion)) {
      const row = rowOf(object);
      if (type === 'DELETED') {
        shown.delete(row.name);
        show([deleted(row)]);
      } else if (isNews(shown, row)) {
        shown.set(row.name, row);
        show([row]);
      }
    }
    await timers.setTimeout(AGAIN_MS, undefined, { signal });
  }
}

/** Prints rows below those that were printed before, aligned with the first of them. */
function rowPrinter({ screen, now }: Context, { output, headers }: NodesOptions) {
  let first: readonly NodeRow[] | undefined;
  return (rows: readonly NodeRow[]): void => {
    if (rows.length === 0) return;
    if (isForPrograms(output)) {
      for (const row of rows) screen.out(serialize(publicNode(row), output));
      return;
    }
    const wide = output === 'wide';
    const lines = tableLines(nodeColumns(now()), rows, { screen, headers, wide, before: first ?? [] });
    if (headers && first !== undefined) lines.shift();
    first ??= rows;
    screen.out(`${lines.join('\n')}\n`);
  };
}

/** The changes since a version, until the watch ends or is too old, which a new list mends. */
async function* changesOf({ api, signal }: Context, version: string): AsyncIterable<WatchEvent<RawNode>> {
  const query = new URLSearchParams({ watch: '1', resourceVersion: version, allowWatchBookmarks: 'true' });
  try {
    for await (const event of api.watch<RawNode>(`/api/v1/nodes?${query}`, signal)) {
      if (event.type === 'ERROR') return;
      if (event.type !== 'BOOKMARK') yield event;
    }
  } catch (error) {
    // What the API server refuses stays refused; the next list says whether it is away.
    if (error instanceof KubeError && error.status !== 410 && !signal.aborted) throw error;
  }
}

function deleted(row: NodeRow): NodeRow {
  return { ...row, ready: '', status: '', reason: 'Deleted', since: '', agent: undefined };
}

/** Whether something that is shown has changed. */
function isNews(shown: ReadonlyMap<string, NodeRow>, row: NodeRow): boolean {
  const old = shown.get(row.name);
  const said = (each: NodeRow) =>
    [each.ready, each.status, each.reason, each.message, each.runsc, each.platform, agentState(each)].join(
      '\n',
    );
  return old === undefined || said(old) !== said(row);
}
