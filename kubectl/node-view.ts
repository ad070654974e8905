import { CONDITION, MAX_CONDITION_MESSAGE, OWN_KEYS } from '../agent/node/object.ts';
import type { Api } from './api.ts';
import { READY } from './known.ts';

/** A taint of a Node. */
export type Taint = { readonly key: string; readonly value?: string; readonly effect: string };

/** A Node of the API as far as it is read. */
export type RawNode = {
  readonly metadata: {
    readonly name: string;
    readonly resourceVersion?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly spec?: { readonly unschedulable?: boolean; readonly taints?: readonly Taint[] };
  readonly status?: {
    readonly conditions?: readonly {
      readonly type: string;
      readonly status: string;
      readonly reason?: string;
      readonly message?: string;
      readonly lastTransitionTime?: string;
    }[];
    readonly nodeInfo?: {
      readonly kubeletVersion?: string;
      readonly containerRuntimeVersion?: string;
      readonly operatingSystem?: string;
      readonly architecture?: string;
      readonly kernelVersion?: string;
    };
  };
};

/** What a Node says of gVisor and of itself; "" for what it does not say. */
export type NodeView = {
  readonly name: string;
  /** The label that the scheduler uses: "true", "false" or "". */
  readonly ready: string;
  /** Status, reason and message of the condition, and since when the status holds. */
  readonly status: string;
  readonly reason: string;
  readonly message: string;
  readonly since: string;
  readonly runsc: string;
  readonly platform: string;
  /** The version of the agent that proved it. */
  readonly provenBy: string;
  /** Whether the kubelet says that the Node is Ready. */
  readonly alive: boolean;
  readonly cordoned: boolean;
  readonly taints: readonly Taint[];
  readonly labels: Readonly<Record<string, string>>;
  readonly kubelet: string;
  readonly runtime: string;
  readonly os: string;
  readonly architecture: string;
};

/** No word that a kubelet or an agent has for something is longer. */
export const MAX_WORD = 64;

/** Reduces a Node to what is shown of it: a node that was taken over cannot make every row long. */
export function viewNode({ metadata, spec, status }: RawNode): NodeView {
  const { labels = {}, annotations = {} } = metadata;
  const own = status?.conditions?.find(({ type }) => type === CONDITION);
  const kubelet = status?.conditions?.find(({ type }) => type === 'Ready');
  const info = status?.nodeInfo ?? {};
  return {
    name: metadata.name,
    ready: labels[READY] ?? '',
    status: own?.status ?? '',
    reason: (own?.reason ?? '').slice(0, MAX_WORD),
    message: (own?.message ?? '').slice(0, MAX_CONDITION_MESSAGE),
    since: own?.lastTransitionTime ?? '',
    runsc: labels[OWN_KEYS.labels.runscVersion] ?? '',
    platform: labels[OWN_KEYS.labels.platform] ?? '',
    // A fingerprint is the version with a digest of settings: "0.1.0+84c18f33".
    provenBy: (annotations[OWN_KEYS.annotations.provenBy]?.split('+')[0] ?? '').slice(0, MAX_WORD),
    alive: kubelet?.status === 'True',
    cordoned: spec?.unschedulable ?? false,
    taints: spec?.taints ?? [],
    labels,
    kubelet: info.kubeletVersion ?? '',
    runtime: (info.containerRuntimeVersion ?? '').slice(0, MAX_WORD),
    os: info.operatingSystem ?? '',
    architecture: info.architecture ?? '',
  };
}

/** Every Node, in the order of the API. */
export async function listNodes(api: Api): Promise<readonly NodeView[]> {
  return (await api.list<RawNode, NodeView>('/api/v1/nodes', {}, viewNode)).items;
}

/** One word for the state of gVisor on a node. A label counts even if the condition contradicts it, because pods follow the label. */
export type Placement = 'proven' | 'not ready' | 'unknown' | 'not judged';

/** See {@link Placement}. */
export function standingOf({ ready, status }: NodeView): Placement {
  if (ready === 'true') return 'proven';
  if (ready === '' && status === '') return 'not judged';
  return status === 'Unknown' ? 'unknown' : 'not ready';
}
