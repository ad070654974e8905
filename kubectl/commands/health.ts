import type { V1Pod } from '@kubernetes/client-node';
import { pooledMap } from '../../lib/base/async.ts';
import { errorLine } from '../../lib/base/sanitize.ts';
import { VERSION } from '../../lib/base/version.ts';
import { type AcceptedGuard, describeChange, describeMissing } from '../../lib/fleet/guards.ts';
import { firstOf, namesBy, tally } from '../../lib/fleet/objects.ts';
import { CANARY_FAILS, EGRESS_OPEN, EGRESS_UNKNOWN, GROUPS, type JudgedFleet } from '../../lib/fleet/view.ts';
import { DAEMON_SET } from '../../lib/kube/access.ts';
import { KubeError } from '../../lib/kube/error.ts';
import type { Tone } from '../../lib/report/format.ts';
import { type Api, optional } from '../api/api.ts';
import { type Context, worstOf } from '../api/context.ts';
import { handlersToProve, readDaemonSet, renamedDaemonSet } from '../cluster/agent-reports.ts';
import { addClassCommand, readAgentSandbox, removeCommand } from '../cluster/agent-sandbox.ts';
import {
  type ReadFleet,
  readDeployment,
  readFleet,
  type readView,
  replicasOf,
} from '../cluster/fleet-controller.ts';
import { readGuardState } from '../cluster/guards.ts';
import { labelled, listRequirements, type Requirements } from '../cluster/requirements.ts';
import { ageOf, countOf } from '../text/output.ts';

/** A line for people, and under `key` the same for programs. */
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

export type NodeGroup = { readonly reason: string; readonly nodes: readonly string[] };

/** No text if the part's own says it. */
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

function faultIf(holds: boolean | number, ...fault: Fault): readonly Fault[] {
  return holds ? [fault] : [];
}

/** With the count of names; none without names. */
function faultOn(names: readonly string[], tone: Tone, reason: string, what: string): readonly Fault[] {
  return faultIf(names.length, tone, reason, `${names.length} ${what}: ${firstOf(names)}`);
}

function hiddenPart(names: readonly [key: string, about: string], what: string): FleetPart {
  return partOf(names, `you may not ${what}`, { faults: [['unknown', 'NotPermitted']], data: {} });
}

type DaemonSet = Awaited<ReturnType<typeof readDaemonSet>> | 'absent';
type Row = JudgedFleet['nodes'][number];
type View = Awaited<ReturnType<typeof readView>>;

/** Each part is read once and rejects alone; one that does not apply is an empty list. */
export function judgeFleet({ api, now }: Context, view: Promise<View>, selector?: string) {
  const read = view.then((found) => readFleet(api, found, selector));
  const fleet = read.then((found) => found.fleet);
  const daemonSet: Promise<DaemonSet> = optional(
    readDaemonSet(api).then((found) => found ?? 'absent'),
    [403],
  );
  const requirements = optional(listRequirements(api), [403]);
  return {
    labels: read.then(aboutLabels),
    pods: Promise.all([fleet, requirements]).then((all) => aboutPods(api, ...all)),
    fleetController: Promise.all([readDeployment(api), view]).then((all) => [aboutController(...all)]),
    agents: Promise.all([fleet, daemonSet]).then(async ([found, set]) => [
      set === 'absent' ? await aboutNoAgents(api) : aboutAgents(found, set, api.installedIn),
    ]),
    nodes: fleet.then((all) => [aboutNodes(all)]),
    handlers: Promise.all([fleet, daemonSet]).then((all) => aboutHandlers(...all, now())),
    releases: fleet.then((all) => [aboutReleases(all)]),
    installer: fleet.then(aboutInstaller),
    sandboxes: fleet.then(aboutSandboxes),
    warmPods: fleet.then((all) => aboutWarmPods(api, all)),
    namespaces: requirements.then((found) => [aboutNamespaces(found)]),
  };
}

