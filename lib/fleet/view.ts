import { absentOr, boolean, list, number, object, oneOf, recordOf, text } from '../report/schema.ts';
import type { AgentStatus } from './agent-status.ts';
import { type AlarmCode, BREAKER_REASONS, type BreakerReason } from './alarms.ts';
import {
  type Change,
  describeMissing,
  EFFECTS,
  type GuardState,
  isCritical,
  type MissingGuard,
} from './guards.ts';
import { type AgentPod, type AgentSet, type FleetNode, firstOf, type HandlerLabel } from './objects.ts';
import { describeRefutation, refutationOf, refutingReasons, type Statement } from './refutation.ts';
import { noteOf, type Rollout, rolloutOf } from './rollout.ts';
import type { Turns } from './turns.ts';

/** "none" without a condition. */
const STATES = ['proven', 'not', 'unknown', 'none'] as const;
type State = (typeof STATES)[number];

/** "lost" if it was proven before and is not now. */
type RowHandler = {
  readonly handler: string;
  readonly state: 'proven' | 'lost' | 'not';
  /** Why it is not proven, and since when; absent if it is. */
  readonly reason?: string;
  readonly since?: string;
};

/** Parts of a Ready agent's report that may be unknown: all of it, pods, or sandboxes. */
const PARTS = ['report', 'pods', 'sandboxes'] as const;

export const GROUPS = {
  refuted: 'LabelOutdated',
  outdated: 'NodeOutdated',
  alone: 'LabelWithoutAgent',
  notReady: 'NodeNotReady',
  problems: 'SandboxesHang',
  installer: 'InstallationFailed',
  handlers: 'HandlerNotProven',
  none: 'NotJudged',
  notExpected: 'NotExpected',
} as const;

export const CANARY_FAILS = 'CanaryFails';
export const EGRESS_OPEN = 'EgressOpen';
export const EGRESS_UNKNOWN = 'EgressUnknown';
export const EGRESS_STATES = ['closed', 'open', 'unknown'] as const;

/** A node as the canary of egress shows it. */
export type EgressVerdict =
  | { readonly state: 'closed' }
  | { readonly state: 'open'; readonly targets: readonly OpenTarget[] }
  /** `waits` while nothing is wrong, and more sandboxes must start: a label that is there may stay. */
  | { readonly state: 'unknown'; readonly why: string; readonly waits: boolean };

/** For how long it was open after the start of the last sandbox; absent if it is open now. */
type OpenTarget = { readonly name: string; readonly ms?: number };

type RowEgress = {
  readonly state: EgressVerdict['state'];
  readonly message: string;
  /** Absent unless it is open. */
  readonly targets?: readonly OpenTarget[];
  /** Whether it is unknown for no other reason than that more sandboxes must start. */
  readonly waits?: boolean;
};

export function rowEgressOf(verdict: EgressVerdict): RowEgress {
  if (verdict.state === 'closed')
    return { state: 'closed', message: 'nothing answered in the last sandboxes, nor now' };
  if (verdict.state === 'unknown') return { state: 'unknown', message: verdict.why, waits: verdict.waits };
  const texts = verdict.targets.map(({ name, ms }) => `${name} ${ms === undefined ? 'now' : `for ${ms} ms`}`);
  return { state: 'open', message: texts.join(', '), targets: verdict.targets };
}

/** A person should look at these first. */
export type Alarm = {
  readonly reason: AlarmCode;
  readonly severity: 'critical' | 'warning';
  readonly message: string;
  /** Empty if it concerns the controller or the whole fleet. */
  readonly nodes: readonly string[];
};

