import { DAEMON_SET } from '../../agent/kube/access.ts';
import type { SandboxesReport } from '../../agent/sandboxes/problem.ts';
import type { Tone } from '../../agent/text/format.ts';
import { type Column, markedLines, tableLines } from '../../agent/text/table.ts';
import { rolloutOf } from '../../fleet/rollout.ts';
import { type ReportResult, readDaemonSet, readReports, reportOf } from '../agent-reports.ts';
import { type Api, optional } from '../api.ts';
import { type Context, exitCodeOf, rankOf, worstOf } from '../context.ts';
import { PROBLEMS, readFleetController } from '../fleet-controller.ts';
import { stateOf } from '../node-summary.ts';
import {
  countOf,
  type Format,
  isForPrograms,
  nameList,
  printLines,
  proseOf,
  serialize,
  tally,
} from '../output.ts';
import { labelled, listRequirements, type Requirements } from '../requirements.ts';
import { sandboxesIn } from '../sandboxes.ts';
import { agentsOf, listRows, type NodeRow } from './nodes.ts';
import { countPods, listPods, podJson } from './pods.ts';

/** The flags of `status`. */
export type StatusFlags = { readonly output?: Format; readonly selector?: string };

/** A part of the fleet: a line for people, and under `key` the same as data for programs. */
type Part = {
  readonly key: string;
  readonly about: string;
  readonly tone: Tone;
  /** Codes of what is wrong. */
  readonly reasons?: readonly string[];
  readonly text: string;
  readonly data: Readonly<Record<string, unknown>>;
};

/** Nodes that are in the same state, for one reason. */
type NodeGroup = { readonly reason: string; readonly nodes: readonly string[] };

/** `status`: the fleet at a glance, with what is wrong first. */
export async function status(context: Context, { output: format, selector }: StatusFlags): Promise<number> {
  const { api, output } = context;
  const requirements = optional(listRequirements(api), [403]);
  const [{ rows, reports }, daemonSet, namespaces, pods, fleet] = await Promise.all([
    listRows(context, selector).then(async ({ rows }) => ({
      rows,
      reports: await readReadyAgents(api, rows),
    })),
    optional(
      readDaemonSet(api).then((found) => found ?? ('absent' as const)),
      [403],
    ),
    requirements,
    requirements.then((found) => readRequiredPods(context, found)),
    readFleetController(api),
  ]);
  const expected = rows.filter(isExpected);
  const groups = {
    notProven: groupsOf(expected.filter(isFaulty)),
    notExpected: groupsOf(rows.filter((row) => !isExpected(row))),
  };
  const nodes = aboutNodes(rows, expected, groups);
  const parts = [
    ...(nodes.tone === 'pass' ? [nodes] : []),
    ...aboutPods(pods),
    aboutFleet(fleet),
    aboutAgents(rows, daemonSet, api.installedIn),
    ...(nodes.tone === 'pass' ? [] : [nodes]),
    aboutReleases(rows),
    ...aboutInstaller(reports),
    ...aboutSandboxes(sandboxesOf(reports)),
    aboutNamespaces(namespaces),
  ].sort((a, b) => rankOf(a.tone) - rankOf(b.tone));
  const result = worstOf(parts.map(({ tone }) => tone));
  const code = exitCodeOf(result);
  if (isForPrograms(format)) {
    const byKey = parts.map(({ key, tone, reasons = [], data }) => [key, { result: tone, reasons, ...data }]);
    const alarms = parts.flatMap(({ tone, reasons = [] }) => (tone === 'fail' ? reasons : []));
    output.out(
      serialize({ context: api.access.context, result, alarms, ...Object.fromEntries(byKey) }, format),
    );
    return code;
  }
  printLines(output, [
    ...parts.flatMap(({ tone, about, text }) =>
      markedLines(tone, text, { ...proseOf(output), label: about.padEnd(12) }),
    ),
    ...groupLines('NOT PROVEN', groups.notProven, context),
    ...groupLines('NOT EXPECTED', groups.notExpected, context),
  ]);
  return code;
}

function groupLines(head: string, groups: readonly NodeGroup[], { output }: Context): string[] {
  const [first] = groups;
  if (first === undefined) return [];
  const columns: readonly Column<NodeGroup>[] = [
    { head, cell: ({ reason }) => reason },
    { head: 'NODES', cell: ({ nodes }) => String(nodes.length) },
    { head: 'WHICH', cell: ({ nodes }) => nameList(nodes), prose: true },
  ];
  const see = head === 'NOT PROVEN' ? ['', `See why: kubectl gvisor-ready why ${first.nodes[0]}`] : [];
  return ['', ...tableLines(columns, groups, { screen: output }), ...see];
}