/** Only if guards are missing or were changed on purpose, or a namespace lost its requirement, as far as the user may know. */
export async function aboutGuards({ api }: Context, view: Promise<View>): Promise<FleetPart[]> {
  const state = await optional(
    view.then((found) => readGuardState(api, found)),
    [403, 404],
  );
  const { missing = [], accepted = [], lifted = [], problem = '' } = state ?? {};
  const unwatched = `the controller cannot read them: ${problem}`;
  const faults = [
    ...faultIf(missing.length, 'fail', 'GuardMissing', missing.map(describeMissing).join('; ')),
    ...faultIf(lifted.length, 'fail', 'RequirementLifted', `no longer required in ${firstOf(lifted)}`),
    ...faultIf(problem !== '', 'warning', 'GuardsUnread', unwatched),
  ];
  const text = accepted.map(describeAccepted).join('; ');
  const data = { missing, accepted, lifted };
  return text === '' && faults.length === 0 ? [] : [partOf(['guards', 'Guards'], text, { faults, data })];
}

function describeAccepted({ guard, changes }: AcceptedGuard): string {
  return `${guard} was changed on purpose (${changes.map(describeChange).join('; ')})`;
}

/** A node without an agent is outside the DaemonSet, if no agent has judged it. */
function isExpected({ expected, label, state, agent }: Row): boolean {
  const isJudged = label !== '' || state !== 'none';
  return expected ?? (isJudged || agent === 'ready' || agent === 'not ready');
}

function namesOf(rows: readonly Row[]): string[] {
  return rows.map(({ name }) => name);
}

function unknownOn({ nodes }: JudgedFleet, part: 'report' | 'pods' | 'sandboxes'): string[] {
  return namesOf(nodes.filter(({ unknown }) => unknown?.includes(part)));
}

/** Only if agents say something else than their nodes, or if that is unknown. */
function aboutLabels({ fleet, problem }: ReadFleet): FleetPart[] {
  const refuted = fleet.nodes.filter(({ refutation }) => refutation !== undefined);
  const texts = refuted.map(({ name, refuted }) => `${name}, whose agent says ${refuted}`);
  const outdated = fleet.nodes.filter((row) => row.outdated !== undefined);
  const said = outdated.map(({ name, outdated }) => `${name}, whose agent says ${outdated}`);
  const unknown = unknownOn(fleet, 'report');
  const silent = `what the agents say is unknown on ${firstOf(unknown)}${problem && `: ${problem}`}`;
  const faults = [
    ...faultIf(refuted.length, 'fail', 'LabelOutdated', `still labelled ready: ${firstOf(texts)}`),
    ...faultIf(outdated.length, 'warning', 'NodeOutdated', `the Node says otherwise: ${firstOf(said)}`),
    ...faultIf(unknown.length, 'unknown', 'ReportsUnread', silent),
  ];
  const data = {
    nodes: refuted.map(({ name, refutation }) => ({ node: name, ...refutation })),
    outdated: namesOf(outdated),
    unknown,
  };
  return faults.length === 0 ? [] : [partOf(['labels', 'Labels'], '', { faults, data })];
}

/** Groups nodes by reason, the most frequent first. */
function groupsOf(rows: readonly Row[], reasonOf: (row: Row) => string): NodeGroup[] {
  const groups = namesBy(
    rows.map((row) => [row.name, row] as const),
    reasonOf,
  );
  return [...groups].map(([reason, nodes]) => ({ reason, nodes }));
}

const STAY_PENDING = 'pods that request it stay Pending';

