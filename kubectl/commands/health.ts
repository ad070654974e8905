import { VERSION } from '../../lib/base/version.ts';
import { describeMissing } from '../../lib/fleet/guards.ts';
import {
  describeRefutation,
  type Refutation,
  refutationOf,
  refutedHandlers,
} from '../../lib/fleet/refutation.ts';
import { rolloutOf } from '../../lib/fleet/rollout.ts';
import { DAEMON_SET } from '../../lib/kube/access.ts';
import type { Tone } from '../../lib/report/format.ts';
import { sinceOf } from '../../lib/report/next-steps.ts';
import type { HandlerReport } from '../../lib/report/report.ts';
import {
  type AgentSummary,
  handlerIn,
  handlersOf,
  type ReportResult,
  readDaemonSet,
  reportOf,
  reportReader,
} from '../agent-reports.ts';
import { optional } from '../api.ts';
import { type Context, worstOf } from '../context.ts';
import { PROBLEMS, readFleetController } from '../fleet-controller.ts';
import { readMissingGuards } from '../guards.ts';
import { stateOf } from '../node-summary.ts';
import { ageOf, countOf, nameList, tally } from '../output.ts';
import { labelled, listRequirements, type Requirements } from '../requirements.ts';
import { sandboxesIn } from '../sandboxes.ts';
import { agentState, agentsOf, listRows, type NodeRow } from './nodes.ts';
import { countPods, listPods, type PodRow, podJson } from './pods.ts';

/** A part of the fleet: a line for people, and under `key` the same as data for programs. */
export type FleetPart = {
  readonly key: string;
  readonly about: string;
  readonly tone: Tone;
  /** Codes of what is wrong, the worst first. */
  readonly reasons: readonly string[];
  readonly text: string;
  /** The nodes that `text` counts, under the head of their table. */
  readonly groups?: Readonly<Record<string, readonly NodeGroup[]>>;
  readonly data: Readonly<Record<string, unknown>>;
};

/** Nodes that are in the same state, for one reason. */
export type NodeGroup = { readonly reason: string; readonly nodes: readonly string[] };

/** What is wrong with a part; without a text where that of the part says it. */
type Fault = readonly [tone: Tone, reason: string, text?: string];

function partOf(
  [key, about]: readonly [key: string, about: string],
  text: string,
  { faults = [], ...rest }: { readonly faults?: readonly Fault[] } & Pick<FleetPart, 'data' | 'groups'>,
): FleetPart {
  return {
    key,
    about,
    tone: worstOf(faults.map(([tone]) => tone)),
    reasons: faults.map(([, reason]) => reason),
    text: [text, ...faults.map(([, , each]) => each)].filter(Boolean).join('; '),
    ...rest,
  };
}

/** A fault where a condition holds. */
function faultIf(holds: boolean | number, ...fault: Fault): readonly Fault[] {
  return holds ? [fault] : [];
}

/** A fault where there are any names, with their count. */
function faultOn(names: readonly string[], tone: Tone, reason: string, what: string): readonly Fault[] {
  return faultIf(names.length, tone, reason, `${names.length} ${what}: ${nameList(names)}`);
}

/** A part that the user may not read. */
function hiddenPart(names: readonly [key: string, about: string], what: string): FleetPart {
  return partOf(names, `you may not ${what}`, { faults: [['unknown', 'NotPermitted']], data: {} });
}

type Reports = ReadonlyMap<string, ReportResult>;
type DaemonSet = Awaited<ReturnType<typeof readDaemonSet>> | 'absent';

/**
 * Judges the parts of the fleet, each read once. A part that cannot be read rejects alone; one that does not apply is an
 * empty list.
 */
