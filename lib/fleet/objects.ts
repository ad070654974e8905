import type { V1DaemonSet, V1Node, V1Pod } from '@kubernetes/client-node';
import { CONDITION, handlerKey, handlerLabels, isExpected, OWN_KEYS } from '../report/node-object.ts';

/** Truncates untrusted text; copies, because V8 slices retain the parent string. */
export function truncate(text: string, maxLength: number): string {
  return text.length <= maxLength ? text : Buffer.from(text.slice(0, maxLength)).toString();
}

const MAX_NAMES = 3;

/** The first few names: "a, b, c and 397 more". */
export function firstOf(names: readonly string[]): string {
  const more = names.length - MAX_NAMES;
  return more > 1 ? `${names.slice(0, MAX_NAMES).join(', ')} and ${more} more` : names.join(', ');
}

const MAX_NAME_LENGTH = 64;
/** No reason or message of an agent is longer. */
const MAX_TEXT_LENGTH = 1_024;

/** The label `ready` of an additional handler, and the boot ID of its last proof, or "". */
export type HandlerLabel = {
  readonly handler: string;
  readonly label: string;
  readonly provenBoot: string;
};

/** The cached fields of a Node: a whole one has tens of KiB, most of it the list of its images. */
export type FleetNode = Readonly<ReturnType<typeof fleetNodeOf>>;

export function fleetNodeOf({ metadata, spec, status }: V1Node) {
  const { name = '', uid = '', labels = {}, annotations = {}, creationTimestamp } = metadata ?? {};
  const find = (wanted: string) => status?.conditions?.find(({ type }) => type === wanted);
  const own = find(CONDITION);
  const expected = isExpected({ labels, annotations });
  const annotation = (key: string) => truncate(annotations[key] ?? '', MAX_NAME_LENGTH);
  return {
    name,
    uid,
    /** Wall clock, milliseconds. */
    createdAtMs: Date.parse(String(creationTimestamp)),
    labels,
    /** The label `ready`, or "". */
    label: labels[OWN_KEYS.labels.ready] ?? '',
    /** Whether the node should run gVisor; absent where no agent has judged that. */
    ...(expected === undefined ? {} : { expected }),
    /** The kubelet's condition Ready. */
    ready: find('Ready')?.status === 'True',
    cordoned: spec?.unschedulable ?? false,
    /** The version of the agent that proved the node; the annotation adds a digest of its settings. */
    provenBy: annotation(OWN_KEYS.annotations.provenBy).split('+')[0] ?? '',
    /** The ID of the present boot, or "" where the kubelet reports none. */
    boot: truncate(status?.nodeInfo?.bootID ?? '', MAX_NAME_LENGTH),
    /** The boot ID of the last proof, or "" where no agent has noted one. */
    provenBoot: annotation(OWN_KEYS.annotations.provenBoot),
    /** The boot ID in which gVisor failed, or "" if it does not, or no agent has noted it. */
    failedBoot: annotation(OWN_KEYS.annotations.failedBoot),
    handlers: [...handlerLabels({ labels })].map(([handler, label]) => {
      return { handler, label, provenBoot: annotation(handlerKey('provenBoot', handler)) };
    }) as readonly HandlerLabel[],
    tainted: spec?.taints?.some(({ key }) => key === OWN_KEYS.taint) ?? false,
    ...(own === undefined ? {} : { verdict: verdictOf(own) }),
    /** As the kubelet reports it, such as "containerd://2.1.4", or "". */
    runtime: truncate(status?.nodeInfo?.containerRuntimeVersion ?? '', MAX_NAME_LENGTH),
    os: truncate(status?.nodeInfo?.operatingSystem ?? '', MAX_NAME_LENGTH),
  };
}

type V1Condition = NonNullable<NonNullable<V1Node['status']>['conditions']>[number];

/** The condition `GVisorReady`; `since` is an ISO 8601 time. */
function verdictOf({ status, reason = '', message = '', lastTransitionTime }: V1Condition) {
  return {
    status: truncate(status, MAX_NAME_LENGTH),
    reason: truncate(reason, MAX_TEXT_LENGTH),
    message: truncate(message, MAX_TEXT_LENGTH),
    since: String(lastTransitionTime ?? ''),
  };
}

/** A label `ready` of the main handler, whose name is then absent, or of an additional one. */
type ReadyLabel = Pick<HandlerLabel, 'label' | 'provenBoot'> & { readonly handler?: string };

