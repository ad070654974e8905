import type { V1Node } from '@kubernetes/client-node';
import {
  CONDITION,
  handlerLabels,
  handlersProvenOnce,
  isExpected,
  MAX_CONDITION_MESSAGE,
  OWN_KEYS,
} from '../lib/report/node-object.ts';
import type { Api, ApiObject } from './api.ts';
import { READY } from './requirements.ts';

/** Of what a kubelet or an agent writes. */
export const MAX_WORD = 64;

/** Truncated, so that a compromised node cannot widen every row. */
export function summarizeNode({ metadata, spec, status }: ApiObject<V1Node>) {
  const { labels = {}, annotations = {} } = metadata;
  const own = status?.conditions?.find(({ type }) => type === CONDITION);
  const kubelet = status?.conditions?.find(({ type }) => type === 'Ready');
  const info = status?.nodeInfo;
  return {
    name: metadata.name,
    /** The label `ready`: "true", "false" or "". */
    ready: labels[READY] ?? '',
    handlers: handlerLabels({ labels }),
    /** Handlers that are proven here, or were. */
    everProven: new Set(handlersProvenOnce({ annotations })),
    /** Undefined if no agent has judged that. */
    expected: isExpected({ labels, annotations }),
    /** The condition `GVisorReady`; `since` is its last transition. */
    status: own?.status ?? '',
    reason: (own?.reason ?? '').slice(0, MAX_WORD),
    message: (own?.message ?? '').slice(0, MAX_CONDITION_MESSAGE),
    since: own?.lastTransitionTime ?? '',
    runsc: labels[OWN_KEYS.labels.runscVersion] ?? '',
    platform: labels[OWN_KEYS.labels.platform] ?? '',
    /** The annotation adds a digest of settings to the agent's version: "0.1.0+84c18f33". */
    provenBy: (annotations[OWN_KEYS.annotations.provenBy]?.split('+')[0] ?? '').slice(0, MAX_WORD),
    /** Whether the kubelet reports the Node as Ready. */
    alive: kubelet?.status === 'True',
    cordoned: spec?.unschedulable ?? false,
    taints: spec?.taints ?? [],
    labels,
    kubelet: info?.kubeletVersion ?? '',
    runtime: (info?.containerRuntimeVersion ?? '').slice(0, MAX_WORD),
    os: info?.operatingSystem ?? '',
    architecture: info?.architecture ?? '',
  };
}

/** "" if the Node says nothing. */
export type NodeSummary = Readonly<ReturnType<typeof summarizeNode>>;

/** In the order of the API. */
export async function listNodes(api: Api, labelSelector?: string): Promise<readonly NodeSummary[]> {
  return api.list<V1Node, NodeSummary>('/api/v1/nodes', { labelSelector }, summarizeNode);
}

/** Shorter than kubectl's "Ready,SchedulingDisabled", so that narrow tables keep it. */
export function kubeletState({ alive, cordoned }: Pick<NodeSummary, 'alive' | 'cordoned'>): string {
  if (alive) return cordoned ? 'cordoned' : 'Ready';
  return cordoned ? 'NotReady,cordoned' : 'NotReady';
}