export function judgeFleet(context: Context, selector?: string) {
  const { api, now } = context;
  const readReports = reportReader(api);
  const rows = listRows(context, selector).then((listed) => listed.rows);
  const reports = rows.then((all) => {
    const labelled = new Set(all.filter(isLabelled).map(({ name }) => name));
    const hasReport = ({ ready, state, node }: AgentSummary) =>
      ready || (state === 'Running' && labelled.has(node));
    return readReports(agentsOf(all).filter(hasReport));
  });
  const outdated = Promise.all([rows, reports]).then((read) => outdatedLabels(...read));
  const daemonSet: Promise<DaemonSet> = optional(
    readDaemonSet(api).then((found) => found ?? 'absent'),
    [403],
  );
  const requirements = optional(listRequirements(api), [403]);
  const pods = requirements.then((found = new Map()) => {
    const required = labelled(found, 'true');
    if (required.length === 0) return undefined;
    return optional(listPods(context, required, {}, readReports), [403]).then((all) => all?.rows ?? 'hidden');
  });
  const fleetController = readFleetController(api);
  return {
    labels: outdated.then(aboutLabels),
    pods: pods.then(aboutPods),
    fleetController: fleetController.then((fleet) => [aboutFleet(fleet)]),
    agents: Promise.all([rows, daemonSet]).then(([all, found]) => [aboutAgents(all, found, api.installedIn)]),
    nodes: Promise.all([rows, outdated]).then((read) => [aboutNodes(...read)]),
    handlers: Promise.all([rows, reports, daemonSet]).then((read) => aboutHandlers(...read, now())),
    releases: rows.then((all) => [aboutReleases(all)]),
    installer: Promise.all([reports, fleetController]).then((read) => aboutInstaller(...read)),
    sandboxes: reports.then(aboutSandboxes),
    namespaces: requirements.then((found) => [aboutNamespaces(found)]),
  };
}

/** A line if admission policies that must be in force are not, as far as the user may know. */
export async function judgeGuards({ api }: Context): Promise<FleetPart[]> {
  const { missing = [] } = (await optional(readMissingGuards(api), [403, 404])) ?? {};
  const faults = faultIf(missing.length, 'fail', 'GuardMissing');
  const text = missing.map(describeMissing).join('; ');
  return missing.length === 0 ? [] : [partOf(['guards', 'Guards'], text, { faults, data: { missing } })];
}

/** Whether a node should run gVisor. One without an agent is outside the DaemonSet, if no agent has judged it. */
function isExpected(row: NodeRow): boolean {
  if (row.os === 'windows') return false;
  return row.expected ?? (stateOf(row) !== 'not judged' || (row.agent !== undefined && row.agent !== '?'));
}

/** Whether a node is labelled for any handler. */
function isLabelled({ ready, handlers }: NodeRow): boolean {
  return [ready, ...handlers.values()].includes('true');
}

/** Whether a node is labelled for any handler and has no Ready agent. */
function isOrphan(row: NodeRow): boolean {
  return isLabelled(row) && row.agent !== '?' && row.agent?.ready !== true;
}

/** The labels that agents refute, by node. */
type OutdatedLabels = ReadonlyMap<
  string,
  { readonly refuted: readonly string[]; readonly refutation: Refutation }
>;

function outdatedLabels(rows: readonly NodeRow[], reports: Reports): OutdatedLabels {
  return new Map(
    rows.flatMap(({ name, ready: label, handlers }) => {
      const refutation = refutationOf(reportOf(reports.get(name)), name);
      const labels = [...handlers].map(([handler, label]) => ({ handler, label }));
      const refuted = refutedHandlers({ label, handlers: labels }, refutation);
      return refutation && refuted.length > 0 ? [[name, { refuted, refutation }] as const] : [];
    }),
  );
}

/** A line if agents say something else than the labels of their nodes. */
function aboutLabels(outdated: OutdatedLabels): FleetPart[] {
  const texts = [...outdated].map(
    ([node, { refuted, refutation }]) =>
      `${node}, whose agent says ${describeRefutation(refuted, refutation)}`,
  );
  const nodes = [...outdated].map(([node, { refuted, refutation }]) => ({
    node,
    reasons: refuted.map((handler) => refutation.reasons.get(handler)),
    problem: refutation.problem,
  }));
  const faults = faultIf(outdated.size, 'fail', 'LabelOutdated');
  const text = `still labelled ready: ${nameList(texts)}`;
  return outdated.size === 0 ? [] : [partOf(['labels', 'Labels'], text, { faults, data: { nodes } })];
}

/** Groups nodes by reason, the most frequent first. */
function groupsOf(rows: readonly NodeRow[], reasonOf: (row: NodeRow) => string): NodeGroup[] {
  const groups = new Map<string, string[]>();
  for (const row of rows) {
    const reason = reasonOf(row);
    groups.set(reason, [...(groups.get(reason) ?? []), row.name]);
  }
  return [...groups]
    .map(([reason, nodes]) => ({ reason, nodes }))
    .sort((a, b) => b.nodes.length - a.nodes.length);
}

function mainReasonOf(row: NodeRow, outdated: OutdatedLabels): string {
  if (outdated.has(row.name)) return 'LabelOutdated';
  if (isOrphan(row)) return 'LabelWithoutAgent';
  return row.reason || (row.agent === undefined ? 'NoAgent' : 'NotJudged');
}

