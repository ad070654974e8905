import type { BreakerReason } from '../lib/fleet/alarms.ts';
import { type FleetNode, isExposed, isFailing, isLabelled, isRebooted } from '../lib/fleet/objects.ts';
import type { Observed } from './informers.ts';
import type { FleetTimeouts } from './settings.ts';

/** A monotonic clock and the wall clock, milliseconds. */
export type Clock = { readonly nowMs: number; readonly wallMs: number };

/** Each withdrawal doubles its node's timeout for this long. */
export const DAMPING_MS = 21_600_000;
const MAX_DAMPED_MS = 1_800_000;
/** Withdrawals within {@link DAMPING_MS} that count as flapping. */
const FLAPPING = 2;

/** An agent in a crash loop returns within five minutes, so that its label stays from the third time on. */
function timeoutAfter(withdrawals: number, { agentTimeoutMs }: FleetTimeouts): number {
  return Math.max(agentTimeoutMs, Math.min(agentTimeoutMs * 2 ** withdrawals, MAX_DAMPED_MS));
}

/** Pulling an image takes minutes. */
const ROLLOUT_TIMEOUT_MS = 900_000;

/** An agent that can write does so within a second, and is never raced. */
const REFUTED_MS = 30_000;

/**
 * How long a node has been in a state, as far as that was seen. Time in which it was not seen does not count,
 * and ends nothing: a node, a watch or a clock that flaps would keep a label for ever.
 */
type Spell = {
  readonly ms: number;
  /** The part in which the circuit breaker was open. It does not count once that closes. */
  readonly pausedMs: number;
};

const NO_SPELL: Spell = { ms: 0, pausedMs: 0 };

/** Labelled or failing, without a living agent. */
type Lost = {
  readonly node: FleetNode;
  /**
   * Whether the breaker counts it: after a third of its timeout, so that the breaker opens before the first
   * of many is due.
   */
  readonly isCounted: boolean;
  /** Whether its timeout has passed. */
  readonly isDue: boolean;
};

/** Besides the state of the cluster. */
type BreakerInput = {
  /** Those {@link Lost} nodes that count. */
  readonly counted: ReadonlySet<FleetNode>;
  readonly goneSinceMs: Memory['goneSinceMs'];
  readonly away: boolean;
  readonly nowMs: number;
  readonly windowMs: number;
};

/** Every reason to withdraw nothing now. */
function breakerReasons(observed: Observed, input: BreakerInput): readonly BreakerReason[] {
  const tooMany = areTooMany(observed, input);
  const reasons: readonly (readonly [BreakerReason, boolean])[] = [
    ['ApiServerAway', input.away],
    ['AgentsGone', observed.watchesUpSinceMs !== undefined && observed.agents === undefined],
    ['TooManyLost', tooMany],
    ['TooFewLeft', !tooMany && areTooFewLeft(observed, input)],
  ];
  return reasons.filter(([, holds]) => holds).map(([reason]) => reason);
}

/** Revisions that run, and when the rollout counts as over, monotonic. */
type Rollout = {
  readonly revisions: readonly string[];
  readonly untilMs: number;
  /** The last Ready pod, by node name. */
  readonly readyPods: ReadonlyMap<string, string>;
};

/**
 * Lasts while the newest spec is unobserved or several revisions run on Ready nodes, and for the recovery
 * delay, in which the last agents become Ready.
 */
function trackRollout(
  { agents, pods, nodes }: Observed,
  last: Rollout | undefined,
  { nowMs, recoveryMs }: { readonly nowMs: number; readonly recoveryMs: number },
): Rollout {
  const names = new Set(nodes.map(({ name }) => name));
  const readyPods = new Map([...(last?.readyPods ?? [])].filter(([node]) => names.has(node)));
  for (const { node, name, ready } of pods) if (ready) readyPods.set(node, name);
  const ready = new Set(nodes.filter((node) => node.ready).map(({ name }) => name));
  const running = pods.filter(({ node, revision }) => revision !== '' && ready.has(node));
  const revisions = [...new Set(running.map(({ revision }) => revision))];
  const [revision] = revisions;
  const untilMs = last?.untilMs ?? Number.NEGATIVE_INFINITY;
  if (revision === undefined) return { revisions: last?.revisions ?? [], untilMs, readyPods };
  const isNew = last !== undefined && last.revisions.length > 0 && !last.revisions.includes(revision);
  const rolling = agents?.observed === false || revisions.length > 1 || isNew;
  return { revisions, untilMs: rolling ? nowMs + recoveryMs : untilMs, readyPods };
}

