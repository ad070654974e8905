import { REASONS } from '../reasons.ts';
import { shorten, shortIds } from '../text/format.ts';
import type { Verdict } from '../verdict.ts';

/**
 * The domain of all keys. The admission plugin NodeRestriction lets no kubelet write labels of it, so that a kubelet's
 * credential does not forge them.
 * Source: https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#noderestriction
 */
const DOMAIN = 'gvisor.node-restriction.kubernetes.io';

/** Every key that agents write in a Node, besides the condition; the admission policy holds the same list. */
export const OWN_KEYS = {
  labels: {
    ready: `${DOMAIN}/ready`,
    runscVersion: `${DOMAIN}/runsc-version`,
    platform: `${DOMAIN}/platform`,
  },
  annotations: {
    /** The fingerprint of the agent that proved it. */
    provenBy: `${DOMAIN}/proven-by`,
    /** The boot ID of the node at the last proof, as in `status.nodeInfo.bootID`. */
    provenBoot: `${DOMAIN}/proven-boot`,
  },
  /** What earlier versions wrote besides; only an uninstall touches it. */
  retired: { agent: `${DOMAIN}/agent` },
  taint: `${DOMAIN}/not-ready`,
  /** A label that the admission policy lets no agent write. */
  refused: `${DOMAIN}/unguarded`,
} as const;

/** A condition of a Node, as the API has it. */
export type Condition = {
  readonly type: string;
  readonly status: string;
  readonly reason: string;
  readonly message: string;
  readonly lastHeartbeatTime: string;
  readonly lastTransitionTime: string;
};

/** A taint of a Node, as the API has it. */
export type Taint = { readonly key: string; readonly effect: string; readonly value?: string };

/** The metadata of a Node, all that a watch of metadata tells. */
export type NodeMetadata = {
  readonly name: string;
  readonly uid: string;
  readonly resourceVersion: string;
  readonly labels?: Texts;
  readonly annotations?: Texts;
  readonly managedFields?: readonly Readonly<Record<string, unknown>>[];
};

/** A Node as far as this agent reads it. */
export type NodeObject = {
  readonly metadata: NodeMetadata;
  readonly spec?: { readonly taints?: readonly Taint[] };
  readonly status?: {
    readonly conditions?: readonly Condition[];
    readonly nodeInfo?: { readonly bootID?: string };
  };
};

type Texts = Readonly<Record<string, string>>;

/** The type of the condition that agents write. */
export const CONDITION = 'GVisorReady';

/** What a Node says of gVisor, as far as the agent knows it. */
export type NodeWrites = {
  /** The agent's own labels that stand there, */
  readonly labels: Texts;
  /** its condition, */
  readonly condition?: Condition;
  /** and whether its taint does. */
  readonly tainted: boolean;
  /** Why the agent does not write there, or is not Ready. */
  readonly problem?: string;
};

/** One thing that a Node is to say: where it stands, and the text that is wanted there; `null` takes it away. */
export type Wanted = {
  readonly part: 'labels' | 'annotations' | 'taint' | 'condition';
  readonly key: string;
  readonly value: string | null;
};

/** What a Node says of gVisor; nothing where it is not known. */
export function writtenIn(node: NodeObject | undefined, problem?: string): NodeWrites {
  const { labels, taint } = OWN_KEYS;
  const own = Object.values(labels).flatMap((key) => {
    const value = node?.metadata.labels?.[key];
    return value === undefined ? [] : [[key, value] as const];
  });
  const condition = node?.status?.conditions?.find(({ type }) => type === CONDITION);
  return {
    labels: Object.fromEntries(own),
    tainted: node?.spec?.taints?.some((each) => isOwn(each, taint)) ?? false,
    ...(condition === undefined ? {} : { condition }),
    ...(problem === undefined ? {} : { problem }),
  };
}

/** What the Node says now where an entry stands. */
export function valueIn({ metadata, spec, status }: NodeObject, { part, key }: Wanted): string | null {
  if (part === 'taint') return spec?.taints?.some((taint) => isOwn(taint, key)) ? 'NoSchedule' : null;
  if (part !== 'condition') return metadata[part]?.[key] ?? null;
  const condition = status?.conditions?.find(({ type }) => type === key);
  return condition === undefined ? null : `${condition.status} ${condition.reason}`;
}