const ROLLOUT = object<Rollout>({
  installed: recordOf(number),
  underWay: list(text),
  interrupted: list(text),
  failed: recordOf(list(text)),
  waiting: absentOr(list(object({ node: text, since: text, for: text }))),
  text,
});
const ROW_HANDLER = object<RowHandler>({
  handler: text,
  state: oneOf(['proven', 'lost', 'not']),
  reason: absentOr(text),
  since: absentOr(text),
});
const ROW_EGRESS = object<RowEgress>({
  state: oneOf(EGRESS_STATES),
  message: text,
  targets: absentOr(list(object<OpenTarget>({ name: text, ms: absentOr(number) }))),
  waits: absentOr(boolean),
});
const ROW = object<JudgedRow>({
  name: text,
  state: oneOf(STATES),
  expected: absentOr(boolean),
  label: text,
  handlers: absentOr(list(ROW_HANDLER)),
  reason: text,
  nodeReady: boolean,
  cordoned: boolean,
  refuted: text,
  refutation: absentOr(object({ reasons: list(text), problem: text })),
  outdated: absentOr(text),
  unknown: absentOr(list(oneOf(PARTS))),
  egress: absentOr(ROW_EGRESS),
  violating: number,
  open: number,
  problems: number,
  unsafe: boolean,
  agent: oneOf(['ready', 'not ready', 'none']),
  provenBy: text,
  gvisor: text,
  version: text,
});
type JudgedRow = Omit<Row, 'rank' | 'group' | 'message' | 'since' | 'provenAt' | 'installer' | 'containerd'>;

const CHANGES = list(object<Change>({ resource: text, name: text, aspects: list(text), digest: text }));
const GUARD_STATE = object<GuardState>({
  isRequired: boolean,
  missing: list(
    object<MissingGuard>({
      guard: text,
      effect: oneOf(Object.keys(EFFECTS)),
      danger: text,
      changes: absentOr(CHANGES),
    }),
  ),
  accepted: absentOr(list(object({ guard: text, changes: CHANGES }))),
  classes: absentOr(list(text)),
  lifted: absentOr(list(text)),
  fromFiles: absentOr(boolean),
  problem: absentOr(text),
});

export type JudgedFleet = Pick<
  FleetView,
  'upToDate' | 'breaker' | 'paused' | 'withoutAgent' | 'rollout' | 'guards'
> & {
  readonly alarms: readonly Pick<Alarm, 'reason' | 'message'>[];
  readonly nodes: readonly JudgedRow[];
};

export const isJudgedFleet = object<JudgedFleet>({
  upToDate: boolean,
  alarms: list(object({ reason: text, message: text })),
  breaker: list(text),
  paused: list(text),
  withoutAgent: list(text),
  rollout: absentOr(ROLLOUT),
  guards: absentOr(GUARD_STATE),
  nodes: list(ROW),
});

/** Input of {@link viewFleet}. */
export type FleetState = {
  readonly upToDate: boolean;
  /** Monotonic. */
  readonly nowMs: number;
  readonly nodes: readonly FleetNode[];
  /** Undefined if the reader may not list them. */
  readonly pods: readonly AgentPod[] | undefined;
  readonly agents: AgentSet | undefined;
  readonly statusOf: (node: string) => AgentStatus | undefined;
  /** How often the report of a Ready agent is read though nothing says that it differs. */
  readonly reportIntervalMs: number;
  /** How late the controller decided lately, at the worst. */
  readonly lateMs: number;
  /** For how long the most silent watch has shown nothing. */
  readonly silentMs: number;
  readonly guards: GuardState | undefined;
  readonly breaker: readonly BreakerReason[];
  readonly paused: readonly string[];
  readonly rolling: boolean;
  /** Labels withdrawn repeatedly, for which the controller waits longer. */
  readonly damped: readonly string[];
  /** Whose turn it is to install. */
  readonly turns: Turns;
  /** Why the latest write failed, by node name. */
  readonly failedWrites: ReadonlyMap<string, string>;
  /** Names of nodes whose canary does not run. */
  readonly failingCanaries: readonly string[];
  /** By name of the node; undefined without the component egress. */
  readonly egress: ReadonlyMap<string, EgressVerdict> | undefined;
};

export type FleetView = Readonly<ReturnType<typeof viewFleet>>;

