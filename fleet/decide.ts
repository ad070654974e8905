import type { AgentPod, AgentSet } from './agents.ts';
import { type FleetNode, isExposed, isRebooted } from './node.ts';

/** The times and the share that decide; durations in milliseconds. */
export type Timeouts = {
  /** How long no agent on a node was Ready before its label is withdrawn. */
  readonly goneMs: number;
  /** How old a Node must be. */
  readonly nodeAgeMs: number;
  /** The time within which withdrawals count together. */
  readonly windowMs: number;
  /** The share of the labelled nodes that may lose the label within that time. */
  readonly share: number;
  /** How long nothing is withdrawn after the API server was away. */
  readonly settleMs: number;
};

/** What the informers know now. */
export type Observed = {
  readonly nodes: readonly FleetNode[];
  readonly pods: readonly AgentPod[];
  /** Absent where there is no DaemonSet. */
  readonly agents?: AgentSet;
  /** Names of the nodes on which an agent was Ready at some moment since the last decision. */
  readonly served: ReadonlySet<string>;
  /** Since when all watches stand without a break, monotonic; absent while one does not. */
  readonly followedSinceMs?: number;
  /** Nodes whose label this controller withdrew, by uid, and when, monotonic. */
  readonly withdrawn: ReadonlyMap<string, number>;
};

/** A monotonic clock and the wall clock, milliseconds. */
export type Clock = { readonly nowMs: number; readonly wallMs: number };

/** Why no label is withdrawn now, and what it means. */
export const BREAKER_REASONS = {
  ApiServerAway: 'The API server was away, so what is known of agents may be old.',
  AgentsGone: 'There is no DaemonSet of the agents.',
  RollingOut: 'The agents are being replaced by those of another revision.',
  TooManyLost: 'More labelled nodes lost their agents at once than may lose the label.',
} as const;

/** A reason for the brake. */
export type BreakerReason = keyof typeof BREAKER_REASONS;

/** A labelled node without an agent, and for how many milliseconds. */
export type Lost = { readonly node: FleetNode; readonly forMs: number };

/** What the brake judges besides what is seen. */
type Judged = {
  readonly lost: readonly Lost[];
  readonly away: boolean;
  readonly rolling: boolean;
  readonly clock: Clock;
  readonly patience: Timeouts;
};

/** All that speaks against a withdrawal now. */
export function breakerReasons(seen: Observed, judged: Judged): readonly BreakerReason[] {
  const reasons: readonly (readonly [BreakerReason, boolean])[] = [
    ['ApiServerAway', judged.away],
    ['AgentsGone', seen.followedSinceMs !== undefined && seen.agents === undefined],
    ['RollingOut', judged.rolling],
    ['TooManyLost', areTooMany(seen, judged)],
  ];
  return reasons.filter(([, holds]) => holds).map(([reason]) => reason);
}

/** Which revisions of the agents run, and until when that counts as a rollout, monotonic milliseconds. */
export type Rollout = { readonly revisions: readonly string[]; readonly untilMs: number };

/**
 * A rollout lasts while the DaemonSet's newest spec is not seen yet, or agents of several revisions run on nodes that
 * are Ready, and a while longer, in which the last agents become Ready.
 */
export function followRollout(
  { agents, pods, nodes }: Observed,
  last: Rollout | undefined,
  { nowMs, settleMs }: { readonly nowMs: number; readonly settleMs: number },
): Rollout {
  const ready = new Set(nodes.filter((node) => node.ready).map(({ name }) => name));
  const running = pods.filter(({ node, revision }) => revision !== '' && ready.has(node));
  const revisions = [...new Set(running.map(({ revision }) => revision))];
  const [revision] = revisions;
  if (revision === undefined) return last ?? { revisions, untilMs: Number.NEGATIVE_INFINITY };
  const isNew = last !== undefined && last.revisions.length > 0 && !last.revisions.includes(revision);
  const rolling = agents?.observed === false || revisions.length > 1 || isNew;
  return { revisions, untilMs: rolling ? nowMs + settleMs : (last?.untilMs ?? Number.NEGATIVE_INFINITY) };
}

/**
 * Whether more nodes lose their agents together than may lose the label. A node counts a while before it is due, so
 * that of many that fail one after the other none is withdrawn.
 */
function areTooMany({ nodes, withdrawn }: Observed, { lost, clock, patience }: Judged): boolean {
  const { goneMs, windowMs, share } = patience;
  const gone = new Set(lost.filter(({ forMs }) => forMs >= goneMs / 3).map(({ node }) => node.uid));
  for (const [uid, atMs] of withdrawn) if (clock.nowMs - atMs < windowMs) gone.add(uid);
  for (const node of nodes) if (wasLostWithin(windowMs, node, clock.wallMs)) gone.add(node.uid);
  const labelled = new Set(nodes.filter(({ label }) => label === 'true').map(({ uid }) => uid));
  return gone.size > Math.max(1, Math.floor(share * new Set([...labelled, ...gone]).size));
}

/** Whether a controller, this or another, has withdrawn the label within this time; a kubelet may write a time to come. */
function wasLostWithin(windowMs: number, { label, verdict }: FleetNode, wallMs: number): boolean {
  // A kubelet can write the condition of its Node, but not the label that a withdrawal leaves.
  if (label !== 'false' || verdict?.reason !== 'AgentLost') return false;
  // Another controller's clock may be ahead.
  return Math.abs(wallMs - Date.parse(verdict.since)) <= windowMs;
}