const STAY_PENDING = 'pods that request it stay Pending';

function aboutNodes(rows: readonly NodeRow[], outdated: OutdatedLabels): FleetPart {
  const isProven = (row: NodeRow) =>
    stateOf(row) === 'proven' && outdated.get(row.name)?.refuted.includes('') !== true;
  const reasonOf = (row: NodeRow) => mainReasonOf(row, outdated);
  const expected = rows.filter(isExpected);
  const where = (holds: (row: NodeRow) => boolean) => expected.filter(holds).map(({ name }) => name);
  const proven = where(isProven).length;
  const unjudged = where((row) => stateOf(row) === 'not judged').length;
  const inGrace = where((row) => stateOf(row) === 'proven' && row.status !== 'True');
  const kubeletNotReady = where(({ alive }) => !alive);
  const cordoned = where((row) => row.cordoned);
  const faulty = expected.filter((row) => !isProven(row) || isOrphan(row));
  const notProven = groupsOf(faulty, reasonOf);
  const others = rows.filter((row) => !isExpected(row));
  const notExpected = groupsOf(others, reasonOf);
  const count =
    expected.length === 0
      ? `gVisor is expected on none of ${countOf(rows.length, 'node')}`
      : `${proven} of ${countOf(expected.length, 'node')} that should run gVisor`;
  return partOf(['nodes', 'Nodes'], cordoned.length === 0 ? count : `${count}, ${cordoned.length} cordoned`, {
    faults: [
      ...faultIf(proven === 0, 'fail', 'NoNodeProven', STAY_PENDING),
      ...faultIf(proven + unjudged < expected.length, 'fail', 'NodesNotProven'),
      ...faultIf(unjudged, 'unknown', 'NodesNotJudged', `${unjudged} not judged yet`),
      ...faultOn(kubeletNotReady, 'warning', 'NodesNotReady', 'NotReady'),
      ...faultOn(inGrace, 'warning', 'NodesInGrace', 'in a grace period'),
    ],
    groups: { 'NOT PROVEN': notProven, 'NOT EXPECTED': notExpected },
    data: {
      ...{ total: rows.length, expected: expected.length, proven },
      ...{ inGrace, kubeletNotReady, cordoned, notProven, notExpected },
    },
  });
}

/** How bad it is that an additional handler is not proven on a node: a fault only where it was proven before. */
export function handlerTone(handler: string, reason: string, node: Pick<NodeRow, 'everProven'>): Tone {
  if (node.everProven.has(handler)) return 'fail';
  return reason === 'NotJudged' ? 'unknown' : reason === 'HandlerNotConfigured' ? 'skipped' : 'warning';
}

/** A line for each additional handler. */
function aboutHandlers(
  rows: readonly NodeRow[],
  reports: Reports,
  daemonSet: DaemonSet,
  nowMs: number,
): FleetPart[] {
  const [, ...configured] = handlersOf(daemonSet === 'absent' ? undefined : daemonSet);
  const labelled = rows.flatMap(({ handlers }) => [...handlers.keys()]);
  return [...new Set(daemonSet === undefined ? labelled : configured)].map((handler) => {
    const reportOn = (node: string) => handlerIn(reports.get(node), handler);
    const reasonOf = ({ name, handlers }: NodeRow) => {
      const { status, reason = handlers.has(handler) ? 'NoReport' : 'NotJudged' } =
        reportOn(name)?.verdict ?? {};
      return status === 'True' ? 'NotLabelled' : reason;
    };
    const expected = rows.filter((row) => isExpected(row) || row.handlers.get(handler) === 'true');
    const others = expected.filter((row) => row.handlers.get(handler) !== 'true');
    const groupsFor = (some: readonly NodeRow[]) =>
      groupsOf(some, reasonOf).map((group) => ({ ...group, since: earliest(group.nodes.map(reportOn)) }));
    const faultFor = (tone: Tone, code: string) => {
      const some = others.filter((row) => handlerTone(handler, reasonOf(row), row) === tone);
      const texts = groupsFor(some).map(({ reason, nodes, since }) => {
        const age = ageOf(since ?? '', nowMs);
        return `${reason} on ${nameList(nodes)}${age && ` for ${age}`}`;
      });
      return faultIf(some.length, tone, code, texts.join('; '));
    };
    const proven = expected.length - others.length;
    return partOf(['handlers', 'Handler'], `${handler} on ${proven} of ${countOf(expected.length, 'node')}`, {
      faults: [
        ...faultIf(proven === 0, 'fail', 'HandlerProvenNowhere', STAY_PENDING),
        ...faultFor('fail', 'HandlerNotProven'),
        ...faultFor('unknown', 'HandlerNotJudged'),
        ...faultFor('warning', 'HandlerNeverProven'),
      ],
      data: { handler, expected: expected.length, proven, notProven: groupsFor(others) },
    });
  });
}

