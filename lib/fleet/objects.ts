import type { V1DaemonSet, V1Node, V1Pod } from '@kubernetes/client-node';
import { splitHandlers } from '../base/handler-name.ts';
import {
  CONDITION,
  handlerKey,
  handlerLabels,
  isExpected,
  MAX_CONDITION_MESSAGE,
  OWN_KEYS,
} from '../report/node-object.ts';
import SETTINGS from './agent-settings.json' with { type: 'json' };

/** Truncates untrusted text; copies, because V8 slices retain the parent string. */
export function truncate(text: string, maxLength: number): string {
  return text.length <= maxLength ? text : Buffer.from(text.slice(0, maxLength)).toString();
}

const MAX_NAMES = 3;

/** "a, b, c and 397 more". */
export function firstOf(names: readonly string[]): string {
  const more = names.length - MAX_NAMES;
  return more > 1 ? `${names.slice(0, MAX_NAMES).join(', ')} and ${more} more` : names.join(', ');
}

/** In alphabetical order; empty values do not count. */
export function tally(values: readonly string[]): Readonly<Record<string, number>> {
  // Not an object: a value may be "constructor".
  const counts = new Map<string, number>();
  for (const value of values.filter(Boolean)) counts.set(value, (counts.get(value) ?? 0) + 1);
  return Object.fromEntries([...counts].sort(([a], [b]) => a.localeCompare(b)));
}

/** Names by key, those of the most frequent first; undefined is no key. */
export function namesBy<T>(
  named: readonly (readonly [name: string, each: T])[],
  keyOf: (each: T) => string | undefined,
): ReadonlyMap<string, readonly string[]> {
  const groups = new Map<string, string[]>(); // Node.js 20 has no Map.groupBy()
  for (const [name, each] of named) {
    const key = keyOf(each);
    if (key === undefined) continue;
    const names = groups.get(key) ?? [];
    names.push(name);
    groups.set(key, names);
  }
  return new Map([...groups].sort(([, a], [, b]) => b.length - a.length));
}

/** Of names and reasons that another program wrote. */
export const MAX_NAME_LENGTH = 64;

/** The label `ready`, and the boot ID of the last proof, or "". */
export type HandlerLabel = {
  readonly handler: string;
  readonly label: string;
  readonly provenBoot: string;
};

/** A whole Node has tens of KiB, most of it its images. */
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
    /** The label `ready`, or "". */
    label: labels[OWN_KEYS.labels.ready] ?? '',
    /** The label `egress-closed`, or "". */
    egress: labels[OWN_KEYS.egressClosed] ?? '',
    /** Absent if no agent has judged that. */
    ...(expected === undefined ? {} : { expected }),
    /** The kubelet's condition Ready. */
    ready: find('Ready')?.status === 'True',
    cordoned: spec?.unschedulable ?? false,
    /** The annotation adds a digest of settings to the agent's version. */
    provenBy: annotation(OWN_KEYS.annotations.provenBy).split('+')[0] ?? '',
    /** "" if the kubelet reports none. */
    boot: truncate(status?.nodeInfo?.bootID ?? '', MAX_NAME_LENGTH),
    /** "" if no agent has noted one. */
    provenBoot: annotation(OWN_KEYS.annotations.provenBoot),
    /** The boot in which gVisor failed; "" if it does not, or no agent has noted it. */
    failedBoot: annotation(OWN_KEYS.annotations.failedBoot),
    handlers: [...handlerLabels({ labels })].map(([handler, label]) => {
      return { handler, label, provenBoot: annotation(handlerKey('provenBoot', handler)) };
    }) as readonly HandlerLabel[],
    tainted: spec?.taints?.some(({ key }) => key === OWN_KEYS.taint) ?? false,
    ...(own === undefined ? {} : { verdict: verdictOf(own) }),
    /** The release in the label, or "". */
    gvisor: labels[OWN_KEYS.labels.runscVersion] ?? '',
    /** Such as "containerd://2.1.4", or "". */
    runtime: truncate(status?.nodeInfo?.containerRuntimeVersion ?? '', MAX_NAME_LENGTH),
    os: truncate(status?.nodeInfo?.operatingSystem ?? '', MAX_NAME_LENGTH),
  };
}

type V1Condition = NonNullable<NonNullable<V1Node['status']>['conditions']>[number];

/** `since` is an ISO 8601 time. */
function verdictOf({ status, reason = '', message = '', lastTransitionTime }: V1Condition) {
  return {
    status: truncate(status, MAX_NAME_LENGTH),
    reason: truncate(reason, MAX_NAME_LENGTH),
    message: truncate(message, MAX_CONDITION_MESSAGE),
    since: String(lastTransitionTime ?? ''),
  };
}

/** `handler` is absent for the main one. */
type ReadyLabel = Pick<HandlerLabel, 'label' | 'provenBoot'> & { readonly handler?: string };

export function isLabelled({ label, handlers }: Pick<FleetNode, 'label' | 'handlers'>): boolean {
  return label === 'true' || handlers.some((each) => each.label === 'true');
}

/** That of the main handler first. */
export function readyLabels({ label, provenBoot, handlers }: FleetNode): readonly ReadyLabel[] {
  return [{ label, provenBoot }, ...handlers].filter((each) => each.label === 'true');
}

