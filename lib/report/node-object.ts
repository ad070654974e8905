import { REASONS } from '../base/reasons.ts';
import { shortIds, truncateMiddle } from './format.ts';
import type { Verdict } from './verdict.ts';

/**
 * NodeRestriction forbids kubelets to write labels of this domain, so a stolen kubelet credential cannot forge them.
 * Source: https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#noderestriction
 */
const DOMAIN = 'gvisor.node-restriction.kubernetes.io';

/** Keys that agents write to a Node, besides the condition. The admission policy has the same list. */
export const OWN_KEYS = {
  labels: {
    ready: `${DOMAIN}/ready`,
    runscVersion: `${DOMAIN}/runsc-version`,
    platform: `${DOMAIN}/platform`,
    /** Whether gVisor supports the node's NVIDIA driver; absent without one. */
    gpu: `${DOMAIN}/gpu`,
    /** Read it with {@link isExpected}. */
    expected: `${DOMAIN}/expected`,
  },
  annotations: {
    /** Fingerprint of the agent that made the last proof. */
    provenBy: `${DOMAIN}/proven-by`,
    /** The boot of the last proof, as in `status.nodeInfo.bootID`. */
    provenBoot: `${DOMAIN}/proven-boot`,
    /** While gVisor fails, else absent; a failure of another boot says nothing of this one. */
    failedBoot: `${DOMAIN}/failed-boot`,
  },
  /** A handler's name follows; see {@link handlerKey}. */
  prefixes: {
    ready: `${DOMAIN}/ready-`,
    /** Boot ID at the handler's last proof. */
    provenBoot: `${DOMAIN}/proven-boot-`,
  },
  taint: `${DOMAIN}/not-ready`,
  /** A label that the fleet controller alone writes. */
  egressClosed: `${DOMAIN}/egress-closed`,
  /** Refused by the admission policy, to test that it is in force. */
  refused: `${DOMAIN}/unguarded`,
} as const;

export function isOwnKey(key: string): boolean {
  return key.startsWith(`${DOMAIN}/`);
}

export function handlerKey(kind: keyof typeof OWN_KEYS.prefixes, handler: string): string {
  return `${OWN_KEYS.prefixes[kind]}${handler}`;
}

/** Undefined is the main handler. */
export function keysOf(handler: string | undefined): { readonly ready: string; readonly provenBoot: string } {
  return handler === undefined
    ? { ready: OWN_KEYS.labels.ready, provenBoot: OWN_KEYS.annotations.provenBoot }
    : { ready: handlerKey('ready', handler), provenBoot: handlerKey('provenBoot', handler) };
}

/** The values by additional handler. */
export function handlerLabels({ labels }: Partial<NodeMetadata>): ReadonlyMap<string, string> {
  return byHandler(labels, OWN_KEYS.prefixes.ready);
}

export function handlersProvenOnce({ annotations }: Partial<NodeMetadata>): readonly string[] {
  return [...byHandler(annotations, OWN_KEYS.prefixes.provenBoot).keys()];
}

function byHandler(texts: Texts = {}, prefix: string): ReadonlyMap<string, string> {
  const own = Object.entries(texts).filter(([key]) => key.startsWith(prefix));
  return new Map(own.map(([key, value]) => [key.slice(prefix.length), value]));
}

export type Condition = {
  readonly type: string;
  readonly status: string;
  readonly reason: string;
  readonly message: string;
  readonly lastHeartbeatTime: string;
  readonly lastTransitionTime: string;
};

export type Taint = { readonly key: string; readonly effect: string; readonly value?: string };

export type NodeMetadata = {
  readonly name: string;
  readonly uid: string;
  readonly resourceVersion: string;
  readonly labels?: Texts;
  readonly annotations?: Texts;
};

export type NodeObject = {
  readonly metadata: NodeMetadata;
  readonly spec?: { readonly taints?: readonly Taint[] };
  readonly status?: {
    readonly conditions?: readonly Condition[];
    readonly nodeInfo?: { readonly bootID?: string };
  };
};

type Texts = Readonly<Record<string, string>>;

export const CONDITION = 'GVisorReady';

/** A part of /report: what the Node says, and why that cannot be written. */
export type NodeWrites = {
  readonly condition?: Condition | undefined;
  readonly problem?: string | undefined;
};

/**
 * Undefined if no agent has judged that. A node that is labelled `ready`, or was ever proven, is expected whatever
 * its label `expected` says: a node that was taken over must not hide that it is broken.
 */