/**
 * The strategic merge patch of a Node's status that makes these differences of labels and annotations and sets or
 * deletes the condition, or undefined where there is nothing to write. A write of the status may carry labels, so that nobody sees
 * one without the other: https://github.com/kubernetes/kubernetes/blob/v1.36.3/pkg/registry/core/node/strategy.go
 */
export function statusPatch(
  differences: readonly Wanted[],
  condition: Condition | { readonly $patch: 'delete'; readonly type: string } | undefined,
): object | undefined {
  const texts = (part: 'labels' | 'annotations') => {
    const found = differences.filter((difference) => difference.part === part);
    return found.length === 0 ? {} : { [part]: Object.fromEntries(found.map((d) => [d.key, d.value])) };
  };
  const metadata = { ...texts('labels'), ...texts('annotations') };
  if (Object.keys(metadata).length === 0 && condition === undefined) return undefined;
  return { metadata, ...(condition === undefined ? {} : { status: { conditions: [condition] } }) };
}

/**
 * The merge patch of a Node that puts the taint among these differences right, or undefined where there is none. The
 * list of taints can only be replaced as a whole, so it is bound to the version of the Node that it was read from.
 */
export function taintPatch(
  { metadata: { resourceVersion }, spec }: NodeObject,
  differences: readonly Wanted[],
): object | undefined {
  const taint = differences.find(({ part }) => part === 'taint');
  if (taint === undefined) return undefined;
  const others = (spec?.taints ?? []).filter((each) => !isOwn(each, taint.key));
  const taints = taint.value === null ? others : [...others, { key: taint.key, effect: taint.value }];
  return { metadata: { resourceVersion }, spec: { taints } };
}

/** No message of the condition is longer: `kubectl describe node` prints it on one line. */
export const MAX_CONDITION_MESSAGE = 512;

/**
 * The condition of a verdict, with what to do in its message. The time of its last transition stays while the status
 * does; the heartbeat is the time of this write, and nothing is written for the heartbeat alone.
 */
export function conditionFor(verdict: Verdict, node: NodeObject, nowMs: number): Condition {
  const { status, reason } = verdict;
  const old = node.status?.conditions?.find(({ type }) => type === CONDITION);
  const kept = old?.status === status ? old.lastTransitionTime : undefined;
  const lastHeartbeatTime = new Date(nowMs).toISOString().replace(/\.\d+Z$/, 'Z');
  const lastTransitionTime = kept || lastHeartbeatTime;
  const message = messageOf(verdict);
  return { type: CONDITION, status, reason, message, lastHeartbeatTime, lastTransitionTime };
}

function messageOf({ status, reason, message }: Verdict): string {
  const advice = status === 'True' ? '' : `. What to do: ${REASONS[reason].remedy}`;
  return shorten(shortIds(message).replace(/\.$/, ''), MAX_CONDITION_MESSAGE - advice.length) + advice;
}

/**
 * Who last wrote the condition and, where wanted, the taints, and when: metadata tells no more of them, but
 * this changes with them. Source: https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management
 */
export function writersOf({ managedFields = [] }: NodeMetadata, withTaints: boolean): string {
  const own = managedFields.filter(({ fieldsV1 }) => {
    const fields = JSON.stringify(fieldsV1) ?? '';
    return fields.includes(CONDITION) || (withTaints && fields.includes('"f:taints"'));
  });
  return JSON.stringify(
    own.map(({ manager, operation, subresource, time }) => [manager, operation, subresource, time]),
  );
}

/** Whether the first is an older version of one object than the second; versions can be compared since 1.35. */
export function isOlder(a: NodeMetadata, b: NodeMetadata): boolean {
  const [one, other] = [a.resourceVersion, b.resourceVersion];
  return one.length === other.length ? one < other : one.length < other.length;
}

function isOwn(taint: Taint, key: string): boolean {
  return taint.key === key && taint.effect === 'NoSchedule';
}
