import { DAEMON_SET, NAMESPACE } from '../agent/kube/access.ts';
import { MARKS, type Tone, wrap } from '../agent/text/format.ts';
import { orAbsent } from './agents.ts';
import { type DaemonSet, readDaemonSet } from './check-cluster.ts';
import { type Context, EXIT } from './context.ts';
import { count, named } from './known.ts';
import { type Placement, standingOf } from './node-view.ts';
import { type NodeRow, readNodeRows } from './nodes.ts';
import {
  type Column,
  type Format,
  isForPrograms,
  paint,
  serialize,
  TONE_COLORS,
  tableLines,
} from './output.ts';
import { listRequirements } from './pod-view.ts';

/** One line of the status. */
type StatusLine = { readonly tone: Tone; readonly about: string; readonly text: string };

/** The nodes that are not proven for one reason. */
type Group = { readonly reason: string; readonly nodes: readonly string[] };

/** `status`: the fleet at a glance. */
export async function status(context: Context, output: Format | undefined): Promise<number> {
  const { api, screen } = context;
  const [{ rows }, daemonSet, requirements] = await Promise.all([
    readNodeRows(context),
    orAbsent(
      readDaemonSet(api).then((found) => found ?? ('absent' as const)),
      [403],
    ),
    orAbsent(listRequirements(api), [403]),
  ]);
  const lines = [
    aboutNodes(rows),
    aboutAgents(rows, daemonSet),
    aboutReleases(rows),
    aboutNamespaces(requirements),
  ];
  const groups = groupsOf(rows);
  const code = lines.some(({ tone }) => tone === 'fail')
    ? EXIT.problem
    : lines.some(({ tone }) => tone === 'unknown')
      ? EXIT.blind
      : EXIT.fine;
  if (isForPrograms(output)) {
    screen.out(serialize({ context: api.access.context, lines, notProven: groups }, output));
    return code;
  }
  const columns = Math.min(screen.columns, 110);
  const shown = lines.flatMap(({ tone, about, text }) => {
    const [first = '', ...rest] = wrap(text, columns - 14);
    return [
      `${paint(screen, TONE_COLORS[tone], MARKS[tone][0])} ${about.padEnd(12)}${first}`,
      ...rest.map((line) => `${' '.repeat(14)}${line}`),
    ];
  });
  const table =
    groups.length === 0
      ? []
      : [
          '',
          ...tableLines(GROUP_COLUMNS, groups, { screen }),
          '',
          `See why: kubectl gvisor-ready why ${groups[0]?.nodes[0]}`,
        ];
  screen.out(`${[...shown, ...table].join('\n')}\n`);
  return code;
}

const GROUP_COLUMNS: readonly Column<Group>[] = [
  { head: 'NOT PROVEN', cell: ({ reason }) => reason },
  { head: 'NODES', cell: ({ nodes }) => String(nodes.length) },
  { head: 'WHICH', cell: ({ nodes }) => named(nodes), cut: true },
];

/** What stands behind the label: a node without a living agent is proven by nobody. */
function isOrphan({ ready, agent }: NodeRow): boolean {
  return ready === 'true' && agent !== '?' && agent?.ready !== true;
}

function aboutNodes(rows: readonly NodeRow[]): StatusLine {
  const having = (standing: Placement) => rows.filter((row) => standingOf(row) === standing).length;
  const proven = having('proven');
  const others = (['not ready', 'unknown', 'not judged'] as const).flatMap((word) =>
    having(word) === 0 ? [] : [`${having(word)} ${word}`],
  );
  const kept = rows.filter((row) => standingOf(row) === 'proven' && row.status !== 'True').length;
  const wrong = proven === 0 || having('not ready') + having('unknown') > 0;
  return {
    tone: wrong ? 'fail' : 'pass',
    about: 'Nodes',
    text: [`${proven} of ${rows.length} proven${kept === 0 ? '' : ` (${kept} for now)`}`, ...others].join(
      ', ',
    ),
  };
}

function aboutAgents(rows: readonly NodeRow[], daemonSet: DaemonSet | 'absent' | undefined): StatusLine {
  const about = 'Agents';
  if (daemonSet === undefined)
    return { tone: 'unknown', about, text: `you may not read the DaemonSet ${NAMESPACE}/${DAEMON_SET}` };
  if (daemonSet === 'absent')
    return {
      tone: 'fail',
      about,
      text: `there is no DaemonSet ${NAMESPACE}/${DAEMON_SET}: nobody proves anything`,
    };
  const { desiredNumberScheduled: desired, numberReady = 0 } = daemonSet.status;
  const orphans = rows.filter(isOrphan).map(({ name }) => name);
  const versions = [...new Set(rows.map(({ provenBy }) => provenBy).filter(Boolean))];
  const text = [
    `${numberReady} of ${desired} Ready`,
    ...(versions.length === 0 ? [] : [`version ${versions.join(', ')}`]),
    ...(orphans.length === 0 ? [] : [`the label stands without a Ready agent on ${named(orphans)}`]),
  ].join(', ');
  return {
    tone: numberReady < desired || desired === 0 || orphans.length > 0 ? 'fail' : 'pass',
    about,
    text,
  };
}

function aboutReleases(rows: readonly NodeRow[]): StatusLine {
  const releases = [...new Set(rows.map(({ runsc }) => runsc).filter(Boolean))].sort();
  const on = (release: string) => count(rows.filter(({ runsc }) => runsc === release).length, 'node');
  const text = releases.map((release) => `${release} on ${on(release)}`).join(', ') || 'no release is known';
  return { tone: releases.length === 1 ? 'pass' : 'warning', about: 'gVisor', text };
}

function aboutNamespaces(requirements: ReadonlyMap<string, string> | undefined): StatusLine {
  const about = 'Namespaces';
  if (requirements === undefined) return { tone: 'warning', about, text: 'you may not list namespaces' };
  const having = (value: string) =>
    [...requirements].filter(([, each]) => each === value).map(([name]) => name);
  const [required, audited] = [having('true'), having('audit')];
  const some = (names: readonly string[]) => (names.length === 0 ? 'none' : named(names));
  return { tone: 'pass', about, text: `require gVisor: ${some(required)}; audit: ${some(audited)}` };
}

/** The nodes that are not proven, by reason; those that no agent judges are not among them. */
function groupsOf(rows: readonly NodeRow[]): Group[] {
  const groups = new Map<string, string[]>();
  for (const row of rows) {
    const orphan = isOrphan(row);
    const standing = standingOf(row);
    if (standing === 'not judged' || (standing === 'proven' && !orphan)) continue;
    const reason = orphan ? 'label without agent' : row.reason || standing;
    groups.set(reason, [...(groups.get(reason) ?? []), row.name]);
  }
  return [...groups]
    .map(([reason, nodes]) => ({ reason, nodes }))
    .sort((a, b) => b.nodes.length - a.nodes.length);
}
