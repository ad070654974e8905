import type { V1Node } from '@kubernetes/client-node';
import { CONDITION, OWN_KEYS } from '../agent/node/object.ts';

/** The first characters of what a node that was taken over may make long; a copy, since a part would keep the whole in memory. */
export function truncate(text: string, most: number): string {
  return text.length <= most ? text : Buffer.from(text.slice(0, most)).toString();
}

const LONGEST_WORD = 64;
/** No reason or message of an agent is longer. */
const LONGEST_TEXT = 1_024;

/** What the fleet keeps of a Node: a whole one has tens of KiB, most of it the list of its images. */
export type FleetNode = {
  readonly name: string;
  readonly uid: string;
  /** Wall clock, milliseconds. */
  readonly createdAtMs: number;
  readonly labels: Readonly<Record<string, string>>;
  /** The label `ready`; "" where there is none. */
  readonly label: string;
  /** Whether the kubelet says that the Node is Ready. */
  readonly ready: boolean;
  /** The ID of its present boot, as its kubelet reports it; "" where it reports none. */
  readonly boot: string;
  /** The boot ID at its last proof; "" where no agent has noted one. */
  readonly provenBoot: string;
  /** Whether the taint `not-ready` keeps pods away. */
  readonly tainted: boolean;
  /** What agents say of gVisor; absent where none has said anything. */
  readonly verdict?: NodeVerdict;
  /** As the kubelet has it, such as "containerd://2.1.4"; "" before it has said so. */
  readonly runtime: string;
  readonly os: string;
};

/** The condition `GVisorReady` of a Node; `since` is an ISO 8601 time. */
export type NodeVerdict = {
  readonly status: string;
  readonly reason: string;
  readonly message: string;
  readonly since: string;
};

/** What the fleet keeps of a Node, from the JSON of the API server. */
export function fleetNodeOf({ metadata, spec, status }: V1Node): FleetNode {
  const { name = '', uid = '', labels = {}, annotations = {}, creationTimestamp } = metadata ?? {};
  const find = (wanted: string) => status?.conditions?.find(({ type }) => type === wanted);
  const own = find(CONDITION);
  return {
    name,
    uid,
    createdAtMs: Date.parse(String(creationTimestamp)),
    labels,
    label: labels[OWN_KEYS.labels.ready] ?? '',
    ready: find('Ready')?.status === 'True',
    boot: truncate(status?.nodeInfo?.bootID ?? '', LONGEST_WORD),
    provenBoot: truncate(annotations[OWN_KEYS.annotations.provenBoot] ?? '', LONGEST_WORD),
    tainted: spec?.taints?.some(({ key }) => key === OWN_KEYS.taint) ?? false,
    ...(own === undefined ? {} : { verdict: verdictOf(own) }),
    runtime: truncate(status?.nodeInfo?.containerRuntimeVersion ?? '', LONGEST_WORD),
    os: truncate(status?.nodeInfo?.operatingSystem ?? '', LONGEST_WORD),
  };
}

/**
 * Whether the label is of an earlier boot: that proof says nothing of what containerd runs now. A label without
 * a boot was set by hand or by an older agent, and counts as one of a lost agent where none looks after it.
 */
export function isRebooted({ label, boot, provenBoot }: FleetNode): boolean {
  return label === 'true' && boot !== '' && provenBoot !== '' && boot !== provenBoot;
}

/** Whether a labelled node may come back in another boot, with nothing that keeps pods away until it is proven. */
export function isExposed({ label, ready, tainted }: FleetNode): boolean {
  return label === 'true' && !ready && !tainted;
}

type V1Condition = NonNullable<NonNullable<V1Node['status']>['conditions']>[number];

function verdictOf({ status, reason = '', message = '', lastTransitionTime }: V1Condition): NodeVerdict {
  return {
    status: truncate(status, LONGEST_WORD),
    reason: truncate(reason, LONGEST_TEXT),
    message: truncate(message, LONGEST_TEXT),
    since: String(lastTransitionTime ?? ''),
  };
}
