import type { V1Node } from '@kubernetes/client-node';
import { fleetNodeOf } from '../../lib/fleet/objects.ts';
import { OWN_KEYS } from '../../lib/report/node-object.ts';
import type { Api, ApiObject } from '../api/api.ts';

/** The fleet controller's part of a Node, and the fields of tables and explanations; "" if the Node says nothing. */
export type NodeSummary = Readonly<ReturnType<typeof summarizeNode>>;

export function summarizeNode(object: ApiObject<V1Node>) {
  const { labels = {} } = object.metadata;
  const node = fleetNodeOf(object as unknown as V1Node);
  const { status = '', reason = '', message = '', since = '' } = node.verdict ?? {};
  const { kubeletVersion: kubelet = '', architecture = '' } = object.status?.nodeInfo ?? {};
  const platform = labels[OWN_KEYS.labels.platform] ?? '';
  return { ...node, status, reason, message, since, labels, platform, kubelet, architecture };
}

/** Whether an additional handler is proven there, or was. */
export function wasProven({ handlers }: NodeSummary, handler: string): boolean {
  return handlers.some((each) => each.handler === handler && each.provenBoot !== '');
}

/** In the order of the API. */
export async function listNodes(api: Api, labelSelector?: string): Promise<readonly NodeSummary[]> {
  return api.list<V1Node, NodeSummary>('/api/v1/nodes', { labelSelector }, summarizeNode);
}
