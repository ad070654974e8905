import { isOpen } from '../agent/pods/pod.ts';
import type { Status } from '../agent/report.ts';
import type { Reported } from './agents.ts';
import type { Api } from './api.ts';
import { HANDLER, READY, REQUIRE } from './known.ts';

/** A pod of the API as far as it is read. */
export type RawPod = {
  readonly metadata: {
    readonly name: string;
    readonly namespace: string;
    readonly uid: string;
    readonly annotations?: Readonly<Record<string, string>>;
    readonly ownerReferences?: readonly {
      readonly kind: string;
      readonly name: string;
      readonly controller?: boolean;
    }[];
  };
  readonly spec: {
    readonly nodeName?: string;
    readonly runtimeClassName?: string;
    readonly nodeSelector?: Readonly<Record<string, string>>;
    readonly tolerations?: readonly Toleration[];
    readonly schedulingGates?: readonly { readonly name: string }[];
  };
  readonly status?: {
    readonly phase?: string;
    readonly reason?: string;
    readonly message?: string;
    readonly conditions?: readonly {
      readonly type: string;
      readonly status: string;
      readonly reason?: string;
      readonly message?: string;
    }[];
    readonly containerStatuses?: readonly {
      readonly state?: { readonly waiting?: { readonly reason?: string; readonly message?: string } };
    }[];
  };
};

/** A toleration of a pod. */
export type Toleration = {
  readonly key?: string;
  readonly operator?: string;
  readonly value?: string;
  readonly effect?: string;
};

/** A RuntimeClass as far as it is read. */
export type RuntimeClass = {
  readonly metadata: { readonly name: string; readonly labels?: Readonly<Record<string, string>> };
  readonly handler: string;
  readonly scheduling?: { readonly nodeSelector?: Readonly<Record<string, string>> };
};

/** The path of the runtime classes. */
export const CLASSES = '/apis/node.k8s.io/v1/runtimeclasses';

/** A Namespace as far as it is read. */
export type RawNamespace = {
  readonly metadata: { readonly name: string; readonly labels?: Readonly<Record<string, string>> };
};

/** Every RuntimeClass, by its name. */
export async function listClasses(api: Api): Promise<ReadonlyMap<string, RuntimeClass>> {
  const { items } = await api.list<RuntimeClass, RuntimeClass>(CLASSES, {}, (one) => one);
  return new Map(items.map((one) => [one.metadata.name, one]));
}

/** Whether a class stands for gVisor: by the handler that agents prove, or by the label of proven nodes. */
export function meansGvisor(one: RuntimeClass | undefined, handler = HANDLER): boolean {
  return one !== undefined && (one.handler === handler || selectsProven(one));
}

/** Whether pods of a class come to proven nodes alone. */
export function selectsProven({ scheduling }: RuntimeClass): boolean {
  return scheduling?.nodeSelector?.[READY] === 'true';
}

/** The value of the label `require-gvisor` of each namespace that has it. */
export async function listRequirements(api: Api): Promise<ReadonlyMap<string, string>> {
  const { items } = await api.list<RawNamespace, readonly [string, string]>(
    '/api/v1/namespaces',
    { labelSelector: REQUIRE },
    ({ metadata }) => [metadata.name, metadata.labels?.[REQUIRE] ?? ''],
  );
  return new Map(items);
}

/**
 * What a pod really runs in, as its node's agent saw it, and what that is known from, or why it is not known. `open` is a
 * gVisor sandbox with a way out to the host.
 */
export type Inside = { readonly inGvisor: 'yes' | 'open' | 'no' | '?'; readonly evidence: string };

/** Looks for a pod in the report of its node's agent. */
export function insideOf(pod: RawPod, told: Reported | undefined): Inside {
  if (told === undefined) return { inGvisor: '?', evidence: 'no agent runs on its node' };
  if ('why' in told) return { inGvisor: '?', evidence: told.why };
  return inReport(pod, told.status);
}

/** A static pod has another uid on its node than its mirror in the API; any pod may forge that, so it never counts for it. */
function inReport({ metadata }: RawPod, { pods }: Status): Inside {
  if (pods === undefined) return { inGvisor: '?', evidence: 'the agent has not read the pods of its node' };
  if (pods.stale)
    return { inGvisor: '?', evidence: `the agent last read the pods of its node at ${pods.at}` };
  const uids = [metadata.uid, metadata.annotations?.['kubernetes.io/config.hash']];
  // Agents of before do not tell of these two.
  const weakened = pods.weakened?.find(({ uid }) => uids.includes(uid));
  if (weakened !== undefined)
    return { inGvisor: isOpen(weakened) ? 'open' : 'yes', evidence: weakened.evidence };
  if (pods.sandboxedUids?.includes(metadata.uid))
    return { inGvisor: 'yes', evidence: 'the first process on the node is that of gVisor' };
  const outside = [...pods.violating, ...pods.permitted].find(({ uid }) => uids.includes(uid));
  if (outside !== undefined) return { inGvisor: 'no', evidence: outside.evidence };
  const untold = pods.unknown.find(({ uid }) => uids.includes(uid));
  return { inGvisor: '?', evidence: untold?.evidence ?? 'the agent has not seen it yet' };
}