export function isLabelled({ label, handlers }: Pick<FleetNode, 'label' | 'handlers'>): boolean {
  return label === 'true' || handlers.some((each) => each.label === 'true');
}

/** The labels that say "true", first that of the main handler. */
export function readyLabels({ label, provenBoot, handlers }: FleetNode): readonly ReadyLabel[] {
  return [{ label, provenBoot }, ...handlers].filter((each) => each.label === 'true');
}

/**
 * Labels of an earlier boot, whose proof says nothing about the containerd of the present one. A label without a boot ID was
 * set by hand or by an older agent; it is withdrawn only as that of a lost agent.
 */
export function staleLabels(node: FleetNode): readonly ReadyLabel[] {
  const { boot } = node;
  return readyLabels(node).filter(
    ({ provenBoot }) => boot !== '' && provenBoot !== '' && boot !== provenBoot,
  );
}

/** Whether an agent says that gVisor fails where it should run, which programs may take as evidence against it. */
export function isFailing({ verdict, expected }: FleetNode): boolean {
  return verdict?.status === 'False' && expected !== false;
}

/** Whether gVisor failed in an earlier boot, and was not tried in the present one. */
export function hasFailedBefore(node: FleetNode): boolean {
  const { boot, failedBoot } = node;
  return isFailing(node) && boot !== '' && failedBoot !== '' && boot !== failedBoot;
}

/** Whether a label or a failure is of an earlier boot. */
export function isRebooted(node: FleetNode): boolean {
  return staleLabels(node).length > 0 || hasFailedBefore(node);
}

/** Reasons with which the controller withdraws labels, as far as the circuit breaker lets it. */
export const COUNTED: readonly string[] = ['AgentLost', 'AgentCannotWrite'];
const WITHDRAWN = [...COUNTED, 'NodeRebooted'];

/**
 * Whether the taint should keep pods away, but is missing: from a labelled node that may come back in another boot, and
 * from one whose label this controller has withdrawn.
 */
export function isExposed({ label, ready, tainted, verdict }: FleetNode): boolean {
  if (tainted) return false;
  return label === 'true' ? !ready : label === 'false' && WITHDRAWN.includes(verdict?.reason ?? '');
}

export type AgentPod = Readonly<NonNullable<ReturnType<typeof agentPodOf>>>;

/** Picks the cached fields of an agent's pod; undefined for a pod that no DaemonSet controls. */
export function agentPodOf({ metadata, spec, status }: V1Pod) {
  if (!isOfDaemonSet(metadata)) return undefined;
  const ready = status?.conditions?.some((each) => each.type === 'Ready' && each.status === 'True') ?? false;
  const runs = status?.phase === 'Running' && status.containerStatuses?.some(({ state }) => state?.running);
  return {
    name: metadata?.name ?? '',
    /** The node that it is bound to, or "". */
    node: spec?.nodeName ?? '',
    /** Ready and not terminating. */
    ready: ready && metadata?.deletionTimestamp === undefined,
    revision: metadata?.labels?.['controller-revision-hash'] ?? '',
    version: versionOf(spec?.containers[0]?.image),
    /** "" while its container does not run: the address of a pod that has ended may be reused. */
    address: (runs && status.podIP) || '',
  };
}

/** The tag of an image, or the whole image if it has none. */
export function versionOf(image = ''): string {
  return /:([^/:@]+)(?:@.*)?$/.exec(image)?.[1] ?? image;
}

type Owned = {
  readonly ownerReferences?: readonly { readonly kind: string; readonly controller?: boolean }[];
};

/**
 * Whether a DaemonSet controls a pod. A kubelet may create mirror pods with an agent's labels, but only with its Node as
 * their controller.
 * Source: https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#noderestriction
 */
export function isOfDaemonSet(metadata: Owned | undefined): boolean {
  return metadata?.ownerReferences?.find(({ controller }) => controller)?.kind === 'DaemonSet';
}

export type AgentSet = Readonly<ReturnType<typeof agentSetOf>>;

export function agentSetOf({ metadata, status }: V1DaemonSet) {
  return {
    /** Whether its controller has observed the newest spec. */
    observed: metadata?.generation === status?.observedGeneration,
    desired: status?.desiredNumberScheduled ?? 0,
    ready: status?.numberReady ?? 0,
  };
}