function aboutNodes({ nodes: rows, withoutAgent, alarms }: JudgedFleet): FleetPart {
  const alone = new Set(withoutAgent);
  const isProven = ({ label, refuted, state }: Row) =>
    label === 'true' && (refuted === '' || state === 'proven');
  const reasonOf = ({ name, refuted, reason, agent }: Row) => {
    if (refuted !== '') return GROUPS.refuted;
    if (alone.has(name)) return GROUPS.alone;
    return reason || (agent === 'none' ? 'NoAgent' : GROUPS.none);
  };
  const expected = rows.filter(isExpected);
  const where = (holds: (row: Row) => boolean) => namesOf(expected.filter(holds));
  const proven = where(isProven).length;
  const unjudged = where(({ label, state }) => label === '' && state === 'none').length;
  const inGrace = where((row) => isProven(row) && row.state !== 'proven');
  const kubeletNotReady = where(({ nodeReady }) => !nodeReady);
  const cordoned = where((row) => row.cordoned);
  const told = (code: string, tone: Tone) =>
    alarms.filter(({ reason }) => reason === code).map(({ message }) => [tone, code, message] as const);
  const faulty = expected.filter((row) => !isProven(row) || row.refuted !== '' || alone.has(row.name));
  const notProven = groupsOf(faulty, reasonOf);
  const others = rows.filter((row) => !isExpected(row));
  const notExpected = groupsOf(others, reasonOf);
  const count =
    expected.length === 0
      ? `gVisor is expected on none of ${countOf(rows.length, 'node')}`
      : `proven on ${proven} of ${countOf(expected.length, 'node')} that should run gVisor`;
  return partOf(['nodes', 'Nodes'], cordoned.length === 0 ? count : `${count}, ${cordoned.length} cordoned`, {
    faults: [
      ...faultIf(proven === 0, 'fail', 'NoNodeReady', STAY_PENDING),
      ...faultIf(proven + unjudged < expected.length, 'fail', 'NodesNotProven'),
      ...faultIf(unjudged, 'unknown', 'NodesNotJudged', `${unjudged} not judged yet`),
      ...faultOn(kubeletNotReady, 'warning', 'NodesNotReady', 'NotReady'),
      ...faultOn(inGrace, 'warning', 'NodesInGrace', 'in a grace period'),
      ...told(CANARY_FAILS, 'warning'),
      ...told(EGRESS_OPEN, 'fail'),
      ...told(EGRESS_UNKNOWN, 'warning'),
    ],
    groups: { 'NOT PROVEN': notProven, 'NOT EXPECTED': notExpected },
    data: {
      total: rows.length,
      expected: expected.length,
      proven,
      inGrace,
      kubeletNotReady,
      cordoned,
      notProven,
      notExpected,
    },
  });
}

/** A fault only if the handler was proven before. */
export function handlerTone(reason: string, wasProven: boolean): Tone {
  if (wasProven) return 'fail';
  if (reason === 'NotJudged') return 'unknown';
  return reason === 'HandlerNotConfigured' ? 'skipped' : 'warning';
}

function aboutHandlers({ nodes: rows }: JudgedFleet, daemonSet: DaemonSet, nowMs: number): FleetPart[] {
  const [, ...configured] = handlersToProve(daemonSet === 'absent' ? undefined : daemonSet);
  const labelled = rows.flatMap(({ handlers = [] }) => handlers.map(({ handler }) => handler));
  return [...new Set(daemonSet === undefined ? labelled : configured)].map((handler) => {
    const on = ({ handlers = [] }: Row) => handlers.find((each) => each.handler === handler);
    const reasonOf = (row: Row) => on(row)?.reason ?? GROUPS.none;
    const expected = rows.filter((row) => isExpected(row) || on(row)?.state === 'proven');
    const others = expected.filter((row) => on(row)?.state !== 'proven');
    const groupsFor = (some: readonly Row[]) =>
      groupsOf(some, reasonOf).map((group) => {
        const members = some.filter((row) => reasonOf(row) === group.reason);
        return { ...group, since: members.flatMap((row) => on(row)?.since || []).sort()[0] ?? null };
      });
    const faultFor = (tone: Tone, code: string) => {
      const some = others.filter((row) => handlerTone(reasonOf(row), on(row)?.state === 'lost') === tone);
      const texts = groupsFor(some).map(({ reason, nodes, since }) => {
        const age = ageOf(since ?? '', nowMs);
        return `${reason} on ${firstOf(nodes)}${age && ` for ${age}`}`;
      });
      return faultIf(some.length, tone, code, texts.join('; '));
    };
    const proven = expected.length - others.length;
    return partOf(
      ['handlers', 'Handler'],
      `${handler} proven on ${proven} of ${countOf(expected.length, 'node')}`,
      {
        faults: [
          ...faultIf(proven === 0, 'fail', 'HandlerProvenNowhere', STAY_PENDING),
          ...faultFor('fail', 'HandlerNotProven'),
          ...faultFor('unknown', 'HandlerNotJudged'),
          ...faultFor('warning', 'HandlerNeverProven'),
        ],
        data: { handler, expected: expected.length, proven, notProven: groupsFor(others) },
      },
    );
  });
}