// Collators that are kept sort 5,000 names in a twentieth of the time that `localeCompare` takes, which makes its own.
const BY_LETTER = new Intl.Collator('en');
const BY_NUMBER = new Intl.Collator('en', { numeric: true });

/** The fleet, nodes that need attention first. */
export function viewFleet(state: FleetState) {
  const { upToDate, nowMs, nodes, pods, agents, statusOf, guards, breaker, paused, rolling } = state;
  /** Reports that were read earlier count as unknown. */
  const oldestMs = nowMs - state.reportIntervalMs - MAX_LATE_MS;
  const podOf = new Map<string, AgentPod>();
  for (const pod of pods ?? []) if (pod.ready || !podOf.has(pod.node)) podOf.set(pod.node, pod);
  const rows: readonly Row[] = nodes
    .filter(({ os }) => os !== 'windows')
    .map((node) => {
      const pod = pods && (podOf.get(node.name) ?? 'none');
      const egress = state.egress?.get(node.name);
      const row = rowOf(node, pod, { agent: statusOf(node.name), oldestMs, egress });
      return { ...row, ...placeOf(row) };
    })
    .sort(
      (a, b) => a.rank - b.rank || BY_LETTER.compare(a.group, b.group) || BY_NUMBER.compare(a.name, b.name),
    );
  const rollout = rolloutOf(
    rows.flatMap(({ name }) => {
      const { installation } = statusOf(name) ?? {};
      return installation === undefined ? [] : [[name, installation] as const];
    }),
    state.turns.waiting,
  );
  const shouldRun = rows.filter((row) => row.expected);
  const expected = {
    proven: shouldRun.filter(({ state }) => state === 'proven').length,
    total: shouldRun.length,
  };
  return {
    /** Otherwise the view is the last known state. */
    upToDate,
    ...reportAge(rows, state),
    /** How often the report of a Ready agent is read by routine. */
    reportIntervalSeconds: state.reportIntervalMs / 1_000,
    /** For how long the most silent watch has shown nothing, not even the bookmark of each minute. */
    silentSeconds: Math.floor(state.silentMs / SILENCE_STEP_MS) * (SILENCE_STEP_MS / 1_000),
    /** How late the controller decided lately, at the worst. */
    lateSeconds: Math.round(state.lateMs / 100) / 10,
    expected,
    /** Most urgent first. */
    alarms: alarmsOf(rows, state, expected),
    agents: { desired: agents?.desired ?? 0, ready: agents?.ready ?? 0 },
    /** Ready, labelled nodes without a Ready agent. */
    withoutAgent: rows.filter(isWithoutAgent).map(({ name }) => name),
    /** Absent until the policies have been read. */
    ...(guards && { guards }),
    /** Nodes whose latest write by the controller failed. */
    cannotWrite: [...state.failedWrites.keys()],
    /** Empty while the circuit breaker is closed. */
    breaker,
    /** Names of the nodes whose withdrawal is paused. */
    paused,
    /** A rollout is replacing the agents, which get more time. */
    rolling,
    /** Absent if the installer was used on no node, and none waits for it. */
    ...(rollout && { rollout }),
    nodes: rows,
  };
}

/** Steps, so that the ETag of /fleet seldom changes. */
const AGE_STEP_MS = 15_000;
const SILENCE_STEP_MS = 60_000;

/** Of the oldest report of a Ready agent; nothing while none was read. */
function reportAge(rows: readonly Row[], { statusOf, nowMs }: FleetState): { reportAgeSeconds?: number } {
  const readMs = rows.flatMap(({ name, agent }) => (agent === 'ready' && statusOf(name)?.readMs) || []);
  if (readMs.length === 0) return {};
  const oldestMs = readMs.reduce((old, each) => Math.min(old, each));
  const steps = Math.max(1, Math.ceil((nowMs - oldestMs) / AGE_STEP_MS));
  return { reportAgeSeconds: (steps * AGE_STEP_MS) / 1_000 };
}

/** A controller that is so late lacks processor time, and requests that it did not read in time say nothing of agents. */
const STARVED_MS = 1_000;

