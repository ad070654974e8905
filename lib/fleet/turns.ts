import type { V1DaemonSet, V1Pod } from '@kubernetes/client-node';
import { sanitizeLine } from '../base/sanitize.ts';
import { formatUtc } from '../base/utc.ts';
import { controllerOf, type FleetNode, firstOf, isFailing, targetOf, truncate } from './objects.ts';

/** The fleet controller, which binds the installer's pods in turn. */
export const SCHEDULER = 'gvisor-ready-fleet';

/** Selects the pods that the controller schedules. */
export const SCHEDULED = `spec.schedulerName=${SCHEDULER}`;

export type Pace = Readonly<ReturnType<typeof paceOf>>;

/** An annotation of the installer's DaemonSet: for how long a turn goes on after the installation. */
const SETTLE = 'gvisor-ready.dev/settle-seconds';

/** The pace of a DaemonSet's rolling update. */
export function paceOf({ metadata, spec, status }: V1DaemonSet) {
  const wanted = String(spec?.updateStrategy?.rollingUpdate?.maxUnavailable ?? 1);
  const share = Number.parseInt(wanted, 10) / (wanted.endsWith('%') ? 100 : 1);
  const nodes = wanted.endsWith('%') ? Math.ceil(share * (status?.desiredNumberScheduled ?? 0)) : share;
  return {
    name: metadata?.name ?? '',
    nodes: Math.max(1, nodes),
    /** How long a turn goes on after the installation. */
    settleMs: (Number(metadata?.annotations?.[SETTLE]) || 0) * 1_000,
  };
}

/** Times are milliseconds; those that the kubelet writes are of its node's clock, and decide nothing alone. */
export type InstallerPod = Readonly<NonNullable<ReturnType<typeof installerPodOf>>>;

/** A node may be compromised. */
const MAX_PROBLEM = 300;
/** Nothing is wrong with a container that waits for these. */
const BEGINNING: readonly string[] = ['PodInitializing', 'ContainerCreating'];

/** Undefined if no DaemonSet made the pod. */
export function installerPodOf({ metadata, spec, status }: V1Pod) {
  const owner = controllerOf(metadata);
  if (owner?.kind !== 'DaemonSet') return undefined;
  const condition = (wanted: string) => status?.conditions?.find(({ type }) => type === wanted);
  const sinceOf = (wanted: string) => Date.parse(String(condition(wanted)?.lastTransitionTime));
  const isDone = condition('Initialized')?.status === 'True';
  const problem = isDone && status?.phase !== 'Failed' ? '' : problemOf(status);
  return {
    name: metadata?.name ?? '',
    uid: metadata?.uid ?? '',
    daemonSet: owner.name,
    /** The node that it was made for. */
    node: targetOf(spec),
    /** The scheduler has bound it to the node. */
    bound: Boolean(spec?.nodeName),
    ending: metadata?.deletionTimestamp !== undefined,
    /** Whether it takes nothing away. */
    installs: spec?.initContainers?.some(({ args = [] }) => args.includes('install')) ?? false,
    createdAtMs: Date.parse(String(metadata?.creationTimestamp)),
    /** By the kubelet. Absent if an installation is not done. */
    ...(isDone && { doneAtMs: sinceOf('Initialized') }),
    /** Absent if it is Ready. */
    ...(condition('Ready')?.status !== 'True' && { unreadySinceMs: sinceOf('Ready') }),
    /** Why the kubelet could not begin or end an installation. */
    ...(problem !== '' && { problem }),
  };
}

function problemOf(status: V1Pod['status']): string {
  const texts = (status?.initContainerStatuses ?? []).map(({ state, lastState }) => {
    const ended = [state?.terminated, lastState?.terminated].find((each) => (each?.exitCode ?? 0) !== 0);
    if (state?.terminated?.exitCode === 0) return '';
    if (ended !== undefined) return lastLine(ended.message) || `exit code ${ended.exitCode}`;
    const { reason = '', message = '' } = state?.waiting ?? {};
    return reason === '' || BEGINNING.includes(reason) ? '' : `${reason}: ${message}`;
  });
  if (status?.phase === 'Failed') texts.push(`${status.reason}: ${status.message}`);
  return sanitizeLine(truncate(texts.find((text) => text !== '') ?? '', MAX_PROBLEM));
}

function lastLine(text = ''): string {
  return text.trim().split('\n').at(-1) ?? '';
}

/** A node that waits for its turn. */
export type Waiting = {
  readonly node: string;
  /** ISO 8601. */
  readonly since: string;
  /** For what it waits, in words. */
  readonly for: string;
};

/** Whose turn it is. */
export type Turns = {
  /** The pods whose turn begins now. */
  readonly begin: readonly InstallerPod[];
  readonly waiting: readonly Waiting[];
  /** By node name. While there is one, no turn begins. */
  readonly failed: ReadonlyMap<string, string>;
};

/** The turns in a fleet without an installer. */
export const NO_TURNS: Turns = { begin: [], waiting: [], failed: new Map() };

/** Besides the pods. */
export type TurnInputs = {
  readonly paces: readonly Pace[];
  readonly nodes: readonly FleetNode[];
  /** For how long this controller has seen that a pod's installation is done; 0 at first. */
  readonly doneForMs: (pod: InstallerPod) => number;
  /** This controller's wall clock, to tell of others that differ. */
  readonly wallMs: number;
};

