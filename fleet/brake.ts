import type { FleetNode } from './node.ts';
import type { Clock, Patience, Seen } from './seen.ts';

/** Why no label is withdrawn now, and what it means. */
export const BRAKE_REASONS = {
  ApiServerAway: 'The API server was away, so what is known of agents may be old.',
  AgentsGone: 'There is no DaemonSet of the agents.',
  RollingOut: 'The agents are being replaced by those of another revision.',
  TooManyLost: 'More labelled nodes lost their agents at once than may lose the label.',
} as const;

/** A reason for the brake. */
export type BrakeReason = keyof typeof BRAKE_REASONS;

/** A labelled node without an agent, and for how many milliseconds. */
export type Lost = { readonly node: FleetNode; readonly forMs: number };

/** What the brake judges besides what is seen. */
type Judged = {
  readonly lost: readonly Lost[];
  readonly away: boolean;
  readonly rolling: boolean;
  readonly clock: Clock;
  readonly patience: Patience;
};

/** All that speaks against a withdrawal now. */
export function brakeReasons(seen: Seen, judged: Judged): readonly BrakeReason[] {
  const reasons: readonly (readonly [BrakeReason, boolean])[] = [
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
  { agents, pods, nodes }: Seen,
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
function areTooMany({ nodes, withdrawn }: Seen, { lost, clock, patience }: Judged): boolean {
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