/** The largest fleet with which the controller was tried: see docs/bench.md. */
export const TESTED_NODES = 15_000;

/** As the alert GVisorReadyShareLow. */
const LOW_SHARE = 0.8;

/** By default it holds if it concerns a node. */
type Candidate = Omit<Alarm, 'nodes'> & Partial<Pick<Alarm, 'nodes'>> & { readonly holds?: boolean };

/** Every alarm, the critical ones first. */
function alarmsOf(
  rows: readonly Row[],
  state: FleetState,
  { proven, total }: { readonly proven: number; readonly total: number },
): readonly Alarm[] {
  const { upToDate, agents, statusOf, guards, breaker, paused, damped, failedWrites, turns } = state;
  const isStarved = state.lateMs >= STARVED_MS;
  const where = (holds: (row: Row) => boolean) => rows.filter(holds).map(({ name }) => name);
  const violating = rows.reduce((sum, row) => sum + row.violating, 0);
  const [failed] = failedWrites;
  const [failure] = turns.failed.values();
  const { missing: absent = [], lifted = [] } = guards ?? {};
  const unguarded = absent.map(describeMissing);
  const missing = agents === undefined ? 0 : Math.max(agents.desired - agents.ready, 0);
  const alarms: readonly Candidate[] = [
    // First, because agents are not Ready without theirs.
    {
      reason: 'GuardMissing',
      severity: guards && isCritical(guards) ? 'critical' : 'warning',
      message: `${unguarded.join('. ')}. Replace these objects with those of the manifests.`,
      holds: unguarded.length > 0,
    },
    {
      reason: 'RequirementLifted',
      severity: 'critical',
      message: `These namespaces required gVisor within a day, and have no label gvisor-ready.dev/require any more: ${firstOf(lifted)}.`,
      holds: lifted.length > 0,
    },
    {
      reason: GROUPS.refuted,
      severity: 'critical',
      message: 'These nodes are labelled, and their own agents refute it: the lines of the nodes say why.',
      nodes: where(({ refuted }) => refuted !== ''),
    },
    {
      reason: GROUPS.outdated,
      severity: 'warning',
      message:
        'These nodes say something else of gVisor than their own agents, which cannot write it: the lines of the nodes say what.',
      nodes: where(({ outdated }) => outdated !== undefined),
    },
    {
      reason: GROUPS.alone,
      severity: 'warning',
      message:
        'These nodes are labelled, and no agent there is Ready: a failure of gVisor would go unnoticed.',
      nodes: where(isWithoutAgent),
    },
    {
      reason: 'UnsandboxedPods',
      severity: 'critical',
      message: `${countOf(violating, 'pod runs', 'pods run')} outside gVisor where it is required. kubectl gvisor-ready pods names them.`,
      nodes: where((row) => row.violating > 0),
    },
    {
      reason: 'NoNodeReady',
      severity: 'critical',
      message: 'gVisor is proven on no node that should run it: pods that request it stay Pending.',
      holds: total > 0 && proven === 0,
    },
    {
      reason: 'ReadyShareLow',
      severity: 'warning',
      message: `gVisor is proven on ${Math.floor((100 * proven) / total)} % of the nodes that should run it.`,
      holds: proven > 0 && proven < LOW_SHARE * total,
    },
    ...breaker.map((reason) => ({
      reason,
      severity: reason === 'ApiServerAway' ? ('warning' as const) : ('critical' as const),
      message: `${BREAKER_REASONS[reason]} The circuit breaker is open, so no label of a lost agent is withdrawn.`,
      nodes: paused,
      holds: true,
    })),
    {
      reason: 'FleetCannotWrite',
      severity: 'warning',
      message: `The controller cannot withdraw labels: ${failed?.join(': ')}`,
      nodes: [...failedWrites.keys()],
    },
    {
      reason: CANARY_FAILS,
      severity: 'warning',
      message:
        'The canary does not run here, although a sandbox boots: other pods may get no network or no container. kubectl describe says why.',
      nodes: canariesThatFail(rows, state),
    },
    {
      reason: EGRESS_OPEN,
      severity: 'critical',
      message: `Forbidden addresses answered a pod like an evaluation's: on ${firstOf(openTexts(rows))}.`,
      nodes: where(({ egress }) => egress?.state === 'open'),
    },
    {
      reason: EGRESS_UNKNOWN,
      severity: 'warning',
      message:
        'The canary of egress does not show whether forbidden addresses are closed here: kubectl gvisor-ready why NODE says why.',
      nodes: where(({ egress, nodeReady }) => egress?.state === 'unknown' && !egress.waits && nodeReady),
    },
    {
      reason: 'WatchesDown',
      severity: 'warning',
      message:
        'The controller does not see changes, because a watch of the API server is down. Below is the last known state.',
      holds: !upToDate,
    },
    {
      reason: 'InstallationFailed',
      severity: 'warning',
      message: `The installer failed: ${failure}. No other node gets its turn before this one succeeds, loses the label that selects it, or its pod is deleted.`,
      nodes: [...turns.failed.keys()],
    },
    {
      reason: 'AgentFlaps',
      severity: 'warning',
      message:
        'The label here was withdrawn repeatedly, because the agent comes and goes. Each time the controller waits twice as long.',
      nodes: damped,
    },
    {
      reason: 'AgentsMissing',
      severity: 'warning',
      message: `${missing} of ${countOf(agents?.desired ?? 0, 'agent is', 'agents are')} not Ready.`,
      nodes: where(({ agent }) => agent === 'not ready'),
      holds: missing > 0,
    },
    {
      reason: 'ControllerStarved',
      severity: 'warning',
      message: `The controller decides up to ${(state.lateMs / 1_000).toFixed(1)} s late, because it lacks processor time: labels go later, and what it says of reports may be old. Raise its CPU request.`,
      holds: isStarved,
    },
    {
      reason: 'FleetTooLarge',
      severity: 'warning',
      message: `The fleet has ${rows.length} nodes, and the controller was tried with ${TESTED_NODES}: it asks each agent every ${Math.round(state.reportIntervalMs / 1_000)} s only, and may need more memory and processor time.`,
      holds: rows.length > TESTED_NODES,
    },
    {
      reason: 'ReportsUnread',
      severity: 'warning',
      message:
        'The controller cannot read the reports of agents that are Ready: a NetworkPolicy may refuse it. Their last proofs, sandboxes and pods are not known.',
      nodes: isStarved
        ? []
        : where(({ name, agent }) => agent === 'ready' && statusOf(name)?.unread === true),
    },
    {
      reason: 'GuardsUnread',
      severity: 'warning',
      message: `The controller cannot read whether the admission policies are in force: ${guards?.problem}`,
      holds: upToDate && guards?.problem !== undefined,
    },
    {
      reason: 'WeakenedPods',
      severity: 'warning',
      message: 'Pods in gVisor have a weakened sandbox here. kubectl gvisor-ready pods names them.',
      nodes: where(({ name }) => (statusOf(name)?.pods?.weakened ?? 0) > 0),
    },
    {
      reason: GROUPS.problems,
      severity: 'warning',
      message: 'Sandboxes hang, or would not survive a restart.',
      nodes: where((row) => row.problems > 0),
    },
  ];
  return alarms
    .filter(({ nodes = [], holds = nodes.length > 0 }) => holds)
    .sort((a, b) => Number(a.severity !== 'critical') - Number(b.severity !== 'critical'))
    .map(({ holds: _, nodes = [], ...alarm }) => ({ ...alarm, nodes }));
}

