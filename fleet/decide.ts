import { type AgentPod, type AgentSet, type FleetNode, isExposed, isRebooted } from './objects.ts';

/** Thresholds of {@link decide}. */
export type FleetTimeouts = {
  /** Time without a Ready agent before a node's label is withdrawn. */
  readonly agentTimeoutMs: number;
  /** Minimum age of a Node. */
  readonly nodeAgeMs: number;
  /** The circuit breaker counts withdrawals within this window. */
  readonly windowMs: number;
  /** Share of the labelled nodes that may lose the label within the window. */
  readonly share: number;
  /** How long the circuit breaker stays open after an outage of the API server or a rollout. */
  readonly recoveryMs: number;
};

/** The state of the cluster as the informers know it. */
export type Observed = {
  readonly nodes: readonly FleetNode[];
  readonly pods: readonly AgentPod[];
  /** Absent where the DaemonSet does not exist. */
  readonly agents?: AgentSet;
  /** Names of the nodes with an agent that was Ready at any time since the last decision. */
  readonly readyAgents: ReadonlySet<string>;
  /** Since when all watches have been up without interruption, monotonic; absent while one is down. */
  readonly watchesUpSinceMs?: number;
  /** When this controller withdrew each Node's label, monotonic, by uid. */
  readonly withdrawn: ReadonlyMap<string, number>;
};

/** A monotonic clock and the wall clock, milliseconds. */
export type Clock = { readonly nowMs: number; readonly wallMs: number };

/** Why the circuit breaker is open. */
export const BREAKER_REASONS = {
  ApiServerAway: 'The API server was away, so the state of the agents may be outdated.',
  AgentsGone: 'The DaemonSet of the agents does not exist.',
  RollingOut: 'A rollout is replacing the agents.',
  TooManyLost: 'Too many labelled nodes lost their agents at once.',
} as const;

export type BreakerReason = keyof typeof BREAKER_REASONS;

/** A labelled node that has been without a Ready agent for so long. */
export type Lost = { readonly node: FleetNode; readonly forMs: number };

/** Input of the circuit breaker besides the state of the cluster. */
type BreakerInput = {
  readonly lost: readonly Lost[];
  readonly away: boolean;
  readonly rolling: boolean;
  readonly clock: Clock;
  readonly timeouts: FleetTimeouts;
};

/** Every reason to withdraw nothing now. */
function breakerReasons(observed: Observed, input: BreakerInput): readonly BreakerReason[] {
  const reasons: readonly (readonly [BreakerReason, boolean])[] = [
    ['ApiServerAway', input.away],
    ['AgentsGone', observed.watchesUpSinceMs !== undefined && observed.agents === undefined],
    ['RollingOut', input.rolling],
    ['TooManyLost', areTooMany(observed, input)],
  ];
  return reasons.filter(([, holds]) => holds).map(([reason]) => reason);
}

/** Running revisions of the agents, and when the rollout counts as over, monotonic. */
type Rollout = { readonly revisions: readonly string[]; readonly untilMs: number };

/**
 * A rollout lasts while the DaemonSet's newest spec is unobserved or several revisions run on Ready nodes, and then for
 * the recovery delay, in which the last agents become Ready.
 */
function trackRollout(
  { agents, pods, nodes }: Observed,
  last: Rollout | undefined,
  { nowMs, recoveryMs }: { readonly nowMs: number; readonly recoveryMs: number },
): Rollout {
  const ready = new Set(nodes.filter((node) => node.ready).map(({ name }) => name));
  const running = pods.filter(({ node, revision }) => revision !== '' && ready.has(node));
  const revisions = [...new Set(running.map(({ revision }) => revision))];
  const [revision] = revisions;
  if (revision === undefined) return last ?? { revisions, untilMs: Number.NEGATIVE_INFINITY };
  const isNew = last !== undefined && last.revisions.length > 0 && !last.revisions.includes(revision);
  const rolling = agents?.observed === false || revisions.length > 1 || isNew;
  return { revisions, untilMs: rolling ? nowMs + recoveryMs : (last?.untilMs ?? Number.NEGATIVE_INFINITY) };
}

/**
 * Whether more nodes are without an agent than may lose the label. A node counts after a third of the timeout, so that
 * the breaker opens before the first of many failing nodes is due.
 */
function areTooMany({ nodes, withdrawn }: Observed, { lost, clock, timeouts }: BreakerInput): boolean {
  const { agentTimeoutMs, windowMs, share } = timeouts;
  const gone = new Set(lost.filter(({ forMs }) => forMs >= agentTimeoutMs / 3).map(({ node }) => node.uid));
  for (const [uid, atMs] of withdrawn) if (clock.nowMs - atMs < windowMs) gone.add(uid);
  for (const node of nodes) if (wasLostWithin(windowMs, node, clock.wallMs)) gone.add(node.uid);
  const labelled = new Set(nodes.filter(({ label }) => label === 'true').map(({ uid }) => uid));
  return gone.size > Math.max(1, Math.floor(share * new Set([...labelled, ...gone]).size));
}