/**
 * Nodes without a pod, or with one that was never Ready. A pod that was Ready and is not now was lost for
 * another reason.
 */
function replacedNodes({ nodes, pods }: Observed, { readyPods }: Rollout): ReadonlySet<string> {
  const kept = new Set(pods.filter(({ node, name }) => readyPods.get(node) === name).map(({ node }) => node));
  return new Set(nodes.map(({ name }) => name).filter((name) => !kept.has(name)));
}

/** Share of the labelled nodes that may lose the label within the window. */
const WINDOW_SHARE = 0.2;

function areTooMany(
  { nodes, withdrawn }: Observed,
  { counted, goneSinceMs, nowMs, windowMs }: BreakerInput,
): boolean {
  const gone = new Set([...counted].map(({ uid }) => uid));
  for (const [uid, times] of withdrawn) if (times.some((atMs) => nowMs - atMs < windowMs)) gone.add(uid);
  for (const { uid } of nodes.filter(wasLost))
    if (nowMs - (goneSinceMs.get(uid) ?? Number.NEGATIVE_INFINITY) <= windowMs) gone.add(uid);
  const labelled = new Set(nodes.filter(isLabelled).map(({ uid }) => uid));
  return gone.size > Math.max(1, Math.floor(WINDOW_SHARE * new Set([...labelled, ...gone]).size));
}

/** The share that may be without agent and label at the same time, however slowly they lost them. */
const FLOOR_SHARE = 1 / 3;

function areTooFewLeft({ nodes, readyAgents, living }: Observed, { counted }: BreakerInput): boolean {
  const due = counted.size;
  const isGone = (node: FleetNode) =>
    (wasLost(node) || mayBeLost(node)) && !readyAgents.has(node.name) && !living.has(node.name);
  const gone = nodes.filter(isGone).length;
  const labelled = nodes.filter(isLabelled).length;
  return due > 0 && gone + due > Math.max(1, Math.floor(FLOOR_SHARE * (labelled + gone)));
}

/**
 * By any controller, not only a failure. A kubelet can forge the condition, but not the label that a
 * withdrawal leaves.
 */
function wasLost({ label, failedBoot, verdict }: FleetNode): boolean {
  return label === 'false' && failedBoot === '' && verdict?.reason === 'AgentLost';
}

/**
 * A withdrawal of additional handlers alone leaves no trace in the condition; an agent may have made it as
 * well.
 */
function mayBeLost(node: FleetNode): boolean {
  return node.expected === true && !isLabelled(node) && node.handlers.length > 0;
}

/**
 * Only labels that went within the window. A Node's own time counts once in {@link DAMPING_MS}, because its
 * kubelet can write a new one at any moment.
 */
function trackGone(
  nodes: readonly FleetNode[],
  last: Memory['goneSinceMs'] | undefined,
  { clock: { nowMs, wallMs }, windowMs }: { readonly clock: Clock; readonly windowMs: number },
): Memory['goneSinceMs'] {
  return new Map(
    nodes.flatMap((node) => {
      const { uid, verdict } = node;
      const known = last?.get(uid);
      if (known !== undefined && nowMs - known < DAMPING_MS) return [[uid, known] as const];
      const agoMs = wallMs - Date.parse(verdict?.since ?? '');
      // Another controller's clock may be ahead.
      const isRecent = wasLost(node) && Math.abs(agoMs) <= windowMs;
      return isRecent ? [[uid, nowMs - Math.max(agoMs, 0)] as const] : [];
    }),
  );
}

/** Carried from one decision to the next; times are monotonic. */
export type Memory = {
  readonly clock: Clock;
  /** In which each node had no agent, by uid. */
  readonly lostFor: ReadonlyMap<string, Spell>;
  /** In which the agent of each node refuted what its Node says, by uid. */
  readonly refutedFor: ReadonlyMap<string, Spell>;
  /** When each label went that any controller may have withdrawn, by uid. */
  readonly goneSinceMs: ReadonlyMap<string, number>;
  /** When all watches were last up. */
  readonly watchesUpAtMs?: number;
  /** When the recovery delay after an outage of the API server ends. */
  readonly recoversAtMs: number;
  readonly rollout: Rollout;
  readonly breaker: readonly BreakerReason[];
};

