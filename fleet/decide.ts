import { type BrakeReason, brakeReasons, followRollout, type Lost, type Rollout } from './brake.ts';
import { type FleetNode, isExposed, isRebooted } from './node.ts';
import type { Clock, Patience, Seen } from './seen.ts';

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
  readonly brake: readonly BrakeReason[];
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
  readonly held: readonly string[];
  /** Why nothing is withdrawn; empty when nothing holds. */
  readonly brake: readonly BrakeReason[];
};

/** Time between two decisions, milliseconds. */
export const TICK_MS = 2_000;
/** A decision that comes so late, or clocks that differ by so much, leave unknown what has happened meanwhile. */
const JUMP_MS = 10_000;
/** A watch that came back sooner was renewed, and nobody was away. */
const AWAY_MS = 10_000;

/** Decides which nodes lose their label: those that rebooted, and those whose agent is gone unless the brake is on. */
export function decide(seen: Seen, last: Memory | undefined, clock: Clock, patience: Patience): Decision {
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
  const brake = brakeReasons(seen, { lost, away, rolling, clock, patience });
  const lifted = brake.length === 0 && (last?.brake.length ?? 0) > 0;
  const due = lost.filter(({ forMs }) => forMs >= patience.goneMs).map(({ node }) => node.name);
  const free = brake.length === 0 && !lifted && followedSinceMs !== undefined;
  const followedAtMs = followedSinceMs === undefined ? last?.followedAtMs : nowMs;
  return {
    memory: {
      clock,
      countFromMs: lifted ? nowMs : countFromMs,
      aloneSinceMs,
      ...(followedAtMs === undefined ? {} : { followedAtMs }),
      settleUntilMs,
      rollout,
      brake,
    },
    withdraw: free ? due : [],
    rebooted: seen.nodes.filter(isRebooted).map(({ name }) => name),
    exposed: seen.nodes.filter(isExposed).map(({ name }) => name),
    held: free ? [] : due,
    brake,
  };
}

/** Whether time passed unseen, or the wall clock was set. */
function hasJumped(last: Clock, { nowMs, wallMs }: Clock): boolean {
  const passedMs = nowMs - last.nowMs;
  return passedMs > JUMP_MS || Math.abs(wallMs - last.wallMs - passedMs) > JUMP_MS;
}

function settleUntil({ followedSinceMs }: Seen, last: Memory | undefined, { settleMs }: Patience): number {
  const { followedAtMs, settleUntilMs = Number.NEGATIVE_INFINITY } = last ?? {};
  if (followedSinceMs === undefined || followedAtMs === undefined) return settleUntilMs;
  return followedSinceMs - followedAtMs < AWAY_MS ? settleUntilMs : followedSinceMs + settleMs;
}

/** Since when each node that is Ready has been without a Ready agent; others have no entry. */
function followAlone(
  { nodes, served }: Seen,
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
  readonly patience: Patience;
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
