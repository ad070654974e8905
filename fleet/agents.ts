import type { V1DaemonSet, V1Pod } from '@kubernetes/client-node';

/** What the fleet keeps of an agent's pod. */
export type AgentPod = {
  readonly name: string;
  /** The node that it is bound to; "" before it is. */
  readonly node: string;
  /** Whether it is Ready, and not about to end. */
  readonly ready: boolean;
  /** The agent's revision of the DaemonSet. */
  readonly revision: string;
  /** The tag of its image, or the whole image where it has none. */
  readonly version: string;
  /** "" while its container does not run: another pod may have the address of one that has ended. */
  readonly address: string;
};

/** What the fleet keeps of the agents' DaemonSet. */
export type AgentSet = {
  /** Whether the DaemonSet's controller has seen the newest spec. */
  readonly observed: boolean;
  readonly desired: number;
  readonly ready: number;
};

/** Who controls a pod, as far as that is read. */
type Owned = {
  readonly ownerReferences?: readonly { readonly kind: string; readonly controller?: boolean }[];
};

/**
 * Whether a DaemonSet controls a pod: a kubelet may create mirror pods with the labels of an agent, but only such as its
 * Node controls.
 * Source: https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#noderestriction
 */
export function isOfDaemonSet(metadata: Owned | undefined): boolean {
  return metadata?.ownerReferences?.find(({ controller }) => controller)?.kind === 'DaemonSet';
}

/** What the fleet keeps of an agent's pod, from the JSON of the API server; nothing of a pod that no DaemonSet controls. */
export function agentPodOf({ metadata, spec, status }: V1Pod): AgentPod | undefined {
  if (!isOfDaemonSet(metadata)) return undefined;
  const ready = status?.conditions?.some((each) => each.type === 'Ready' && each.status === 'True') ?? false;
  const runs = status?.phase === 'Running' && status.containerStatuses?.some(({ state }) => state?.running);
  const image = spec?.containers[0]?.image ?? '';
  return {
    name: metadata?.name ?? '',
    node: spec?.nodeName ?? '',
    ready: ready && metadata?.deletionTimestamp === undefined,
    revision: metadata?.labels?.['controller-revision-hash'] ?? '',
    version: /:([^/:@]+)(?:@.*)?$/.exec(image)?.[1] ?? image,
    address: (runs && status.podIP) || '',
  };
}

/** What the fleet keeps of the agents' DaemonSet, from the JSON of the API server. */
export function agentSetOf({ metadata, status }: V1DaemonSet): AgentSet {
  return {
    observed: metadata?.generation === status?.observedGeneration,
    desired: status?.desiredNumberScheduled ?? 0,
    ready: status?.numberReady ?? 0,
  };
}