/** When the first of some verdicts began. */
function earliest(reports: readonly (HandlerReport | undefined)[]): string | null {
  return reports.flatMap((report) => (report && sinceOf(report)) ?? []).sort()[0] ?? null;
}

/** One line where a namespace requires gVisor. */
function aboutPods(pods: readonly PodRow[] | 'hidden' | undefined): FleetPart[] {
  const part = ['pods', 'Pods'] as const;
  if (pods === undefined) return [];
  if (pods === 'hidden') return [hiddenPart(part, 'list the pods of the namespaces that require gVisor')];
  const counts = countPods(pods);
  const of = (state: string) => pods.filter(({ inGvisor }) => inGvisor === state);
  const [outside, open, unknown] = [of('no'), of('open'), of('?')];
  const affected = [...outside, ...open, ...unknown];
  const names = (some: readonly PodRow[]) => some.map(({ namespace, name }) => `${namespace}/${name}`);
  const sound =
    pods.length === 0
      ? 'none runs where gVisor is required'
      : `${counts.inside} of ${counts.wanted} in gVisor where it is required`;
  const notKnown = `${unknown.length} unknown: ${nameList(names(unknown))} (${unknown[0]?.evidence})`;
  const faults = [
    ...faultOn(names(outside), 'fail', 'PodsOutsideGvisor', 'outside gVisor where it is required'),
    ...faultOn(names(open), 'fail', 'PodsOpenToHost', 'with a way out to the host'),
    ...faultIf(unknown.length, 'unknown', 'PodsUnknown', notKnown),
  ];
  const data = { counts, affected: affected.map(podJson) };
  return [partOf(part, affected.length === 0 ? sound : '', { faults, data })];
}

function aboutFleet(fleet: Awaited<ReturnType<typeof readFleetController>>): FleetPart {
  const part = ['fleetController', 'Fleet'] as const;
  if (fleet === undefined) return hiddenPart(part, 'read the Deployment of the fleet controller');
  const { reason, waiting: _, ...data } = fleet;
  if (reason === 'Ready') return partOf(part, `controller Ready, version ${fleet.version}`, { data });
  const effect =
    reason === 'FleetControllerBreakerOpen'
      ? `${fleet.breaker?.join(', ')}; withdrawals paused on ${countOf(fleet.paused?.length ?? 0, 'node')}`
      : 'labels of lost agents stay';
  const text = `the controller withdraws no labels: ${PROBLEMS[reason]} (${effect})`;
  return partOf(part, text, { faults: [['fail', reason]], data });
}

function aboutAgents(rows: readonly NodeRow[], daemonSet: DaemonSet, namespace: string): FleetPart {
  const part = ['agents', 'Agents'] as const;
  const name = `DaemonSet ${namespace}/${DAEMON_SET}`;
  if (daemonSet === undefined) return hiddenPart(part, `read the ${name}`);
  if (daemonSet === 'absent')
    return partOf(part, `there is no ${name}: no node is being proven`, {
      faults: [['fail', 'NoDaemonSet']],
      data: { desired: 0, ready: 0 },
    });
  const {
    desiredNumberScheduled: desired = 0,
    numberReady: ready = 0,
    updatedNumberScheduled: updated = desired,
  } = daemonSet.status ?? {};
  const agents = agentsOf(rows);
  const labelWithoutAgent = rows.filter(isOrphan).map((row) => row.name);
  const down = agents.filter((agent) => !agent.ready);
  const others = down.filter(({ node }) => !labelWithoutAgent.includes(node));
  const states = others.map((agent) => `${agent.node} (${agentState({ agent })})`);
  const isMissing = ready < desired || desired === 0;
  const versions = tally(agents.map(({ version }) => version));
  const provenBy = Object.keys(tally(rows.map((row) => row.provenBy)));
  const differ = provenBy.some((version) => version !== VERSION);
  const proven = `nodes were proven by version ${provenBy.join(', ')}, this plugin has ${VERSION}`;
  const hidden = rows.some(({ agent }) => agent === '?');
  const orphans = 'labelled ready without a Ready agent';
  return partOf(
    part,
    [`${ready} of ${desired} Ready`, ...Object.keys(versions).map((each) => `version ${each}`)].join(', '),
    {
      faults: [
        ...faultIf(
          isMissing,
          'fail',
          'AgentsMissing',
          states.length === 0 ? '' : `not Ready on ${nameList(states)}`,
        ),
        ...faultOn(labelWithoutAgent, 'fail', 'LabelWithoutAgent', orphans),
        ...faultIf(hidden, 'unknown', 'NotPermitted', `you may not list the pods of ${namespace}`),
        ...faultIf(updated < desired, 'warning', 'Rollout', `a rollout is at ${updated} of ${desired}`),
        ...faultIf(differ, 'warning', 'VersionsDiffer', proven),
      ],
      data: {
        ...{ desired, ready, updated, versions, provenBy },
        ...{ notReady: down.map(({ node }) => node), labelWithoutAgent },
      },
    },
  );
}

