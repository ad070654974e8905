import { NAMESPACE } from '../agent/kube/access.ts';
import { type AgentPod, HIDDEN, listAgents, orAbsent, type Reported, readReports } from './agents.ts';
import { type Context, EXIT } from './context.ts';
import { count } from './known.ts';
import {
  type Color,
  type Column,
  type Format,
  isForPrograms,
  printProblem,
  serialize,
  tableLines,
} from './output.ts';
import {
  type Inside,
  insideOf,
  listClasses,
  listRequirements,
  meansGvisor,
  type RawPod,
  type RuntimeClass,
} from './pod-view.ts';

/** The flags of `pods`. */
export type PodsOptions = {
  readonly output?: Format;
  readonly headers: boolean;
  readonly allNamespaces?: boolean;
};

/** A running pod, what it asks for, and what it runs in. */
export type PodRow = Inside & {
  readonly namespace: string;
  readonly name: string;
  readonly node: string;
  readonly runtimeClass: string;
  /** Whether its namespace requires gVisor, or its class means it. */
  readonly wanted: boolean;
};

/**
 * The running pods of these namespaces, of all when none is named. `told` is what agents said, and `hidden` names what may
 * not be listed.
 */
export async function readPods(
  { api }: Pick<Context, 'api'>,
  namespaces: readonly string[] | undefined,
): Promise<{
  readonly rows: readonly PodRow[];
  readonly told: ReadonlyMap<string, Reported>;
  readonly hidden: readonly string[];
}> {
  const running = { fieldSelector: 'status.phase=Running' };
  const paths = namespaces?.map((name) => `/api/v1/namespaces/${name}/pods`) ?? ['/api/v1/pods'];
  const [lists, classes, requirements, agents] = await Promise.all([
    Promise.all(paths.map((path) => api.list<RawPod, RawPod>(path, running, (pod) => pod))),
    orAbsent(listClasses(api), [403]),
    orAbsent(listRequirements(api), [403]),
    orAbsent(listAgents(api), [403]),
  ]);
  const pods = lists.flatMap(({ items }) => items);
  const nodes = new Set(pods.map(({ spec }) => spec.nodeName));
  const asked = (agents ?? []).filter((agent) => agent.state === 'Running' && nodes.has(agent.node));
  const told = await readReports(api, asked);
  const rows = pods.map((pod) => rowOf(pod, { told, classes, requirements, agents }));
  const hidden = [
    ...(agents === undefined ? [`the pods of ${NAMESPACE}`] : []),
    ...(requirements === undefined ? ['namespaces'] : []),
    ...(classes === undefined ? ['runtime classes'] : []),
  ];
  return { rows, told, hidden };
}

type Known = {
  readonly agents: readonly AgentPod[] | undefined;
  readonly told: ReadonlyMap<string, Reported>;
  readonly classes: ReadonlyMap<string, RuntimeClass> | undefined;
  readonly requirements: ReadonlyMap<string, string> | undefined;
};

function rowOf(pod: RawPod, { told, classes, requirements, agents }: Known): PodRow {
  const { nodeName = '', runtimeClassName = '' } = pod.spec;
  const { namespace, name } = pod.metadata;
  const wanted = requirements?.get(namespace) === 'true' || meansGvisor(classes?.get(runtimeClassName));
  return {
    namespace,
    name,
    node: nodeName,
    runtimeClass: runtimeClassName,
    wanted,
    ...insideOf(pod, agents === undefined ? HIDDEN : told.get(nodeName)),
  };
}

const COLORS: Readonly<Record<string, Color>> = { yes: 'green', open: 'yellow', '?': 'yellow' };

function columnsOf(allNamespaces: boolean): Column<PodRow>[] {
  const color = ({ inGvisor, wanted }: PodRow) =>
    wanted && (inGvisor === 'no' || inGvisor === 'open') ? 'red' : COLORS[inGvisor];
  return [
    ...(allNamespaces ? [{ head: 'NAMESPACE', cell: ({ namespace }: PodRow) => namespace }] : []),
    { head: 'NAME', cell: ({ name }) => name },
    { head: 'IN-GVISOR', cell: ({ inGvisor }) => inGvisor, color },
    { head: 'WANTED', cell: ({ wanted }) => (wanted ? 'yes' : 'no'), spare: 4 },
    { head: 'CLASS', cell: ({ runtimeClass }) => runtimeClass || '-', spare: 3 },
    { head: 'NODE', cell: ({ node }) => node, spare: 1 },
    { head: 'EVIDENCE', cell: ({ evidence }) => evidence, wide: true, cut: true, spare: 2 },
  ];
}

/** `pods`: which running pods are really in gVisor. A problem is one that should be and is not. */
export async function pods(context: Context, options: PodsOptions): Promise<number> {
  const { screen, namespace } = context;
  const { output, headers, allNamespaces = false } = options;
  const { rows, told, hidden } = await readPods(context, allNamespaces ? undefined : [namespace]);
  if (isForPrograms(output)) screen.out(serialize({ pods: rows }, output));
  else if (rows.length === 0)
    printProblem(screen, `No pod runs${allNamespaces ? '' : ` in the namespace ${namespace}`}.`);
  else {
    const lines = tableLines(columnsOf(allNamespaces), rows, { screen, headers, wide: output === 'wide' });
    screen.out(`${lines.join('\n')}\n`);
  }
  const dark = rows.filter(({ inGvisor }) => inGvisor === '?');
  const wrong = rows.filter(({ inGvisor, wanted }) => inGvisor === 'no' && wanted);
  const open = rows.filter(({ inGvisor, wanted }) => inGvisor === 'open' && wanted);
  if (hidden.length > 0)
    printProblem(screen, `You may not list ${hidden.join(', ')}, so this is not all that there is to say.`);
  if (dark.length > 0) printProblem(screen, darkNote(dark, told));
  if (wrong.length > 0)
    printProblem(
      screen,
      `${count(wrong.length, 'pod')} should run in gVisor and ${wrong.length === 1 ? 'does' : 'do'} not: see kubectl gvisor-ready why POD.`,
    );
  if (open.length > 0)
    printProblem(
      screen,
      `${count(open.length, 'pod')} should be shut in gVisor and ${open.length === 1 ? 'has' : 'have'} a way out: see kubectl gvisor-ready why POD.`,
    );
  if (wrong.length + open.length > 0) return EXIT.problem;
  return hidden.length > 0 || dark.some(({ wanted }) => wanted) ? EXIT.blind : EXIT.fine;
}

function darkNote(dark: readonly PodRow[], told: ReadonlyMap<string, Reported>): string {
  const forbidden = [...told.values()].find((one) => 'why' in one && one.forbidden);
  if (forbidden !== undefined && 'why' in forbidden)
    return `Nothing tells what pods run in: ${forbidden.why}.`;
  const reasons = [...new Set(dark.map(({ evidence }) => evidence))].slice(0, 3).join('; ');
  return `It is not known what ${count(dark.length, 'pod')} ${dark.length === 1 ? 'runs' : 'run'} in: ${reasons}.`;
}