/** Whether any controller withdrew the label within the window; a kubelet may forge a time in the future. */
function wasLostWithin(windowMs: number, { label, verdict }: FleetNode, wallMs: number): boolean {
  // A kubelet can forge the condition, but not the label that a withdrawal leaves.
  if (label !== 'false' || verdict?.reason !== 'AgentLost') return false;
  // Another controller's clock may be ahead.
  return Math.abs(wallMs - Date.parse(verdict.since)) <= windowMs;
}

/** State that is carried from one decision to the next; times are monotonic. */
export type Memory = {
  readonly clock: Clock;
  /** No timer starts before this. */
  readonly timersFromMs: number;
  /** Since when each Ready node has been without a Ready agent, by uid. */
  readonly agentLostSinceMs: ReadonlyMap<string, number>;
  /** When all watches were last up. */
  readonly watchesUpAtMs?: number;
  /** When the recovery delay after an outage of the API server ends. */
  readonly recoversAtMs: number;
  readonly rollout: Rollout;
  readonly breaker: readonly BreakerReason[];
};

export type Decision = {
  readonly memory: Memory;
  /** Names of the nodes whose label is to be withdrawn once a live read confirms it. */
  readonly withdraw: readonly string[];
  /** Names of the nodes whose label dates from an earlier boot; the circuit breaker does not apply to them. */
  readonly rebooted: readonly string[];
  /** Names of the nodes to taint until an agent proves them again. */
  readonly exposed: readonly string[];
  /** Names of the nodes whose withdrawal is paused. */
  readonly paused: readonly string[];
  /** Why the circuit breaker is open; empty when it is closed. */
  readonly breaker: readonly BreakerReason[];
};

/** Time between two decisions, milliseconds. */
export const TICK_MS = 2_000;
/** After a longer gap between decisions, or a larger jump of the wall clock, all timers restart. */
const JUMP_MS = 10_000;
/** A shorter interruption of a watch is a routine renewal. */
const AWAY_MS = 10_000;

/** Decides which nodes lose their label: rebooted ones, and those of lost agents unless the circuit breaker is open. */
export function decide(
  observed: Observed,
  last: Memory | undefined,
  clock: Clock,
  timeouts: FleetTimeouts,
): Decision {
  const { nowMs } = clock;
  const { watchesUpSinceMs } = observed;
  const recoversAtMs = recoversAt(observed, last, timeouts);
  const timersFromMs = Math.max(
    last === undefined || hasJumped(last.clock, clock) ? nowMs : last.timersFromMs,
    watchesUpSinceMs ?? nowMs,
  );
  const agentLostSinceMs = trackLostAgents(observed, last?.agentLostSinceMs, nowMs);
  const lost = lostNodes(observed.nodes, { agentLostSinceMs, timersFromMs, clock, timeouts });
  const away = watchesUpSinceMs === undefined ? last?.watchesUpAtMs !== undefined : nowMs < recoversAtMs;
  const rollout = trackRollout(observed, last?.rollout, { nowMs, recoveryMs: timeouts.recoveryMs });
  const rolling = nowMs < rollout.untilMs;
  const breaker = breakerReasons(observed, { lost, away, rolling, clock, timeouts });
  const closed = breaker.length === 0 && (last?.breaker.length ?? 0) > 0;
  const due = lost.filter(({ forMs }) => forMs >= timeouts.agentTimeoutMs).map(({ node }) => node.name);
  const isAllowed = breaker.length === 0 && !closed && watchesUpSinceMs !== undefined;
  const watchesUpAtMs = watchesUpSinceMs === undefined ? last?.watchesUpAtMs : nowMs;
  return {
    memory: {
      clock,
      timersFromMs: closed ? nowMs : timersFromMs,
      agentLostSinceMs,
      ...(watchesUpAtMs === undefined ? {} : { watchesUpAtMs }),
      recoversAtMs,
      rollout,
      breaker,
    },
    withdraw: isAllowed ? due : [],
    rebooted: observed.nodes.filter(isRebooted).map(({ name }) => name),
    exposed: observed.nodes.filter(isExposed).map(({ name }) => name),
    paused: isAllowed ? [] : due,
    breaker,
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

function trackLostAgents(
  { nodes, readyAgents }: Observed,
  last: Memory['agentLostSinceMs'] | undefined,
  nowMs: number,
): ReadonlyMap<string, number> {
  return new Map(
    nodes
      .filter(({ ready, name }) => ready && !readyAgents.has(name))
      .map(({ uid }) => [uid, last?.get(uid) ?? nowMs]),
  );
}

type Timers = Pick<Memory, 'agentLostSinceMs' | 'timersFromMs'> & {
  readonly clock: Clock;
  readonly timeouts: FleetTimeouts;
};

function lostNodes(
  nodes: readonly FleetNode[],
  { agentLostSinceMs, timersFromMs, clock, timeouts }: Timers,
): readonly Lost[] {
  return nodes.flatMap((node) => {
    const sinceMs = agentLostSinceMs.get(node.uid);
    if (node.label !== 'true' || sinceMs === undefined) return [];
    if (!(clock.wallMs - node.createdAtMs >= timeouts.nodeAgeMs)) return [];
    return { node, forMs: clock.nowMs - Math.max(sinceMs, timersFromMs) };
  });
}
