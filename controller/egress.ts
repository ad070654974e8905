import type { V1ContainerState, V1Pod } from '@kubernetes/client-node';
import { controllerOf, type FleetNode, isPodReady } from '../lib/fleet/objects.ts';
import type { EgressVerdict } from '../lib/fleet/view.ts';
import {
  type EgressMessage,
  MAX_TARGETS,
  TARGET_NAME,
  type TriedTarget,
} from '../lib/report/egress-message.ts';
import { absentOr, count, list, matching, number, object, oneOf } from '../lib/report/schema.ts';

/** Of the component egress, in a namespace of its own. */
export const EGRESS_SELECTOR = 'app.kubernetes.io/component=egress';

/** The containers of its pods. */
const [START, WATCH] = ['start', 'watch'];

const isMessage = object<EgressMessage>({
  schema: oneOf([1]),
  sandboxMs: absentOr(number),
  processMs: number,
  forMs: number,
  targets: list(
    object<TriedTarget>({
      name: matching(TARGET_NAME),
      tries: count,
      open: absentOr(object({ fromMs: number, untilMs: number })),
    }),
    MAX_TARGETS,
  ),
});

/** Undefined for anything else: the node's kubelet may have written it. */
function parseMessage(text: string | undefined): EgressMessage | undefined {
  try {
    const message: unknown = JSON.parse(text ?? '');
    return isMessage(message) && message.targets.length > 0 ? message : undefined;
  } catch {
    return undefined;
  }
}

export type EgressPod = Readonly<NonNullable<ReturnType<typeof egressPodOf>>>;

/** Undefined without a node, and for a pod that no DaemonSet controls, as a kubelet can create it. */
export function egressPodOf({ metadata, spec, status }: V1Pod) {
  const { nodeName: node } = spec ?? {};
  if (node === undefined || metadata?.deletionTimestamp !== undefined) return undefined;
  if (controllerOf(metadata)?.kind !== 'DaemonSet') return undefined;
  const start = status?.initContainerStatuses?.find(({ name }) => name === START)?.state?.terminated;
  const { state, lastState } = status?.containerStatuses?.find(({ name }) => name === WATCH) ?? {};
  const ready = isPodReady(status);
  return {
    node,
    ready,
    hostNetwork: spec?.hostNetwork ?? false,
    /** The end of the first container of its present sandbox; absent before. */
    ...(start && { start: startOf(start) }),
    /** Open when its second container last ended, unless all was closed since. */
    open: ready ? [] : openIn(parseMessage((state?.terminated ?? lastState?.terminated)?.message)),
  };
}

type Terminated = NonNullable<V1ContainerState['terminated']>;
type Open = { readonly name: string; readonly ms?: number };

/** `tried` if each target was tried to the end, at least once. */
function startOf({ containerID = '', message: text }: Terminated) {
  const message = parseMessage(text);
  const tried = message?.targets.every(({ tries }) => tries > 0) ?? false;
  return { id: containerID, tried, open: openIn(message) };
}

function openIn(message: EgressMessage | undefined): readonly Open[] {
  return (message?.targets ?? []).flatMap(({ name, open }) =>
    open === undefined ? [] : [{ name, ms: open.untilMs - open.fromMs }],
  );
}

/** When a container of that start was first seen to have ended. */
type Start = NonNullable<EgressPod['start']> & { readonly atMs: number };

/** Knowledge of a node's egress since this process first saw the node in its present boot. Times are monotonic. */
export type EgressMemory = {
  readonly boot: string;
  readonly sinceMs: number;
  /** When all was closed last. */
  readonly closedMs: number;
  /** When a target was open last, after a start. */
  readonly openMs: number;
  /** The last two, the latest first. */
  readonly starts: readonly Start[];
};