/** Whether a node should run gVisor. One without an agent is outside the DaemonSet, if no agent has judged it. */
function isExpected(row: NodeRow): boolean {
  if (row.os === 'windows') return false;
  return row.expected ?? (stateOf(row) !== 'not judged' || (row.agent !== undefined && row.agent !== '?'));
}

/** Whether a node is labelled ready and has no Ready agent. */
function isOrphan({ ready, agent }: NodeRow): boolean {
  return ready === 'true' && agent !== '?' && agent?.ready !== true;
}

function isFaulty(row: NodeRow): boolean {
  return stateOf(row) !== 'proven' || isOrphan(row);
}

/** Groups nodes by reason, the most frequent first. */
function groupsOf(rows: readonly NodeRow[]): NodeGroup[] {
  const groups = new Map<string, string[]>();
  for (const row of rows) {
    const none = row.agent === undefined ? 'NoAgent' : 'NotJudged';
    const reason = isOrphan(row) ? 'LabelWithoutAgent' : row.reason || none;
    groups.set(reason, [...(groups.get(reason) ?? []), row.name]);
  }
  return [...groups]
    .map(([reason, nodes]) => ({ reason, nodes }))
    .sort((a, b) => b.nodes.length - a.nodes.length);
}

function aboutNodes(
  rows: readonly NodeRow[],
  expected: readonly NodeRow[],
  groups: Readonly<Record<'notProven' | 'notExpected', readonly NodeGroup[]>>,
): Part {
  const names = (some: readonly NodeRow[]) => some.map(({ name }) => name);
  const proven = expected.filter((row) => stateOf(row) === 'proven');
  const inGrace = proven.filter((row) => row.status !== 'True');
  const unjudged = expected.filter((row) => stateOf(row) === 'not judged');
  const notProven = expected.filter((row) => !['proven', 'not judged'].includes(stateOf(row)));
  const notReady = expected.filter(({ alive }) => !alive);
  const cordoned = expected.filter((row) => row.cordoned);
  const notes = [
    ...(inGrace.length === 0 ? [] : [`${inGrace.length} in a grace period`]),
    ...(unjudged.length === 0 ? [] : [`${unjudged.length} not judged yet`]),
    ...(notReady.length === 0 ? [] : [`${notReady.length} NotReady`]),
    ...(cordoned.length === 0 ? [] : [`${cordoned.length} cordoned`]),
  ];
  const reasons = [
    ...(proven.length === 0 ? ['NoNodeProven'] : []),
    ...(notProven.length === 0 ? [] : ['NodesNotProven']),
    ...(unjudged.length === 0 ? [] : ['NodesNotJudged']),
    ...(notReady.length === 0 ? [] : ['NodesNotReady']),
  ];
  const text =
    expected.length === 0
      ? `gVisor is expected on none of ${countOf(rows.length, 'node')}`
      : `${proven.length} of ${countOf(expected.length, 'node')} that should run gVisor`;
  return {
    key: 'nodes',
    about: 'Nodes',
    tone:
      proven.length === 0 || notProven.length > 0
        ? 'fail'
        : unjudged.length > 0
          ? 'unknown'
          : notReady.length > 0
            ? 'warning'
            : 'pass',
    reasons,
    text: notes.length === 0 ? text : `${text}; ${notes.join(', ')}`,
    data: {
      total: rows.length,
      expected: expected.length,
      proven: proven.length,
      inGrace: names(inGrace),
      kubeletNotReady: names(notReady),
      cordoned: names(cordoned),
      ...groups,
    },
  };
}

async function readRequiredPods(context: Context, requirements: Requirements | undefined) {
  const required = labelled(requirements ?? new Map(), 'true');
  if (required.length === 0) return undefined;
  return (await optional(listPods(context, required), [403]))?.rows ?? ('hidden' as const);
}

