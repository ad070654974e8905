import type { V1Pod } from '@kubernetes/client-node';
import { type Column, type Style, tableLines } from '../../lib/report/table.ts';
import { optional } from '../api/api.ts';
import { type Context, EXIT } from '../api/context.ts';
import {
  type GvisorState,
  hiddenReport,
  listAgents,
  type ReportResult,
  readReports,
  sandboxOf,
} from '../cluster/agent-reports.ts';
import { listClasses, listRequirements, meansGvisor } from '../cluster/requirements.ts';
import { countOf, type Format, isForPrograms, printMessage, printResult } from '../text/output.ts';

export type PodsFlags = {
  readonly output?: Format;
  readonly headers: boolean;
  readonly allNamespaces?: boolean;
  readonly selector?: string;
};

type PodRow = GvisorState & {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly node: string;
  readonly runtimeClass: string;
  /** Whether its namespace or its RuntimeClass requires gVisor. */
  readonly wanted: boolean;
};

/** `reports` are those of the pods' nodes, and `hidden` names what the user may not list. */
async function listPods({ api, namespace }: Context, allNamespaces: boolean, labelSelector?: string) {
  const path = allNamespaces ? '/api/v1/pods' : `/api/v1/namespaces/${namespace}/pods`;
  const [pods, classes, requirements, agents] = await Promise.all([
    api.list<V1Pod>(path, { labelSelector, fieldSelector: 'status.phase=Running' }),
    optional(listClasses(api), [403]),
    optional(listRequirements(api), [403]),
    optional(listAgents(api), [403]),
  ]);
  const nodes = new Set(pods.map(({ spec }) => spec?.nodeName));
  const reports = await readReports(
    api,
    (agents ?? []).filter((agent) => agent.state === 'Running' && nodes.has(agent.node)),
  );
  const rows = pods.map((pod): PodRow => {
    const { nodeName = '', runtimeClassName = '' } = pod.spec ?? {};
    const { namespace, name, uid } = pod.metadata;
    return {
      namespace,
      name,
      uid,
      node: nodeName,
      runtimeClass: runtimeClassName,
      wanted: requirements?.get(namespace) === 'true' || meansGvisor(classes?.get(runtimeClassName)),
      ...sandboxOf(pod, agents === undefined ? hiddenReport(api) : reports.get(nodeName)),
    };
  });
  const hidden: readonly { readonly resource: string; readonly namespace?: string }[] = [
    ...(agents === undefined ? [{ resource: 'pods', namespace: api.installedIn }] : []),
    ...(requirements === undefined ? [{ resource: 'namespaces' }] : []),
    ...(classes === undefined ? [{ resource: 'runtimeclasses' }] : []),
  ];
  return { rows, reports, hidden };
}

function countPods(rows: readonly PodRow[]) {
  const wanted = rows.filter((row) => row.wanted);
  const numberOf = (state: GvisorState['inGvisor']) =>
    wanted.filter(({ inGvisor }) => inGvisor === state).length;
  return {
    running: rows.length,
    wanted: wanted.length,
    inside: numberOf('yes'),
    open: numberOf('open'),
    outside: numberOf('no'),
    unknown: numberOf('?'),
  };
}

const COLORS: Readonly<Record<string, Style>> = { yes: 'green', open: 'yellow', '?': 'yellow' };

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
    { head: 'EVIDENCE', cell: ({ evidence }) => evidence, wide: true, prose: true, spare: 2 },
  ];
}

/** `pods`: exits with a problem if a pod should be in gVisor and is not. */
export async function pods(context: Context, options: PodsFlags): Promise<number> {
  const { output, namespace } = context;
  const { output: format, headers, allNamespaces = false, selector } = options;
  const { rows, reports, hidden } = await listPods(context, allNamespaces, selector);
  const counts = countPods(rows);
  if (rows.length === 0 && !isForPrograms(format))
    printMessage(
      output,
      `No pod${selector === undefined ? '' : ' with those labels'} runs${allNamespaces ? '' : ` in the namespace ${namespace}`}.`,
    );
  else {
    // The evidence of programs is its code.
    const pods = rows.map(({ evidence: _, inGvisor, ...row }) => {
      return { ...row, inGvisor: inGvisor === '?' ? 'unknown' : inGvisor };
    });
    const json = { counts, hidden, pods };
    const options = { screen: output, headers, wide: format === 'wide' };
    printResult(output, format, json, tableLines(columnsOf(allNamespaces), rows, options));
  }
  const see = 'see kubectl gvisor-ready why POD.';
  if (hidden.length > 0) {
    const names = hidden.map(({ resource, namespace }) =>
      namespace === undefined ? resource : `${resource} of ${namespace}`,
    );
    printMessage(output, `You may not list ${names.join(', ')}, so this is incomplete.`);
  }
  const unknown = rows.filter(({ inGvisor }) => inGvisor === '?');
  if (unknown.length > 0) printMessage(output, unknownNote(unknown, reports));
  const { outside, open } = counts;
  const does = outside === 1 ? 'does' : 'do';
  const has = open === 1 ? 'has' : 'have';
  if (outside > 0)
    printMessage(output, `${countOf(outside, 'pod')} should run in gVisor and ${does} not: ${see}`);
  if (open > 0)
    printMessage(output, `${countOf(open, 'pod')} in gVisor ${has} a way out to the host: ${see}`);
  if (outside + open > 0) return EXIT.problem;
  return hidden.length + counts.unknown > 0 ? EXIT.incomplete : EXIT.ok;
}

function unknownNote(unknown: readonly PodRow[], reports: ReadonlyMap<string, ReportResult>): string {
  const forbidden = [...reports.values()].find((result) => result.forbidden);
  const problems =
    forbidden?.problem ?? [...new Set(unknown.map(({ evidence }) => evidence))].slice(0, 3).join('; ');
  return `What ${countOf(unknown.length, 'pod')} ${unknown.length === 1 ? 'runs' : 'run'} in is unknown: ${problems}.`;
}