export type Decision = Readonly<ReturnType<typeof decide>>;

/** Time between two decisions, milliseconds. */
export const TICK_MS = 2_000;
/** A longer gap, or a jump of the wall clock, means that this process was suspended. */
const JUMP_MS = 10_000;
/** A shorter interruption is a routine renewal. */
const AWAY_MS = 10_000;

/**
 * Rebooted nodes always lose their labels, those of lost agents only while the circuit breaker is closed. It
 * does not hold what an agent refutes, except after an outage of the API server: an agent that looked at gVisor
 * and cannot write is not lost. Failures of lost agents always go, since no pod needs them.
 */
export function decide(observed: Observed, last: Memory | undefined, clock: Clock, timeouts: FleetTimeouts) {
  const { nowMs } = clock;
  const { watchesUpSinceMs } = observed;
  const recoversAtMs = recoversAt(observed, last, timeouts);
  const { nodes, readyAgents, living, refuted } = observed;
  const passed = passedIn(last, observed, clock);
  const isPresent = ({ name }: FleetNode) => readyAgents.has(name);
  const lostFor = spellsOf(nodes, last?.lostFor, {
    passed,
    begins: (node) => !isPresent(node),
    ends: isPresent,
    counts: ({ name }) => !living.has(name),
  });
  const refutes = ({ name }: FleetNode) => refuted.get(name) === true;
  const refutedFor = spellsOf(nodes, last?.refutedFor, {
    passed,
    begins: refutes,
    ends: ({ name }) => refuted.get(name) === false,
    counts: refutes,
  });
  const away = watchesUpSinceMs === undefined ? last?.watchesUpAtMs !== undefined : nowMs < recoversAtMs;
  const rollout = trackRollout(observed, last?.rollout, { nowMs, recoveryMs: timeouts.recoveryMs });
  const rolling = nowMs < rollout.untilMs;
  const replaced = rolling ? replacedNodes(observed, rollout) : new Set<string>();
  const withdrawals = ({ uid }: FleetNode) => observed.withdrawn.get(uid)?.length ?? 0;
  const timeoutOf = (node: FleetNode) => {
    const timeoutMs = timeoutAfter(withdrawals(node), timeouts);
    return replaced.has(node.name) ? Math.max(timeoutMs, ROLLOUT_TIMEOUT_MS) : timeoutMs;
  };
  const lost = lostNodes(observed, { lostFor, clock, timeouts, timeoutOf });
  const { windowMs } = timeouts;
  const goneSinceMs = trackGone(observed.nodes, last?.goneSinceMs, { clock, windowMs });
  const counted = new Set(lost.filter(({ isCounted }) => isCounted).map(({ node }) => node));
  const breaker = breakerReasons(observed, { counted, goneSinceMs, away, nowMs, windowMs });
  const closed = breaker.length === 0 && (last?.breaker.length ?? 0) > 0;
  const due = lost.filter(({ isDue }) => isDue).map(({ node }) => node);
  const refutedDue = nodes
    .filter((node) => node.ready && refutes(node) && (refutedFor.get(node.uid)?.ms ?? 0) >= REFUTED_MS)
    .map(({ name }) => name);
  const isSeeing = watchesUpSinceMs !== undefined && !away;
  const isAllowed = breaker.length === 0 && !closed && isSeeing;
  const watchesUpAtMs = watchesUpSinceMs === undefined ? last?.watchesUpAtMs : nowMs;
  const memory: Memory = {
    clock,
    lostFor: closed ? withoutPauses(lostFor) : lostFor,
    refutedFor,
    goneSinceMs,
    ...(watchesUpAtMs === undefined ? {} : { watchesUpAtMs }),
    recoversAtMs,
    rollout,
    breaker,
  };
  return {
    memory,
    /** Names to withdraw from once a live read confirms it, and the least time without a Ready agent. */
    withdraw: new Map(
      due.filter((node) => isAllowed || isFailing(node)).map((node) => [node.name, timeoutOf(node)] as const),
    ),
    /** Names to withdraw from once their agents refute them again. */
    refuted: isSeeing ? refutedDue : [],
    /** Names with a label or failure of an earlier boot; the circuit breaker does not apply. */
    rebooted: observed.nodes.filter(isRebooted).map(({ name }) => name),
    /** Names to taint until an agent proves them again. */
    exposed: observed.nodes.filter(isExposed).map(({ name }) => name),
    /** Names whose labels would be withdrawn. */
    paused: [
      ...new Set([
        ...(isAllowed ? [] : due.filter(isLabelled).map(({ name }) => name)),
        ...(isSeeing ? [] : refutedDue),
      ]),
    ],
    /** Whether the API server is away, or was until a moment ago. */
    away,
    /** Empty while the circuit breaker is closed. */
    breaker,
    /** Whether a rollout is replacing the agents. */
    rolling,
    /** Names of the nodes whose agent flaps. */
    damped: observed.nodes.filter((node) => withdrawals(node) >= FLAPPING).map(({ name }) => name),
  };
}