/** One line where a namespace requires gVisor. */
function aboutPods(pods: Awaited<ReturnType<typeof readRequiredPods>>): Part[] {
  const part = { key: 'pods', about: 'Pods' } as const;
  if (pods === undefined) return [];
  if (pods === 'hidden') {
    const text = 'you may not list the pods of the namespaces that require gVisor';
    return [{ ...part, tone: 'unknown', reasons: ['NotPermitted'], text, data: {} }];
  }
  const counts = countPods(pods);
  const of = (state: string) => pods.filter(({ inGvisor }) => inGvisor === state);
  const [outside, open, unknown] = [of('no'), of('open'), of('?')];
  const names = (some: typeof pods) => nameList(some.map(({ namespace, name }) => `${namespace}/${name}`));
  const texts = [
    ...(outside.length === 0
      ? []
      : [`${outside.length} outside gVisor where it is required: ${names(outside)}`]),
    ...(open.length === 0 ? [] : [`${open.length} with a way out to the host: ${names(open)}`]),
    ...(unknown.length === 0 ? [] : [`${unknown.length} unknown: ${names(unknown)}`]),
  ];
  return [
    {
      ...part,
      tone: outside.length + open.length > 0 ? 'fail' : unknown.length > 0 ? 'unknown' : 'pass',
      reasons: [
        ...(outside.length === 0 ? [] : ['PodsOutsideGvisor']),
        ...(open.length === 0 ? [] : ['PodsOpenToHost']),
        ...(unknown.length === 0 ? [] : ['PodsUnknown']),
      ],
      text:
        texts.join('; ') ||
        (pods.length === 0
          ? 'none runs where gVisor is required'
          : `${counts.inside} of ${counts.wanted} in gVisor where it is required`),
      data: { counts, affected: [...outside, ...open, ...unknown].map(podJson) },
    },
  ];
}

const LEFT_BEHIND = 'labels of lost agents stay';

function aboutFleet(fleet: Awaited<ReturnType<typeof readFleetController>>): Part {
  const part = { key: 'fleetController', about: 'Fleet' } as const;
  if (fleet === undefined) {
    const text = 'you may not read the Deployment of the fleet controller';
    return { ...part, tone: 'unknown', reasons: ['NotPermitted'], text, data: {} };
  }
  const { reason, ...data } = fleet;
  if (reason === 'Ready')
    return { ...part, tone: 'pass', text: `controller Ready, version ${fleet.version}`, data };
  const paused = fleet.paused?.length ?? 0;
  const effect =
    reason === 'FleetControllerBreakerOpen'
      ? `${fleet.breaker?.join(', ')}; withdrawals paused on ${countOf(paused, 'node')}`
      : LEFT_BEHIND;
  const text = `the controller withdraws no labels: ${PROBLEMS[reason]} (${effect})`;
  return { ...part, tone: 'fail', reasons: [reason], text, data };
}

function aboutAgents(
  rows: readonly NodeRow[],
  daemonSet: Awaited<ReturnType<typeof readDaemonSet>> | 'absent',
  namespace: string,
): Part {
  const part = { key: 'agents', about: 'Agents' } as const;
  const name = `DaemonSet ${namespace}/${DAEMON_SET}`;
  if (daemonSet === undefined) {
    const text = `you may not read the ${name}`;
    return { ...part, tone: 'unknown', reasons: ['NotPermitted'], text, data: {} };
  }
  if (daemonSet === 'absent') {
    const text = `there is no ${name}: no node is being proven`;
    return { ...part, tone: 'fail', reasons: ['NoDaemonSet'], text, data: { desired: 0, ready: 0 } };
  }
  const { desiredNumberScheduled: desired = 0, numberReady: ready = 0 } = daemonSet.status ?? {};
  const orphans = rows.filter(isOrphan).map((row) => row.name);
  const agents = agentsOf(rows);
  const down = agents.filter((agent) => !agent.ready).map(({ node }) => node);
  const others = down.filter((name) => !orphans.includes(name));
  const versions = tally(agents.map(({ version }) => version));
  const isMissing = ready < desired || desired === 0;
  const text = [
    `${ready} of ${desired} Ready`,
    ...(Object.keys(versions).length === 0 ? [] : [`version ${Object.keys(versions).join(', ')}`]),
    ...(others.length === 0 ? [] : [`down on ${nameList(others)}`]),
    ...(orphans.length === 0 ? [] : [`labelled ready without a Ready agent: ${nameList(orphans)}`]),
  ].join(', ');
  return {
    ...part,
    tone: isMissing || orphans.length > 0 ? 'fail' : 'pass',
    reasons: [
      ...(isMissing ? ['AgentsMissing'] : []),
      ...(orphans.length === 0 ? [] : ['LabelWithoutAgent']),
    ],
    text,
    data: { desired, ready, versions, notReady: down, labelWithoutAgent: orphans },
  };
}