/** Nodes without a Ready agent that run pods of some namespaces, and the namespaces whose pods are hidden. */
async function unseenPods(api: Api, { nodes: rows }: JudgedFleet, namespaces: readonly string[]) {
  const blind = rows.filter(({ agent }) => agent !== 'ready');
  if (blind.length === 0) return { nodes: [], hidden: [] };
  const query = { fieldSelector: 'status.phase=Running' };
  const lists = await pooledMap(namespaces, CONCURRENCY, (name) => {
    const path = `/api/v1/namespaces/${name}/pods`;
    return optional(
      api.list<V1Pod, string>(path, query, ({ spec }) => spec?.nodeName ?? ''),
      [403],
    );
  });
  const used = new Set(lists.flatMap((list) => list ?? []));
  return {
    nodes: namesOf(blind.filter(({ name }) => used.has(name))),
    hidden: namespaces.filter((_, at) => lists[at] === undefined),
  };
}

/** Only if a namespace requires gVisor, or a pod in gVisor has a way out. */
async function aboutPods(
  api: Api,
  fleet: JudgedFleet,
  requirements: Requirements | undefined,
): Promise<FleetPart[]> {
  const { nodes } = fleet;
  const sumOf = (key: 'violating' | 'open') => nodes.reduce((sum, row) => sum + row[key], 0);
  const on = (key: 'violating' | 'open') => firstOf(namesOf(nodes.filter((row) => row[key] > 0)));
  const [outside, open] = [sumOf('violating'), sumOf('open')];
  const required = labelled(requirements ?? new Map(), 'true');
  const isRequired = required.length > 0;
  const unseen = await unseenPods(api, fleet, required);
  const unknown = isRequired ? [...unknownOn(fleet, 'pods'), ...unseen.nodes] : [];
  if (!isRequired && outside + open === 0) return [];
  const see = 'see kubectl gvisor-ready pods -A';
  const runOutside = `${outside} outside gVisor that must run in it, on ${on('violating')}: ${see}`;
  const areOpen = `${open} with a way out to the host, on ${on('open')}: ${see}`;
  const hidden = `you may not list the pods of ${firstOf(unseen.hidden)}`;
  const faults = [
    ...faultIf(outside, 'fail', 'UnsandboxedPods', runOutside),
    ...faultIf(open, 'fail', 'PodsOpenToHost', areOpen),
    ...faultIf(unknown.length, 'unknown', 'PodsUnseen', `unknown on ${firstOf(unknown)}`),
    ...faultIf(unseen.hidden.length, 'unknown', 'NotPermitted', hidden),
  ];
  const sound = faults.length === 0 ? 'none runs outside gVisor where it is required' : '';
  return [partOf(['pods', 'Pods'], sound, { faults, data: { outside, open, unknown } })];
}

/** Lists of pods at a time. */
const CONCURRENCY = 16;

const ABSENT = { desired: 0, ready: 0, version: '' };

