import type { Observed } from '../lib/fleet/informers.ts';
import {
  COUNTED,
  type FleetNode,
  isExposed,
  isFailing,
  isLabelled,
  isRebooted,
} from '../lib/fleet/objects.ts';
import type { FleetTimeouts } from '../lib/fleet/settings.ts';
import type { BreakerReason } from '../lib/fleet/view.ts';

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

/** In two readings at least: an agent that can write withdraws within a second, and is never raced. */
const REFUTED_MS = 30_000;

/** Labelled or failing without a Ready agent, or labelled with one that refutes it. */
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

function areTooFewLeft({ nodes, readyAgents }: Observed, { counted }: BreakerInput): boolean {
  const due = counted.size;
  const isGone = (node: FleetNode) =>
    node.verdict?.reason === 'AgentCannotWrite'
      ? wasLost(node)
      : (wasLost(node) || mayBeLost(node)) && !readyAgents.has(node.name);
  const gone = nodes.filter(isGone).length;
  const labelled = nodes.filter(isLabelled).length;
  return due > 0 && gone + due > Math.max(1, Math.floor(FLOOR_SHARE * (labelled + gone)));
}

/**
 * By any controller, not only a failure. A kubelet can forge the condition, but not the label that a
 * withdrawal leaves.
 */
function wasLost({ label, failedBoot, verdict }: FleetNode): boolean {
  return label === 'false' && failedBoot === '' && COUNTED.includes(verdict?.reason ?? '');
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
  /** No timer starts before this. */
  readonly timersFromMs: number;
  /** When each Ready node lost its Ready agent, by uid. */
  readonly agentLostSinceMs: ReadonlyMap<string, number>;
  /** When the agent of each Ready node began to refute its label, by uid. */
  readonly refutedSinceMs: ReadonlyMap<string, number>;
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
/** After a longer gap or jump of the wall clock all timers restart. */
const JUMP_MS = 10_000;
/** A shorter interruption is a routine renewal. */
const AWAY_MS = 10_000;

/**
 * Rebooted nodes always lose their labels; those of lost or refuting agents only while the circuit breaker is
 * closed. Failures of lost agents always go, since no pod needs them.
 */
export function decide(observed: Observed, last: Memory | undefined, clock: Clock, timeouts: FleetTimeouts) {
  const { nowMs } = clock;
  const { watchesUpSinceMs } = observed;
  const recoversAtMs = recoversAt(observed, last, timeouts);
  const timersFromMs = Math.max(
    last === undefined || hasJumped(last.clock, clock) ? nowMs : last.timersFromMs,
    watchesUpSinceMs ?? nowMs,
  );
  const { readyAgents, refutedMs } = observed;
  const since = (known: ReadonlyMap<string, number> | undefined, holds: (name: string) => boolean) =>
    new Map(
      observed.nodes
        .filter(({ ready, name }) => ready && holds(name))
        .map(({ uid }) => [uid, known?.get(uid) ?? nowMs]),
    );
  const agentLostSinceMs = since(last?.agentLostSinceMs, (name) => !readyAgents.has(name));
  const refutedSinceMs = since(last?.refutedSinceMs, (name) => refutedMs.has(name));
  const away = watchesUpSinceMs === undefined ? last?.watchesUpAtMs !== undefined : nowMs < recoversAtMs;
  const rollout = trackRollout(observed, last?.rollout, { nowMs, recoveryMs: timeouts.recoveryMs });
  const rolling = nowMs < rollout.untilMs;
  const replaced = rolling ? replacedNodes(observed, rollout) : new Set<string>();
  const withdrawals = ({ uid }: FleetNode) => observed.withdrawn.get(uid)?.length ?? 0;
  const timeoutOf = (node: FleetNode) => {
    const timeoutMs = timeoutAfter(withdrawals(node), timeouts);
    return replaced.has(node.name) ? Math.max(timeoutMs, ROLLOUT_TIMEOUT_MS) : timeoutMs;
  };
  const timers = { agentLostSinceMs, refutedSinceMs, timersFromMs, clock, timeouts, timeoutOf };
  const lost = lostNodes(observed.nodes, timers);
  const refuted = refutedNodes(observed, timers);
  const { windowMs } = timeouts;
  const goneSinceMs = trackGone(observed.nodes, last?.goneSinceMs, { clock, windowMs });
  const counted = new Set([...lost, ...refuted].filter(({ isCounted }) => isCounted).map(({ node }) => node));
  const breaker = breakerReasons(observed, { counted, goneSinceMs, away, nowMs, windowMs });
  const closed = breaker.length === 0 && (last?.breaker.length ?? 0) > 0;
  const due = lost.filter(({ isDue }) => isDue).map(({ node }) => node);
  const refutedDue = refuted.flatMap(({ node, isDue }) => (isDue ? [node.name] : []));
  const isAllowed = breaker.length === 0 && !closed && watchesUpSinceMs !== undefined;
  const watchesUpAtMs = watchesUpSinceMs === undefined ? last?.watchesUpAtMs : nowMs;
  const memory: Memory = {
    clock,
    timersFromMs: closed ? nowMs : timersFromMs,
    agentLostSinceMs,
    refutedSinceMs,
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
    /** Names to withdraw from once their agents refute the labels again. */
    refuted: isAllowed ? refutedDue : [],
    /** Names with a label or failure of an earlier boot; the circuit breaker does not apply. */
    rebooted: observed.nodes.filter(isRebooted).map(({ name }) => name),
    /** Names to taint until an agent proves them again. */
    exposed: observed.nodes.filter(isExposed).map(({ name }) => name),
    /** Names whose labels would be withdrawn. */
    paused: isAllowed ? [] : [...new Set([...due.filter(isLabelled).map(({ name }) => name), ...refutedDue])],
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

type Timers = Pick<Memory, 'agentLostSinceMs' | 'refutedSinceMs' | 'timersFromMs'> & {
  readonly clock: Clock;
  readonly timeouts: FleetTimeouts;
  readonly timeoutOf: (node: FleetNode) => number;
};

function lostNodes(
  nodes: readonly FleetNode[],
  { agentLostSinceMs, timersFromMs, clock, timeouts, timeoutOf }: Timers,
): readonly Lost[] {
  return nodes.flatMap((node) => {
    const sinceMs = agentLostSinceMs.get(node.uid);
    if (sinceMs === undefined || !(isLabelled(node) || isFailing(node))) return [];
    if (!(clock.wallMs - node.createdAtMs >= timeouts.nodeAgeMs)) return [];
    const forMs = clock.nowMs - Math.max(sinceMs, timersFromMs);
    const isCounted = isLabelled(node) && forMs >= timeouts.agentTimeoutMs / 3;
    return { node, isCounted, isDue: forMs >= timeoutOf(node) };
  });
}

function refutedNodes(
  { nodes, refutedMs }: Observed,
  { refutedSinceMs, timersFromMs, clock }: Timers,
): readonly Lost[] {
  return nodes.flatMap((node) => {
    const [sinceMs, readMs] = [refutedSinceMs.get(node.uid), refutedMs.get(node.name)];
    if (sinceMs === undefined || readMs === undefined) return [];
    const fromMs = Math.max(sinceMs, timersFromMs);
    const isCounted = clock.nowMs - fromMs >= REFUTED_MS / 3;
    return { node, isCounted, isDue: readMs - fromMs >= REFUTED_MS };
  });
}
