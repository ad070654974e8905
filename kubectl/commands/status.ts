import { DAEMON_SET } from '../../agent/kube/access.ts';
import type { SandboxesReport } from '../../agent/sandboxes/problem.ts';
import type { Tone } from '../../agent/text/format.ts';
import { type Column, markedLines, tableLines } from '../../agent/text/table.ts';
import { rolloutOf } from '../../fleet/rollout.ts';
import { type ReportResult, readDaemonSet, readReports } from '../agent-reports.ts';
import { type Api, optional } from '../api.ts';
import { type Context, EXIT } from '../context.ts';
import { type NodeState, stateOf } from '../node-summary.ts';
import { countOf, type Format, isForPrograms, nameList, printLines, proseOf, serialize } from '../output.ts';
import { listRequirements } from '../requirements.ts';
import { sandboxesIn } from '../sandboxes.ts';
import { listRows, type NodeRow } from './nodes.ts';

type StatusLine = { readonly tone: Tone; readonly about: string; readonly text: string };

/** Nodes that are not proven, for one reason. */
type NodeGroup = { readonly reason: string; readonly nodes: readonly string[] };

/** `status`: the fleet at a glance. */
export async function status(context: Context, format: Format | undefined): Promise<number> {
  const { api, output } = context;
  const [{ rows, reports }, daemonSet, requirements] = await Promise.all([
    listRows(context).then(async ({ rows }) => ({ rows, reports: await readReadyAgents(api, rows) })),
    optional(
      readDaemonSet(api).then((found) => found ?? ('absent' as const)),
      [403],
    ),
    optional(listRequirements(api), [403]),
  ]);
  const sandboxes = sandboxesOf(reports);
  const lines = [
    aboutNodes(rows),
    aboutAgents(rows, daemonSet, api.installedIn),
    aboutReleases(rows),
    ...aboutInstaller(reports),
    aboutNamespaces(requirements),
    ...aboutSandboxes(sandboxes),
  ];
  const groups = groupsOf(rows);
  const tones = lines.map(({ tone }) => tone);
  const code = tones.includes('fail') ? EXIT.problem : tones.includes('unknown') ? EXIT.incomplete : EXIT.ok;
  if (isForPrograms(format)) {
    const problems = sandboxes.filter(hasProblem);
    output.out(
      serialize({ context: api.access.context, lines, notProven: groups, sandboxes: problems }, format),
    );
    return code;
  }
  printLines(output, [
    ...lines.flatMap(({ tone, about, text }) =>
      markedLines(tone, text, { ...proseOf(output), label: about.padEnd(12) }),
    ),
    ...groupLines(groups, context),
  ]);
  return code;
}

const GROUP_COLUMNS: readonly Column<NodeGroup>[] = [
  { head: 'NOT PROVEN', cell: ({ reason }) => reason },
  { head: 'NODES', cell: ({ nodes }) => String(nodes.length) },
  { head: 'WHICH', cell: ({ nodes }) => nameList(nodes), prose: true },
];

function groupLines(groups: readonly NodeGroup[], { output }: Context): string[] {
  const [first] = groups;
  if (first === undefined) return [];
  const table = tableLines(GROUP_COLUMNS, groups, { screen: output });
  return ['', ...table, '', `See why: kubectl gvisor-ready why ${first.nodes[0]}`];
}

/** Whether a node is labelled ready and has no Ready agent. */
function isOrphan({ ready, agent }: NodeRow): boolean {
  return ready === 'true' && agent !== '?' && agent?.ready !== true;
}

function aboutNodes(rows: readonly NodeRow[]): StatusLine {
  const numberOf = (state: NodeState) => rows.filter((row) => stateOf(row) === state).length;
  const proven = numberOf('proven');
  const others = (['not ready', 'unknown', 'not judged'] as const).flatMap((state) =>
    numberOf(state) === 0 ? [] : [`${numberOf(state)} ${state}`],
  );
  const inGrace = rows.filter((row) => stateOf(row) === 'proven' && row.status !== 'True').length;
  const grace = inGrace === 0 ? '' : ` (${inGrace} in a grace period)`;
  return {
    tone: proven === 0 || numberOf('not ready') + numberOf('unknown') > 0 ? 'fail' : 'pass',
    about: 'Nodes',
    text: [`${proven} of ${rows.length} proven${grace}`, ...others].join(', '),
  };
}