function aboutController(found: Awaited<ReturnType<typeof readDeployment>>, view: View): FleetPart {
  const part = ['fleetController', 'Fleet'] as const;
  if (found === undefined) return hiddenPart(part, 'read the Deployment of the fleet controller');
  const { breaker = [], paused = [], alarms = [] } = typeof view === 'object' ? view : {};
  const seen = typeof view === 'object' ? { breaker, paused } : {};
  const data = { ...(found === 'absent' ? ABSENT : replicasOf(found)), ...seen };
  const withdrawsNone = (reason: string, problem: string, effect = 'labels of lost agents stay') =>
    partOf(part, `the controller withdraws no labels: ${problem} (${effect})`, {
      faults: [['fail', reason]],
      data,
    });
  if (found === 'absent') return withdrawsNone('FleetControllerAbsent', 'there is none');
  if (data.desired === 0) return withdrawsNone('FleetControllerScaledToZero', 'it is scaled to 0');
  if (data.ready === 0) return withdrawsNone('FleetControllerNotReady', 'its pod is not Ready');
  if (view === undefined) return withdrawsNone('FleetControllerNotResponding', 'it does not respond');
  const text = `controller Ready, version ${data.version}`;
  const foreign = 'its answer is of another version, so this is from Nodes and reports';
  if (view === 'foreign')
    return partOf(part, text, { faults: [['unknown', 'FleetControllerForeign', foreign]], data });
  const effect = `${breaker.join(', ')}; withdrawals paused on ${countOf(paused.length, 'node')}`;
  return breaker.length > 0
    ? withdrawsNone('FleetControllerBreakerOpen', 'its circuit breaker is open', effect)
    : partOf(part, text, { data, faults: alarms.flatMap(ownFaultOf) });
}

/** Of an alarm in which the controller speaks of itself; else none. */
function ownFaultOf({ reason, message }: JudgedFleet['alarms'][number]): readonly Fault[] {
  return reason === 'ControllerStarved' || reason === 'FleetTooLarge' ? [['warning', reason, message]] : [];
}

const AGENTS = ['agents', 'Agents'] as const;

async function aboutNoAgents(api: Api): Promise<FleetPart> {
  const name = `DaemonSet ${api.installedIn}/${DAEMON_SET}`;
  const renamed = await renamedDaemonSet(api);
  const data = { desired: 0, ready: 0 };
  if (renamed === undefined)
    return partOf(AGENTS, `there is no ${name}: no node is being proven`, {
      faults: [['fail', 'NoDaemonSet']],
      data,
    });
  return partOf(
    AGENTS,
    `the ${name} is named ${renamed}: remove namePrefix and nameSuffix, which are not supported`,
    {
      faults: [['fail', 'DaemonSetRenamed']],
      data,
    },
  );
}

function aboutAgents(
  { nodes, withoutAgent }: JudgedFleet,
  daemonSet: Exclude<DaemonSet, 'absent'>,
  namespace: string,
): FleetPart {
  if (daemonSet === undefined) return hiddenPart(AGENTS, `read the DaemonSet ${namespace}/${DAEMON_SET}`);
  const {
    desiredNumberScheduled: desired = 0,
    numberReady: ready = 0,
    updatedNumberScheduled: updated = desired,
  } = daemonSet.status ?? {};
  const notReady = namesOf(nodes.filter(({ agent }) => agent === 'not ready'));
  const others = notReady.filter((node) => !withoutAgent.includes(node));
  const isMissing = ready < desired || desired === 0;
  const versions = tally(nodes.map(({ version }) => version));
  const provenBy = Object.keys(tally(nodes.map((row) => row.provenBy)));
  const differ = provenBy.some((version) => version !== VERSION);
  const proven = `nodes were proven by version ${provenBy.join(', ')}, this plugin has ${VERSION}`;
  const hidden = nodes.some(({ agent }) => agent === 'hidden');
  const missing = others.length === 0 ? '' : `not Ready on ${firstOf(others)}`;
  const orphans = 'labelled ready without a Ready agent';
  return partOf(
    AGENTS,
    [`${ready} of ${desired} Ready`, ...Object.keys(versions).map((each) => `version ${each}`)].join(', '),
    {
      faults: [
        ...faultIf(isMissing, desired === 0 ? 'fail' : 'warning', 'AgentsMissing', missing),
        ...faultOn(withoutAgent, 'warning', 'LabelWithoutAgent', orphans),
        ...faultIf(hidden, 'unknown', 'NotPermitted', `you may not list the pods of ${namespace}`),
        ...faultIf(updated < desired, 'warning', 'Rollout', `a rollout is at ${updated} of ${desired}`),
        ...faultIf(differ, 'warning', 'VersionsDiffer', proven),
      ],
      data: { desired, ready, updated, versions, provenBy, notReady, labelWithoutAgent: withoutAgent },
    },
  );
}