function openTexts(rows: readonly Row[]): readonly string[] {
  return rows.flatMap(({ name, egress }) => (egress?.state === 'open' ? `${name} (${egress.message})` : []));
}

/** On nodes that are there, and that draw pods. */
function canariesThatFail(rows: readonly Row[], { failingCanaries }: FleetState): readonly string[] {
  const failing = new Set(failingCanaries);
  return rows
    .filter(({ name, label, nodeReady }) => failing.has(name) && label === 'true' && nodeReady)
    .map(({ name }) => name);
}

function countOf(count: number, one: string, many: string): string {
  return `${count} ${count === 1 ? one : many}`;
}

type Row = Judged & Place;
type Judged = ReturnType<typeof rowOf>;

function agentStateOf(found: AgentPod | 'none' | undefined): 'ready' | 'not ready' | 'none' | 'hidden' {
  if (found === undefined) return 'hidden';
  if (found === 'none') return 'none';
  return found.ready ? 'ready' : 'not ready';
}

/** Unknown texts are "", unknown counts 0. */
function rowOf(
  node: FleetNode,
  found: AgentPod | 'none' | undefined,
  {
    agent,
    oldestMs,
    egress,
  }: {
    readonly agent: AgentStatus | undefined;
    readonly oldestMs: number;
    readonly egress: EgressVerdict | undefined;
  },
) {
  const pod = typeof found === 'object' ? found : undefined;
  const { status, reason = '', message = '', since = '' } = node.verdict ?? {};
  const { own, ...compared } = comparisonOf(node, agent?.statement);
  const { sandboxes } = agent ?? {};
  const { problems = 0, unsafe = false } = typeof sandboxes === 'object' ? sandboxes : {};
  return {
    name: node.name,
    state: own?.state ?? stateOf(status),
    /** Absent if no agent has judged that. */
    ...(node.expected === undefined ? {} : { expected: node.expected }),
    label: node.label,
    /** Absent if no additional handler is labelled. */
    ...(node.handlers.length > 0 && { handlers: node.handlers.map((each) => rowHandlerOf(each, agent)) }),
    reason: own?.reason ?? reason,
    message: own === undefined ? message : '',
    since,
    provenAt: agent?.provenAt ?? '',
    nodeReady: node.ready,
    cordoned: node.cordoned,
    ...compared,
    /** Absent if all parts are known, and without a Ready agent. */
    ...(pod?.ready ? unknownParts(agent, oldestMs) : {}),
    /** Absent without the component egress, and on a node on which gVisor is not proven and egress is not open. */
    ...(egress && (node.label === 'true' || egress.state === 'open') && { egress: rowEgressOf(egress) }),
    /** Outside gVisor where namespace or class requires it. */
    violating: agent?.pods?.violating ?? 0,
    /** In gVisor with a way out to the host. */
    open: agent?.pods?.open ?? 0,
    /** Sandboxes with a problem. */
    problems,
    /** Whether a restart of containerd would harm pods. */
    unsafe,
    /** The installation's fault; "" if there is none. */
    installer: noteOf(agent?.installation ?? {}),
    /** Hidden if the reader may not list agents. */
    agent: agentStateOf(found),
    /** The agent's version at the proof. */
    provenBy: node.provenBy,
    gvisor: node.gvisor,
    containerd: node.runtime.replace(/^containerd:\/\//, ''),
    /** The agent's. */
    version: agent?.version || (pod?.version ?? ''),
  } as const;
}

/**
 * What a Node and its agent say differently. Of a condition only if the agent says that it cannot write it:
 * else the Node may have been read a moment before the report.
 */
function comparisonOf(node: FleetNode, statement: Statement | undefined): Comparison {
  if (statement === undefined) return { refuted: '' };
  const { verdicts, problem } = statement;
  const { labels, condition } = refutationOf(node, statement) ?? { labels: [], condition: false };
  const main = verdicts.get('');
  const isContradicted = condition && problem !== '';
  const isUnlabelled = main?.status === 'True' && node.label !== 'true' && problem !== '';
  const differs = { labels, condition: isContradicted || isUnlabelled };
  const text = describeRefutation(differs, statement);
  const ownOf = (): Pick<Comparison, 'own'> => {
    if (labels.includes('')) return { own: { state: 'not', reason: main?.reason ?? '' } };
    return isContradicted ? { own: { state: 'unknown', reason: 'AgentCannotWrite' } } : {};
  };
  if (labels.length === 0) return { refuted: '', ...(text !== '' && { outdated: text }), ...ownOf() };
  const reasons = [...refutingReasons(differs, statement).values()];
  return { refuted: text, refutation: { reasons, problem }, ...ownOf() };
}

type Comparison = {
  /** Why its agent refutes a label; "" if it does not. */
  readonly refuted: string;
  /** The same as data. */
  readonly refutation?: { readonly reasons: readonly string[]; readonly problem: string };
  /** What its agent says, if no label is refuted, but the condition is, or the label is missing. */
  readonly outdated?: string;
  /** In place of the condition, which counts for nothing then. */
  readonly own?: { readonly state: State; readonly reason: string };
};

/** How much later than by routine a report may be read. */
const MAX_LATE_MS = 90_000;

function unknownParts(
  agent: AgentStatus | undefined,
  oldestMs: number,
): { readonly unknown?: readonly (typeof PARTS)[number][] } {
  const { unread = false, readMs = Number.NEGATIVE_INFINITY, pods, sandboxes } = agent ?? {};
  const isUnknown = {
    report: unread || readMs < oldestMs,
    pods: pods?.unknown !== 0,
    sandboxes: sandboxes === 'stale',
  };
  const unknown = PARTS.filter((part) => isUnknown[part]);
  return unknown.length === 0 ? {} : { unknown };
}

function stateOf(status: string | undefined): State {
  if (status === undefined) return 'none';
  if (status === 'True') return 'proven';
  return status === 'False' ? 'not' : 'unknown';
}

function rowHandlerOf(
  { handler, label, provenBoot }: HandlerLabel,
  agent: AgentStatus | undefined,
): RowHandler {
  if (label === 'true') return { handler, state: 'proven' };
  const why = agent?.unproven?.get(handler) ?? { reason: 'NoReport', since: '' };
  return { handler, state: provenBoot === '' ? 'not' : 'lost', ...why };
}

/** An agent that refutes the label is there, Ready or not. */
function isWithoutAgent({ label, handlers = [], nodeReady, agent, refuted }: Judged): boolean {
  if (refuted !== '') return false;
  const isLabelled = label === 'true' || handlers.some(({ state }) => state === 'proven');
  return isLabelled && nodeReady && agent !== 'ready' && agent !== 'hidden';
}

/** A row's place on the page. */
type Place = {
  /** Sort key: 0 needs attention most. */
  readonly rank: number;
  /** A reason code, or one of {@link GROUPS}. */
  readonly group: string;
};

function faultOf({ problems, installer, handlers = [] }: Judged): string | undefined {
  if (problems > 0) return GROUPS.problems;
  if (installer !== '') return GROUPS.installer;
  return handlers.some(({ state }) => state === 'lost') ? GROUPS.handlers : undefined;
}

/**
 * From refuted labels and lost agents over broken and unknown nodes, hanging sandboxes, failed installations,
 * lost handlers and self-healing nodes to proven ones, and those where gVisor is not expected.
 */
function placeOf(row: Judged): Place {
  if (row.refuted !== '') return { rank: 0, group: GROUPS.refuted };
  if (row.outdated !== undefined) return { rank: 1, group: GROUPS.outdated };
  if (isWithoutAgent(row)) return { rank: 0, group: GROUPS.alone };
  const fault = faultOf(row);
  if (row.expected === false && !fault) return { rank: 8, group: GROUPS.notExpected };
  if (['AgentLost', 'AgentCannotWrite'].includes(row.reason)) return { rank: 1, group: row.reason };
  if (!row.nodeReady) return { rank: 5, group: GROUPS.notReady };
  const rank = { not: 2, unknown: 3, none: 6, proven: 7 }[row.state];
  return fault && rank > 4 ? { rank: 4, group: fault } : { rank, group: row.reason || GROUPS.none };
}
