import { NAMESPACE } from '../agent/kube/access.ts';
import { type AgentPod, listAgents, orAbsent } from './agents.ts';
import { type Context, EXIT } from './context.ts';
import { listNodes, type NodeView } from './node-view.ts';
import {
  ageOf,
  type Color,
  type Column,
  type Format,
  isForPrograms,
  printProblem,
  serialize,
  tableLines,
} from './output.ts';

/** The flags of `nodes`. */
export type NodesOptions = { readonly output?: Format; readonly headers: boolean; readonly watch?: boolean };

/** A node with its agent: undefined for none, "?" where nobody may look. */
export type NodeRow = NodeView & { readonly agent: AgentPod | '?' | undefined };

/** Every node with its agent's pod, and a word about what could not be seen. */
export async function readNodeRows({
  api,
}: Pick<Context, 'api'>): Promise<{ rows: NodeRow[]; note: string }> {
  const [nodes, agents] = await Promise.all([listNodes(api), orAbsent(listAgents(api), [403])]);
  const byNode = new Map(agents?.map((agent) => [agent.node, agent]));
  const rows = nodes.map((node) => ({
    ...node,
    agent: agents === undefined ? ('?' as const) : byNode.get(node.name),
  }));
  return {
    rows,
    note:
      agents === undefined ? `You may not list the pods of ${NAMESPACE}, so the agents are not shown.` : '',
  };
}

/** What the column AGENT says. */
export function agentState({ agent }: NodeRow): string {
  if (agent === undefined) return '-';
  if (agent === '?') return '?';
  return agent.ready ? 'Ready' : agent.state === 'Running' ? 'NotReady' : agent.state;
}

// A map: a label may have any word, "constructor" as well.
const COLORS: ReadonlyMap<string, Color> = new Map([
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
    { head: 'MESSAGE', cell: ({ message }) => dash(message), wide: true, cut: true, spare: 1 },
  ];
}

/** What `-o json` prints for a node. */
export function publicNode(row: NodeRow) {
  const { labels: _, taints: __, agent, ...view } = row;
  return {
    ...view,
    agent: agent === undefined || agent === '?' ? null : { pod: agent.name, state: agentState(row) },
  };
}

/** `nodes`: every node, what it says of gVisor, and whether its agent lives. */
export async function nodes(context: Context, options: NodesOptions): Promise<number> {
  const { screen, now } = context;
  const { rows, note } = await readNodeRows(context);
  const { output, headers } = options;
  if (isForPrograms(output)) screen.out(serialize({ nodes: rows.map(publicNode) }, output));
  else if (rows.length === 0) printProblem(screen, 'There are no nodes.');
  else {
    const lines = tableLines(nodeColumns(now()), rows, { screen, headers, wide: output === 'wide' });
    screen.out(`${lines.join('\n')}\n`);
  }
  if (note !== '') printProblem(screen, note);
  return EXIT.fine;
}