function aboutAgents(
  rows: readonly NodeRow[],
  daemonSet: Awaited<ReturnType<typeof readDaemonSet>> | 'absent',
  namespace: string,
): StatusLine {
  const about = 'Agents';
  const name = `DaemonSet ${namespace}/${DAEMON_SET}`;
  if (daemonSet === undefined) return { tone: 'unknown', about, text: `you may not read the ${name}` };
  if (daemonSet === 'absent')
    return { tone: 'fail', about, text: `there is no ${name}: no node is being proven` };
  const { desiredNumberScheduled: desired = 0, numberReady = 0 } = daemonSet.status ?? {};
  const orphans = rows.filter(isOrphan).map((row) => row.name);
  const versions = [...new Set(rows.map(({ provenBy }) => provenBy).filter(Boolean))];
  const text = [
    `${numberReady} of ${desired} Ready`,
    ...(versions.length === 0 ? [] : [`version ${versions.join(', ')}`]),
    ...(orphans.length === 0 ? [] : [`labelled ready without a Ready agent: ${nameList(orphans)}`]),
  ].join(', ');
  const ok = numberReady >= desired && desired > 0 && orphans.length === 0;
  return { tone: ok ? 'pass' : 'fail', about, text };
}

function aboutReleases(rows: readonly NodeRow[]): StatusLine {
  const releases = [...new Set(rows.map(({ runsc }) => runsc).filter(Boolean))].sort();
  const nodesWith = (release: string) =>
    countOf(rows.filter(({ runsc }) => runsc === release).length, 'node');
  const text = releases.map((release) => `${release} on ${nodesWith(release)}`).join(', ');
  return {
    tone: releases.length === 1 ? 'pass' : 'warning',
    about: 'gVisor',
    text: text || 'release unknown',
  };
}

function aboutNamespaces(requirements: ReadonlyMap<string, string> | undefined): StatusLine {
  const about = 'Namespaces';
  if (requirements === undefined) return { tone: 'warning', about, text: 'you may not list namespaces' };
  const labelled = (value: string) =>
    nameList([...requirements].flatMap(([name, each]) => (each === value ? [name] : []))) || 'none';
  return {
    tone: 'pass',
    about,
    text: `require gVisor: ${labelled('true')}; audit: ${labelled('audit')}`,
  };
}

/** The sandboxes on a node according to its Ready agent; a string is why they are unknown. */
type NodeSandboxes = { readonly node: string; readonly sandboxes: SandboxesReport | string };

type Reports = ReadonlyMap<string, ReportResult>;

function readReadyAgents(api: Api, rows: readonly NodeRow[]): Promise<Reports> {
  return readReports(
    api,
    rows.flatMap(({ agent }) => (agent !== '?' && agent?.ready ? [agent] : [])),
  );
}

/** One line where the installer was used. */
function aboutInstaller(reports: Reports): StatusLine[] {
  const rollout = rolloutOf(
    [...reports].flatMap(([node, result]) =>
      'report' in result && result.report.installation ? [[node, result.report.installation] as const] : [],
    ),
  );
  if (rollout === undefined) return [];
  const { underWay, interrupted, failed, text } = rollout;
  const isOver = underWay.length + interrupted.length + Object.keys(failed).length === 0;
  return [{ tone: isOver ? 'pass' : 'warning', about: 'Installer', text }];
}

function sandboxesOf(reports: Reports): readonly NodeSandboxes[] {
  // An agent that has just started has not scanned them yet.
  const scanned = [...reports].filter(([, result]) => 'problem' in result || result.report.sandboxes);
  return scanned.map(([node, result]) => ({ node, sandboxes: sandboxesIn(result) }));
}

function hasProblem({ sandboxes }: NodeSandboxes): boolean {
  return typeof sandboxes !== 'string' && sandboxes.total > 0;
}

/** One line where a node has problems, or where they are unknown. */
function aboutSandboxes(all: readonly NodeSandboxes[]): StatusLine[] {
  const names = (some: readonly NodeSandboxes[]) => nameList(some.map(({ node }) => node));
  const hanging = all.filter(hasProblem);
  const unsafe = hanging.filter(
    ({ sandboxes }) => typeof sandboxes !== 'string' && sandboxes.restart.state === 'unsafe',
  );
  const unknown = all.filter(({ sandboxes }) => typeof sandboxes === 'string');
  const [first] = unknown;
  const text = [
    ...(hanging.length === 0 ? [] : [`problems on ${names(hanging)}: see kubectl gvisor-ready why NODE`]),
    ...(unsafe.length === 0 ? [] : [`do not restart containerd on ${names(unsafe)}`]),
    ...(first === undefined ? [] : [`unknown on ${names(unknown)}: ${first.sandboxes}`]),
  ].join('; ');
  return text === '' ? [] : [{ tone: 'warning', about: 'Sandboxes', text }];
}

/** Groups the nodes that are not proven by reason, leaving out those without an agent's verdict. */
function groupsOf(rows: readonly NodeRow[]): NodeGroup[] {
  const groups = new Map<string, string[]>();
  for (const row of rows) {
    const orphan = isOrphan(row);
    const state = stateOf(row);
    if (state === 'not judged' || (state === 'proven' && !orphan)) continue;
    const reason = orphan ? 'label without agent' : row.reason || state;
    groups.set(reason, [...(groups.get(reason) ?? []), row.name]);
  }
  return [...groups]
    .map(([reason, nodes]) => ({ reason, nodes }))
    .sort((a, b) => b.nodes.length - a.nodes.length);
}