function aboutReleases(rows: readonly NodeRow[]): Part {
  const releases = tally(rows.map(({ runsc }) => runsc));
  const names = Object.keys(releases);
  const text = names.map((name) => `${name} on ${countOf(releases[name] ?? 0, 'node')}`).join(', ');
  return {
    key: 'releases',
    about: 'gVisor',
    tone: names.length === 1 ? 'pass' : 'warning',
    reasons: names.length > 1 ? ['MixedReleases'] : names.length === 0 ? ['ReleaseUnknown'] : [],
    text: text || 'release unknown',
    data: { nodes: releases },
  };
}

function aboutNamespaces(requirements: Requirements | undefined): Part {
  const part = { key: 'namespaces', about: 'Namespaces' } as const;
  if (requirements === undefined)
    return {
      ...part,
      tone: 'unknown',
      reasons: ['NotPermitted'],
      text: 'you may not list namespaces',
      data: {},
    };
  const [required, audited] = [labelled(requirements, 'true'), labelled(requirements, 'audit')];
  const text = `require gVisor: ${nameList(required) || 'none'}; audit: ${nameList(audited) || 'none'}`;
  return { ...part, tone: 'pass', text, data: { required, audited } };
}

/** The sandboxes on a node according to its Ready agent; a string is why they are unknown. */
type NodeSandboxes = { readonly node: string; readonly sandboxes: SandboxesReport | string };

type Reports = ReadonlyMap<string, ReportResult>;

function readReadyAgents(api: Api, rows: readonly NodeRow[]): Promise<Reports> {
  return readReports(
    api,
    agentsOf(rows).filter(({ ready }) => ready),
  );
}

/** One line where the installer was used. */
function aboutInstaller(reports: Reports): Part[] {
  const rollout = rolloutOf(
    [...reports].flatMap(([node, result]) => {
      const installation = reportOf(result)?.installation;
      return installation === undefined ? [] : [[node, installation] as const];
    }),
  );
  if (rollout === undefined) return [];
  const { text, ...data } = rollout;
  const reasons = [
    ...(data.underWay.length === 0 ? [] : ['InstallationUnderWay']),
    ...(data.interrupted.length === 0 ? [] : ['InstallationInterrupted']),
    ...(Object.keys(data.failed).length === 0 ? [] : ['InstallationFailed']),
  ];
  const tone = reasons.length === 0 ? 'pass' : 'warning';
  return [{ key: 'installer', about: 'Installer', tone, reasons, text, data }];
}

function sandboxesOf(reports: Reports): readonly NodeSandboxes[] {
  // An agent that has just started has not scanned them yet.
  const scanned = [...reports].filter(([, result]) => 'problem' in result || result.report.sandboxes);
  return scanned.map(([node, result]) => ({ node, sandboxes: sandboxesIn(result) }));
}

/** One line where a node has problems, or where they are unknown. */
function aboutSandboxes(all: readonly NodeSandboxes[]): Part[] {
  const known = all.flatMap(({ node, sandboxes }) =>
    typeof sandboxes === 'string' ? [] : [{ node, sandboxes }],
  );
  const hanging = known.filter(({ sandboxes }) => sandboxes.total > 0);
  const unsafe = hanging.filter(({ sandboxes }) => sandboxes.restart.state === 'unsafe');
  const unknown = all.filter(({ sandboxes }) => typeof sandboxes === 'string');
  const names = (some: readonly NodeSandboxes[]) => some.map(({ node }) => node);
  const [first] = unknown;
  const text = [
    ...(hanging.length === 0
      ? []
      : [`problems on ${nameList(names(hanging))}: see kubectl gvisor-ready why NODE`]),
    ...(unsafe.length === 0 ? [] : [`do not restart containerd on ${nameList(names(unsafe))}`]),
    ...(first === undefined ? [] : [`unknown on ${nameList(names(unknown))}: ${first.sandboxes}`]),
  ].join('; ');
  if (text === '') return [];
  const problems = hanging.map(({ node, sandboxes: { at, total, restart, problems } }) => ({
    node,
    at,
    total,
    restart: restart.state,
    reasons: tally(problems.map(({ reason }) => reason)),
  }));
  return [
    {
      key: 'sandboxes',
      about: 'Sandboxes',
      tone: 'warning',
      reasons: hanging.length === 0 ? ['SandboxesUnknown'] : ['SandboxesHang'],
      text,
      data: { problems, unknown: names(unknown) },
    },
  ];
}