/** What one decision hands on to the next; all times are monotonic. */
export type Memory = {
  readonly clock: Clock;
  /** No timer began earlier. */
  readonly countFromMs: number;
  /** Since when no agent was seen Ready on a node that is Ready, by the Node's uid. */
  readonly aloneSinceMs: ReadonlyMap<string, number>;
  /** When all watches stood last. */
  readonly followedAtMs?: number;
  /** Until when nothing is withdrawn since the API server was away. */
  readonly settleUntilMs: number;
  readonly rollout: Rollout;
  readonly breaker: readonly BreakerReason[];
};

/** What follows from what is known. */
export type Decision = {
  readonly memory: Memory;
  /** Names of the nodes whose label is to be withdrawn, once a live read says the same. */
  readonly withdraw: readonly string[];
  /** Names of the nodes whose label is of an earlier boot, which neither time nor brake holds. */
  readonly rebooted: readonly string[];
  /** Names of the nodes that are to be tainted until an agent proves them again. */
  readonly exposed: readonly string[];
  /** Names of the nodes that would be withdrawn and are held. */
  readonly paused: readonly string[];
  /** Why nothing is withdrawn; empty when nothing holds. */
  readonly breaker: readonly BreakerReason[];
};

/** Time between two decisions, milliseconds. */
export const TICK_MS = 2_000;
/** A decision that comes so late, or clocks that differ by so much, leave unknown what has happened meanwhile. */
const JUMP_MS = 10_000;
/** A watch that came back sooner was renewed, and nobody was away. */
const AWAY_MS = 10_000;

/** Decides which nodes lose their label: those that rebooted, and those whose agent is gone unless the brake is on. */
export function decide(seen: Observed, last: Memory | undefined, clock: Clock, patience: Timeouts): Decision {
  const { nowMs } = clock;
  const { followedSinceMs } = seen;
  const settleUntilMs = settleUntil(seen, last, patience);
  const countFromMs = Math.max(
    last === undefined || hasJumped(last.clock, clock) ? nowMs : last.countFromMs,
    followedSinceMs ?? nowMs,
  );
  const aloneSinceMs = followAlone(seen, last?.aloneSinceMs, nowMs);
  const lost = lostNodes(seen.nodes, { aloneSinceMs, countFromMs, clock, patience });
  const away = followedSinceMs === undefined ? last?.followedAtMs !== undefined : nowMs < settleUntilMs;
  const rollout = followRollout(seen, last?.rollout, { nowMs, settleMs: patience.settleMs });
  const rolling = nowMs < rollout.untilMs;
  const breaker = breakerReasons(seen, { lost, away, rolling, clock, patience });
  const lifted = breaker.length === 0 && (last?.breaker.length ?? 0) > 0;
  const due = lost.filter(({ forMs }) => forMs >= patience.goneMs).map(({ node }) => node.name);
  const free = breaker.length === 0 && !lifted && followedSinceMs !== undefined;
  const followedAtMs = followedSinceMs === undefined ? last?.followedAtMs : nowMs;
  return {
    memory: {
      clock,
      countFromMs: lifted ? nowMs : countFromMs,
      aloneSinceMs,
      ...(followedAtMs === undefined ? {} : { followedAtMs }),
      settleUntilMs,
      rollout,
      breaker: breaker,
    },
    withdraw: free ? due : [],
    rebooted: seen.nodes.filter(isRebooted).map(({ name }) => name),
    exposed: seen.nodes.filter(isExposed).map(({ name }) => name),
    paused: free ? [] : due,
    breaker,
  };
}

/** Whether time passed unseen, or the wall clock was set. */
function hasJumped(last: Clock, { nowMs, wallMs }: Clock): boolean {
  const passedMs = nowMs - last.nowMs;
  return passedMs > JUMP_MS || Math.abs(wallMs - last.wallMs - passedMs) > JUMP_MS;
}

function settleUntil(
  { followedSinceMs }: Observed,
  last: Memory | undefined,
  { settleMs }: Timeouts,
): number {
  const { followedAtMs, settleUntilMs = Number.NEGATIVE_INFINITY } = last ?? {};
  if (followedSinceMs === undefined || followedAtMs === undefined) return settleUntilMs;
  return followedSinceMs - followedAtMs < AWAY_MS ? settleUntilMs : followedSinceMs + settleMs;
}

/** Since when each node that is Ready has been without a Ready agent; others have no entry. */
function followAlone(
  { nodes, served }: Observed,
  last: Memory['aloneSinceMs'] | undefined,
  nowMs: number,
): ReadonlyMap<string, number> {
  return new Map(
    nodes
      .filter(({ ready, name }) => ready && !served.has(name))
      .map(({ uid }) => [uid, last?.get(uid) ?? nowMs]),
  );
}

type Timers = Pick<Memory, 'aloneSinceMs' | 'countFromMs'> & {
  readonly clock: Clock;
  readonly patience: Timeouts;
};

/** The labelled nodes that are old enough and without an agent, and for how long. */
function lostNodes(
  nodes: readonly FleetNode[],
  { aloneSinceMs, countFromMs, clock, patience }: Timers,
): readonly Lost[] {
  return nodes.flatMap((node) => {
    const sinceMs = aloneSinceMs.get(node.uid);
    if (node.label !== 'true' || sinceMs === undefined) return [];
    if (!(clock.wallMs - node.createdAtMs >= patience.nodeAgeMs)) return [];
    return { node, forMs: clock.nowMs - Math.max(sinceMs, countFromMs) };
  });
}