/** By name of the node. `pods` is undefined without sight of them: then nothing is learnt. */
export function rememberEgress(
  { nodes, pods }: { readonly nodes: readonly FleetNode[]; readonly pods: PodsByNode | undefined },
  last: ReadonlyMap<string, EgressMemory>,
  nowMs: number,
): ReadonlyMap<string, EgressMemory> {
  return new Map(
    nodes.map(({ name, boot }) => {
      const known = last.get(name);
      const memory = known?.boot === boot ? known : newMemory(boot, nowMs);
      const own = pods?.get(name) ?? [];
      return [name, own.reduce((before, pod) => addPod(before, pod, nowMs), memory)];
    }),
  );
}

export type PodsByNode = ReadonlyMap<string, readonly EgressPod[]>;

function newMemory(boot: string, nowMs: number): EgressMemory {
  return { boot, sinceMs: nowMs, closedMs: nowMs, openMs: Number.NEGATIVE_INFINITY, starts: [] };
}

function addPod(memory: EgressMemory, { ready, start, open, hostNetwork }: EgressPod, nowMs: number) {
  if (hostNetwork) return memory;
  const isNew = start !== undefined && start.id !== '' && memory.starts.every(({ id }) => id !== start.id);
  const starts = isNew
    ? [{ ...start, atMs: nowMs }, ...memory.starts].slice(0, CONFIRMATIONS)
    : memory.starts;
  const closedMs = ready ? nowMs : memory.closedMs;
  return { ...memory, starts, closedMs, openMs: open.length > 0 ? nowMs : memory.openMs };
}

/** New sandboxes in which all was closed, one after the other. */
const CONFIRMATIONS = 2;
/** Its kubelet starts another sandbox every ten minutes, and may pull an image before. */
const MAX_START_AGE_MS = 1_200_000;
const MAX_SILENCE_MS = 300_000;
/** In which a controller that started sees as many sandboxes as it needs. */
const GRACE_MS = 1_500_000;

/** Only evidence of an answer is "open"; all that is missing is "unknown". */
export function judgeEgress(node: FleetNode, { pods, memory, nowMs }: JudgeInput): EgressVerdict {
  const { sinceMs, closedMs, openMs, starts } = memory;
  const [latest] = starts;
  const unknown = (why: string): EgressVerdict => ({ state: 'unknown', why, waits: false });
  if (node.label !== 'true') return unknown('gVisor is not proven here');
  const openNow = pods.flatMap(({ open }) => open).map(({ name }) => ({ name }));
  if (openNow.length > 0) return { state: 'open', targets: openNow };
  if (latest !== undefined && latest.open.length > 0) return { state: 'open', targets: latest.open };
  if (pods.some(({ hostNetwork }) => hostNetwork)) return unknown("its canary has the node's network");
  if (nowMs - closedMs > MAX_SILENCE_MS)
    return unknown(pods.length === 0 ? 'no canary runs here' : 'its canary is not Ready');
  if (latest !== undefined && nowMs - latest.atMs > MAX_START_AGE_MS)
    return unknown('its canary made no new sandbox in time');
  if (latest?.tried === false) return unknown('its canary could not try each target');
  const confirmed = starts.filter(({ tried, open, atMs }) => tried && open.length === 0 && atMs > openMs);
  if (confirmed.length >= CONFIRMATIONS) return { state: 'closed' };
  const why = `closed in ${confirmed.length} of ${CONFIRMATIONS} new sandboxes`;
  return { state: 'unknown', why, waits: nowMs - sinceMs < GRACE_MS };
}

type JudgeInput = {
  /** Of this node. */
  readonly pods: readonly EgressPod[];
  readonly memory: EgressMemory;
  readonly nowMs: number;
};

/**
 * The value that the label must get; undefined if it is right. Nothing is labelled before it was open or closed. While the
 * circuit breaker is open only an open node is labelled: an answer is certain, everything else waits as other labels do.
 */
export function egressLabelFor(
  { egress }: FleetNode,
  verdict: EgressVerdict,
  isBreakerOpen: boolean,
): 'true' | 'false' | undefined {
  if (verdict.state === 'open') return egress === 'false' ? undefined : 'false';
  if (isBreakerOpen) return undefined;
  if (verdict.state === 'closed') return egress === 'true' ? undefined : 'true';
  return egress === 'true' && !verdict.waits ? 'false' : undefined;
}