function aboutReleases({ nodes }: JudgedFleet): FleetPart {
  const releases = tally(nodes.map(({ gvisor }) => gvisor));
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
  const text = `require gVisor: ${firstOf(required) || 'none'}; audit: ${firstOf(audited) || 'none'}`;
  return partOf(part, text, { data: { required, audited } });
}

/** Only if the installer was used, or nodes wait for it. */
function aboutInstaller({ rollout }: JudgedFleet): FleetPart[] {
  if (rollout === undefined) return [];
  const { text, ...data } = rollout;
  const faults = [
    ...faultIf(data.underWay.length, 'warning', 'InstallationUnderWay'),
    ...faultIf(data.interrupted.length, 'warning', 'InstallationInterrupted'),
    ...faultIf(Object.keys(data.failed).length, 'warning', 'InstallationFailed'),
  ];
  return [partOf(['installer', 'Installer'], text, { faults, data })];
}

/** Only if sandboxes have problems, or that is unknown. */
function aboutSandboxes(fleet: JudgedFleet): FleetPart[] {
  const hanging = fleet.nodes.filter(({ problems }) => problems > 0);
  const unsafe = firstOf(namesOf(hanging.filter((row) => row.unsafe)));
  const unknown = unknownOn(fleet, 'sandboxes');
  const see = `problems on ${firstOf(namesOf(hanging))}: see kubectl gvisor-ready why NODE`;
  const old = `unknown on ${firstOf(unknown)}: the last scan is too old`;
  const faults = [
    ...faultIf(hanging.length, 'warning', 'SandboxesHang', see),
    ...faultIf(unsafe.length, 'warning', 'RestartUnsafe', `do not restart containerd on ${unsafe}`),
    ...faultIf(unknown.length, 'warning', 'SandboxesUnknown', old),
  ];
  const problems = hanging.map(({ name, problems, unsafe }) => ({ node: name, total: problems, unsafe }));
  const data = { problems, unknown };
  return faults.length === 0 ? [] : [partOf(['sandboxes', 'Sandboxes'], '', { faults, data })];
}

/** Only if agent-sandbox could hand out a pod on an unproven node, or has a template without a class. */
async function aboutWarmPods(api: Api, { nodes }: JudgedFleet): Promise<FleetPart[]> {
  const part = ['warmPods', 'Warm pods'] as const;
  try {
    const { unclaimed = [], templates = [] } = (await readAgentSandbox(api)) ?? {};
    const rows = new Map(nodes.map((row) => [row.name, row]));
    const unproven = unclaimed.filter(({ node, handler }) => {
      const row = rows.get(node);
      const own = row?.handlers?.find((each) => each.handler === handler);
      return row !== undefined && (own === undefined ? row.label !== 'true' : own.state !== 'proven');
    });
    const where = firstOf(unproven.map(({ namespace, name, node }) => `${namespace}/${name} on ${node}`));
    const whose = firstOf(templates.map(({ namespace, name }) => `${namespace}/${name}`));
    const [lost, bare] = [unproven[0], templates[0]];
    const lostText = `${unproven.length} unclaimed where gVisor is not proven: ${where}; remove each: ${lost && removeCommand(lost)}`;
    const bareText = `templates without a RuntimeClass: ${whose}; for each: ${bare && addClassCommand(bare)}`;
    const faults = [
      ...faultIf(unproven.length, 'fail', 'WarmPodsUnproven', lostText),
      ...faultIf(templates.length, 'warning', 'TemplatesWithoutClass', bareText),
    ];
    return faults.length === 0 ? [] : [partOf(part, '', { faults, data: { unproven, templates } })];
  } catch (error) {
    if (!(error instanceof KubeError)) throw error;
    const faults: readonly Fault[] = [['unknown', 'WarmPodsUnknown', `not read: ${errorLine(error)}`]];
    return [partOf(part, '', { faults, data: {} })];
  }
}