export function isExpected({ labels = {}, annotations = {} }: Partial<NodeMetadata>): boolean | undefined {
  const { ready, expected } = OWN_KEYS.labels;
  if (labels[ready] === 'true' || annotations[OWN_KEYS.annotations.provenBy] !== undefined) return true;
  const value = labels[expected];
  return value === 'true' || value === 'false' ? value === 'true' : undefined;
}

/** `null` means absent. */
export type DesiredEntry = {
  readonly part: 'labels' | 'annotations' | 'taint' | 'condition';
  readonly key: string;
  readonly value: string | null;
};

export function entry(part: DesiredEntry['part'], key: string, value: string | null): DesiredEntry {
  return { part, key, value };
}

/** The kubelet's, if it is another than this agent's. */
export function otherBoot({ status }: NodeObject, boot: string): string | undefined {
  const reported = status?.nodeInfo?.bootID ?? '';
  return reported === '' || reported === boot ? undefined : reported;
}

export function conditionOf({ status }: NodeObject): Condition | undefined {
  return status?.conditions?.find(({ type }) => type === CONDITION);
}

export function valueIn(node: NodeObject, { part, key }: DesiredEntry): string | null {
  if (part === 'taint') return node.spec?.taints?.some((taint) => isOwn(taint, key)) ? 'NoSchedule' : null;
  if (part !== 'condition') return node.metadata[part]?.[key] ?? null;
  const condition = conditionOf(node);
  return condition === undefined ? null : `${condition.status} ${condition.reason}`;
}

/**
 * A strategic merge patch of the status for labels, annotations and the condition, which change together; undefined if
 * nothing differs. Source: https://github.com/kubernetes/kubernetes/blob/v1.36.3/pkg/registry/core/node/strategy.go
 */
export function statusPatch(
  differences: readonly DesiredEntry[],
  condition: Condition | { readonly $patch: 'delete'; readonly type: string } | undefined,
): object | undefined {
  const texts = (part: 'labels' | 'annotations') => {
    const entries = differences.filter((entry) => entry.part === part);
    return entries.length === 0 ? {} : { [part]: Object.fromEntries(entries.map((e) => [e.key, e.value])) };
  };
  const metadata = { ...texts('labels'), ...texts('annotations') };
  if (Object.keys(metadata).length === 0 && condition === undefined) return undefined;
  return { metadata, ...(condition === undefined ? {} : { status: { conditions: [condition] } }) };
}

/**
 * A merge patch for the taint; undefined if nothing differs. It replaces the whole list of taints, so it is bound to
 * the version of the Node that was read.
 */
export function taintPatch(
  { metadata: { resourceVersion }, spec }: NodeObject,
  differences: readonly DesiredEntry[],
): object | undefined {
  const taint = differences.find(({ part }) => part === 'taint');
  if (taint === undefined) return undefined;
  const others = (spec?.taints ?? []).filter((each) => !isOwn(each, taint.key));
  const taints = taint.value === null ? others : [...others, { key: taint.key, effect: taint.value }];
  return { metadata: { resourceVersion }, spec: { taints } };
}

/** `kubectl describe node` prints it on one line. */
export const MAX_CONDITION_MESSAGE = 512;

/**
 * The message ends with the remedy. `lastTransitionTime` changes with the status only; nothing is written for the
 * heartbeat alone.
 */
export function conditionFor(verdict: Verdict, node: NodeObject, nowMs: number): Condition {
  const { status, reason } = verdict;
  const old = conditionOf(node);
  const kept = old?.status === status ? old.lastTransitionTime : undefined;
  const lastHeartbeatTime = new Date(nowMs).toISOString().replace(/\.\d+Z$/, 'Z');
  const lastTransitionTime = kept || lastHeartbeatTime;
  const message = messageOf(verdict);
  return { type: CONDITION, status, reason, message, lastHeartbeatTime, lastTransitionTime };
}

function messageOf({ status, reason, message }: Verdict): string {
  const advice = status === 'True' ? '' : `. What to do: ${REASONS[reason].remedy}`;
  return truncateMiddle(shortIds(message).replace(/\.$/, ''), MAX_CONDITION_MESSAGE - advice.length) + advice;
}

/** Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions (comparable since 1.35) */
export function isOlder(a: NodeMetadata, b: NodeMetadata): boolean {
  const [one, other] = [a.resourceVersion, b.resourceVersion];
  return one.length === other.length ? one < other : one.length < other.length;
}

function isOwn(taint: Taint, key: string): boolean {
  return taint.key === key && taint.effect === 'NoSchedule';
}