/**
 * Labels of an earlier boot, whose proof says nothing about the present containerd. A label without a boot
 * ID, set by hand or by an older agent, goes only as that of a lost agent.
 */
export function staleLabels(node: FleetNode): readonly ReadyLabel[] {
  const { boot } = node;
  return readyLabels(node).filter(
    ({ provenBoot }) => boot !== '' && provenBoot !== '' && boot !== provenBoot,
  );
}

/** An agent says that gVisor fails although it should run here: evidence against the node. */
export function isFailing({ verdict, expected }: FleetNode): boolean {
  return verdict?.status === 'False' && expected !== false;
}

/** Failed in an earlier boot, and not tried in the present one. */
export function hasFailedBefore(node: FleetNode): boolean {
  const { boot, failedBoot } = node;
  return isFailing(node) && boot !== '' && failedBoot !== '' && boot !== failedBoot;
}

export function isRebooted(node: FleetNode): boolean {
  return staleLabels(node).length > 0 || hasFailedBefore(node);
}

/** The reasons that the fleet controller writes. */
const WITHDRAWN = ['AgentLost', 'AgentCannotWrite', 'NodeRebooted'];

/**
 * The taint is missing from a labelled node that may come back in another boot, or from one whose label this
 * controller has withdrawn.
 */
export function isExposed({ label, ready, tainted, verdict }: FleetNode): boolean {
  if (tainted) return false;
  return label === 'true' ? !ready : label === 'false' && WITHDRAWN.includes(verdict?.reason ?? '');
}

export type AgentPod = Readonly<NonNullable<ReturnType<typeof agentPodOf>>>;

/** Undefined for a pod that no DaemonSet controls. */
export function agentPodOf({ metadata, spec, status }: V1Pod) {
  if (controllerOf(metadata)?.kind !== 'DaemonSet') return undefined;
  const ready = isPodReady(status);
  const runs = status?.phase === 'Running' && status.containerStatuses?.some(({ state }) => state?.running);
  return {
    name: metadata?.name ?? '',
    /** "" if it is not bound. */
    node: spec?.nodeName ?? '',
    /** Ready and not terminating. */
    ready: ready && metadata?.deletionTimestamp === undefined,
    revision: metadata?.labels?.['controller-revision-hash'] ?? '',
    version: versionOf(spec?.containers[0]?.image),
    /** "" while its container does not run: the address of an ended pod may be reused. */
    address: (runs && status.podIP) || '',
  };
}

/**
 * Until a DaemonSet's pod is scheduled, only its affinity names the node. Source:
 * https://kubernetes.io/docs/concepts/workloads/controllers/daemonset/#how-daemon-pods-are-scheduled
 */
export function targetOf(spec: V1Pod['spec']): string {
  const terms = spec?.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution;
  const [target] = terms?.nodeSelectorTerms.flatMap(({ matchFields = [] }) => matchFields) ?? [];
  return spec?.nodeName ?? target?.values?.[0] ?? '';
}

/** The image's tag, or the whole image without one. */
export function versionOf(image = ''): string {
  return /:([^/:@]+)(?:@.*)?$/.exec(image)?.[1] ?? image;
}

type Owner = { readonly kind: string; readonly name: string; readonly controller?: boolean };

/**
 * A kubelet may create mirror pods with any labels, but only with its Node as their controller.
 * Source: https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#noderestriction
 */
type Conditions = readonly { readonly type: string; readonly status: string }[];

export function isPodReady(status: { readonly conditions?: Conditions | undefined } | undefined): boolean {
  return status?.conditions?.some((each) => each.type === 'Ready' && each.status === 'True') ?? false;
}

export function controllerOf(
  metadata: { readonly ownerReferences?: readonly Owner[] } | undefined,
): Owner | undefined {
  return metadata?.ownerReferences?.find(({ controller }) => controller);
}

export type AgentSettings = Readonly<ReturnType<typeof agentSettingsOf>>;

/** An annotation of the agents' DaemonSet: the RuntimeClasses that were installed with it, separated by commas. */
const INSTALLED_CLASSES = 'gvisor-ready.dev/runtime-classes';

type AgentsOf = {
  readonly metadata?: { readonly annotations?: Readonly<Record<string, string>> };
  readonly spec?: {
    readonly template: {
      readonly spec?: {
        readonly serviceAccountName?: string;
        readonly containers: readonly {
          readonly env?: readonly { readonly name: string; readonly value?: string }[];
        }[];
      };
    };
  };
};

/** The agents' settings that concern others, and their service account. */
export function agentSettingsOf(set: AgentsOf | undefined) {
  const { containers = [], serviceAccountName } = set?.spec?.template.spec ?? {};
  const classes = set?.metadata?.annotations?.[INSTALLED_CLASSES] ?? '';
  const settingNamed = (setting: string) => containers[0]?.env?.find(({ name }) => name === setting)?.value;
  return {
    /** Those that are proven, the main one first. */
    handlers: splitHandlers(settingNamed('HANDLERS') || SETTINGS.HANDLERS.fallback),
    /** Whether a taint keeps pods from nodes that are not proven. */
    taints: settingNamed('TAINT') === 'on',
    account: serviceAccountName,
    /** RuntimeClasses that came with the agents; that of the main handler first. */
    classes: classes.split(',').flatMap((each) => each.trim() || []),
  };
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