/**
 * By the objects, so that a restarted or second controller decides the same, at most a settling later: as many
 * nodes at once as a DaemonSet may have unavailable, the longest waiting first, none after a failure. A node's
 * clock is compared with itself alone.
 */
export function turnsOf(
  pods: readonly InstallerPod[],
  { paces, nodes, doneForMs, wallMs }: TurnInputs,
): Turns {
  if (pods.length === 0) return NO_TURNS; // asked every two seconds, also without an installer
  const nodeOf = new Map(nodes.map((node) => [node.name, node]));
  const paceFor = new Map(paces.map((pace) => [pace.name, pace]));
  /** Nodes whose turn goes on. */
  const busy: string[] = [];
  const failed = new Map<string, string>();
  for (const pod of pods) {
    const settleMs = paceFor.get(pod.daemonSet)?.settleMs ?? 0;
    const isSettled = doneForMs(pod) >= settleMs;
    const state = turnOf(pod, { node: nodeOf.get(pod.node), settleMs, isSettled });
    if (state === 'goes on') busy.push(`${pod.node}${describeClock(pod, wallMs)}`);
    else if (state !== 'none') failed.set(pod.node, state.failure);
  }
  const queue = pods
    .filter(({ bound, ending }) => !bound && !ending)
    .sort((a, b) => a.createdAtMs - b.createdAtMs || (a.node < b.node ? -1 : 1));
  const begin: InstallerPod[] = [];
  const waiting: Waiting[] = [];
  for (const pod of queue) {
    const reason = waitsFor(pod);
    if (reason === undefined) {
      begin.push(pod);
      busy.push(pod.node);
    }
    waiting.push({
      node: pod.node,
      since: new Date(pod.createdAtMs).toISOString(),
      for: reason ?? 'the fleet controller to bind its pod',
    });
  }
  return { begin, waiting, failed };

  function waitsFor({ node, daemonSet }: InstallerPod): string | undefined {
    const [first] = failed;
    if (first !== undefined) return `${first[0]}, where it failed: ${first[1]}`;
    if (nodeOf.get(node)?.ready !== true) return 'its Node to be Ready';
    if (busy.length < (paceFor.get(daemonSet)?.nodes ?? 0)) return undefined;
    return firstOf(busy) || 'its DaemonSet';
  }
}

/** "none" before it begins, and once it has ended well. */
function turnOf(
  pod: InstallerPod,
  { node, settleMs, isSettled }: { node: FleetNode | undefined; settleMs: number; isSettled: boolean },
): 'none' | 'goes on' | { readonly failure: string } {
  if (!pod.bound) return 'none';
  // It ends its installation before it goes.
  if (pod.ending) return pod.doneAtMs === undefined ? 'goes on' : 'none';
  if (pod.problem !== undefined) return { failure: pod.problem };
  if (pod.doneAtMs === undefined) return 'goes on';
  if (!isSettled) return 'goes on';
  const endsMs = pod.doneAtMs + settleMs;
  // A later failure is not the installation's.
  if (pod.unreadySinceMs !== undefined && pod.unreadySinceMs <= endsMs)
    return { failure: 'its pod is not Ready since the installation' };
  const { status, reason = '', since = '' } = node?.verdict ?? {};
  const saidMs = Date.parse(since);
  const isUnknown = status === 'Unknown' && node?.expected !== false && saidMs >= pod.doneAtMs;
  const isBad = node !== undefined && (isFailing(node) || isUnknown);
  return pod.installs && isBad && saidMs <= endsMs ? { failure: `its agent says ${reason}` } : 'none';
}

/** No clock is exact to the second. */
const SKEW_MS = 60_000;

/** An installation is done neither before the API server had its pod nor in the future. */
function describeClock({ createdAtMs, doneAtMs = createdAtMs }: InstallerPod, wallMs: number): string {
  if (createdAtMs - doneAtMs > SKEW_MS) return ' (whose clock is behind)';
  return doneAtMs - wallMs > SKEW_MS ? ' (whose clock is ahead)' : '';
}

/** Remembers since when each pod's installation is known to be done, by one clock. */
export class DoneTimes {
  #sinceMs = new Map<string, number>();

  /** To be told of all pods that there are. */
  see(pods: readonly InstallerPod[], nowMs: number): void {
    const done = pods.filter(({ doneAtMs }) => doneAtMs !== undefined);
    this.#sinceMs = new Map(done.map(({ uid }) => [uid, this.#sinceMs.get(uid) ?? nowMs]));
  }

  doneForMs({ uid }: InstallerPod, nowMs: number): number {
    return nowMs - (this.#sinceMs.get(uid) ?? nowMs);
  }
}

/** In a line; "" if no node waits. */
export function describeWaiting(waiting: readonly Waiting[]): string {
  const [first] = waiting;
  if (first === undefined) return '';
  const others = waiting.length === 1 ? '' : ` and ${waiting.length - 1} more`;
  const verb = waiting.length === 1 ? 'waits' : 'wait';
  return `${first.node}${others} ${verb} since ${formatUtc(first.since)} for ${first.for}`;
}