function hasJumped(last: Clock, { nowMs, wallMs }: Clock): boolean {
  const passedMs = nowMs - last.nowMs;
  return passedMs > JUMP_MS || Math.abs(wallMs - last.wallMs - passedMs) > JUMP_MS;
}

function recoversAt(
  { watchesUpSinceMs }: Observed,
  last: Memory | undefined,
  { recoveryMs }: FleetTimeouts,
): number {
  const { watchesUpAtMs, recoversAtMs = Number.NEGATIVE_INFINITY } = last ?? {};
  if (watchesUpSinceMs === undefined || watchesUpAtMs === undefined) return recoversAtMs;
  return watchesUpSinceMs - watchesUpAtMs < AWAY_MS ? recoversAtMs : watchesUpSinceMs + recoveryMs;
}

/** Since the last decision, and whether the circuit breaker was open then. */
type Passed = { readonly ms: number; readonly isPaused: boolean };

/** Time in which this process was suspended, or a watch down, was not seen. */
function passedIn(last: Memory | undefined, { watchesUpSinceMs }: Observed, clock: Clock): Passed {
  const isPaused = (last?.breaker.length ?? 0) > 0;
  if (last === undefined || watchesUpSinceMs === undefined || hasJumped(last.clock, clock))
    return { ms: 0, isPaused };
  return { ms: Math.max(clock.nowMs - Math.max(last.clock.nowMs, watchesUpSinceMs), 0), isPaused };
}

type SpellOptions = {
  readonly passed: Passed;
  readonly begins: (node: FleetNode) => boolean;
  readonly ends: (node: FleetNode) => boolean;
  /** Whether the time since the last decision counts. */
  readonly counts: (node: FleetNode) => boolean;
};

/** By uid. Only time on Ready nodes counts: a kubelet that is away says nothing of its pods. */
function spellsOf(
  nodes: readonly FleetNode[],
  last: ReadonlyMap<string, Spell> | undefined,
  { passed, begins, ends, counts }: SpellOptions,
): ReadonlyMap<string, Spell> {
  return new Map(
    nodes.flatMap((node) => {
      const known = last?.get(node.uid);
      if (ends(node) || (known === undefined && !(node.ready && begins(node)))) return [];
      if (known === undefined) return [[node.uid, NO_SPELL] as const];
      const ms = node.ready && counts(node) ? passed.ms : 0;
      const spell = { ms: known.ms + ms, pausedMs: known.pausedMs + (passed.isPaused ? ms : 0) };
      return [[node.uid, spell] as const];
    }),
  );
}

function withoutPauses(spells: ReadonlyMap<string, Spell>): ReadonlyMap<string, Spell> {
  return new Map([...spells].map(([uid, { ms, pausedMs }]) => [uid, { ms: ms - pausedMs, pausedMs: 0 }]));
}

type Timers = Pick<Memory, 'lostFor'> & {
  readonly clock: Clock;
  readonly timeouts: FleetTimeouts;
  readonly timeoutOf: (node: FleetNode) => number;
};

function lostNodes(
  { nodes, living }: Observed,
  { lostFor, clock, timeouts, timeoutOf }: Timers,
): readonly Lost[] {
  return nodes.flatMap((node) => {
    const spell = lostFor.get(node.uid);
    if (spell === undefined || !node.ready || living.has(node.name)) return [];
    if (!isLabelled(node) && !isFailing(node)) return [];
    // Without an agent for so long a node is old enough, whatever this controller's clock says.
    const ageMs = Math.max(clock.wallMs - node.createdAtMs || 0, spell.ms);
    if (ageMs < timeouts.nodeAgeMs) return [];
    const isCounted = isLabelled(node) && spell.ms >= timeouts.agentTimeoutMs / 3;
    return { node, isCounted, isDue: spell.ms >= timeoutOf(node) };
  });
}