function aboutReleases(rows: readonly NodeRow[]): FleetPart {
  const releases = tally(rows.map(({ runsc }) => runsc));
  const texts = Object.entries(releases).map(([name, count]) => `${name} on ${countOf(count, 'node')}`);
  return partOf(['releases', 'gVisor'], texts.join(', ') || 'release unknown', {
    faults: [
      ...faultIf(texts.length > 1, 'warning', 'MixedReleases'),
      ...faultIf(texts.length === 0, 'warning', 'ReleaseUnknown'),
    ],
    data: { nodes: releases },
  });
}

function aboutNamespaces(requirements: Requirements | undefined): FleetPart {
  const part = ['namespaces', 'Namespaces'] as const;
  if (requirements === undefined) return hiddenPart(part, 'list namespaces');
  const [required, audited] = [labelled(requirements, 'true'), labelled(requirements, 'audit')];
  const text = `require gVisor: ${nameList(required) || 'none'}; audit: ${nameList(audited) || 'none'}`;
  return partOf(part, text, { data: { required, audited } });
}

/** One line where the installer was used, or nodes wait for it. */
function aboutInstaller(
  reports: Reports,
  fleet: Awaited<ReturnType<typeof readFleetController>>,
): FleetPart[] {
  const rollout = rolloutOf(
    [...reports].flatMap(([node, result]) => {
      const installation = reportOf(result)?.installation;
      return installation === undefined ? [] : [[node, installation] as const];
    }),
    fleet?.waiting,
  );
  if (rollout === undefined) return [];
  const { text, ...data } = rollout;
  const faults = [
    ...faultIf(data.underWay.length || (data.waiting?.length ?? 0), 'warning', 'InstallationUnderWay'),
    ...faultIf(data.interrupted.length, 'warning', 'InstallationInterrupted'),
    ...faultIf(Object.keys(data.failed).length, 'warning', 'InstallationFailed'),
  ];
  return [partOf(['installer', 'Installer'], text, { faults, data })];
}

/** One line where sandboxes of a node have problems, or where that is unknown. */
function aboutSandboxes(reports: Reports): FleetPart[] {
  const all = [...reports].flatMap(([node, result]) => {
    // An agent that has just started has not scanned them yet.
    if ('report' in result && result.report.sandboxes === undefined) return [];
    const sandboxes = sandboxesIn(result);
    return [typeof sandboxes === 'string' ? { node, why: sandboxes } : { node, ...sandboxes }];
  });
  const hanging = all.flatMap((each) => ('total' in each && each.total > 0 ? [each] : []));
  const unsafe = hanging.filter(({ restart }) => restart.state === 'unsafe');
  const unknown = all.flatMap((each) => ('why' in each ? [each] : []));
  const names = (some: readonly { readonly node: string }[]) => some.map(({ node }) => node);
  const on = (some: readonly { readonly node: string }[]) => nameList(names(some));
  const see = `problems on ${on(hanging)}: see kubectl gvisor-ready why NODE`;
  const faults = [
    ...faultIf(hanging.length, 'warning', 'SandboxesHang', see),
    ...faultIf(unsafe.length, 'warning', 'RestartUnsafe', `do not restart containerd on ${on(unsafe)}`),
    ...faultIf(
      unknown.length,
      'warning',
      'SandboxesUnknown',
      `unknown on ${on(unknown)}: ${unknown[0]?.why}`,
    ),
  ];
  const problems = hanging.map(({ node, at, total, restart, problems }) => {
    const reasons = tally(problems.map(({ reason }) => reason));
    return { node, at, total, restart: restart.state, reasons };
  });
  const data = { problems, unknown: names(unknown) };
  return faults.length === 0 ? [] : [partOf(['sandboxes', 'Sandboxes'], '', { faults, data })];
}
