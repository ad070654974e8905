import { type FleetNode, fleetNodeOf } from '../lib/fleet/objects.ts';
import type { Kube } from '../lib/kube/client.ts';
import { OWN_KEYS } from '../lib/report/node-object.ts';
import { readNode } from './withdraw.ts';

/**
 * Bound to the version of the Node that was read, so that nothing is granted to a node that lost its label `ready`
 * meanwhile. Resolves to whether it was written.
 */
export async function writeEgressLabel(
  { name, uid }: FleetNode,
  value: 'true' | 'false',
  options: { readonly kube: Kube; readonly signal: AbortSignal },
): Promise<boolean> {
  const { kube, signal } = options;
  const whole = await readNode(name, options);
  const now = fleetNodeOf(whole);
  if (now.uid !== uid || now.egress === value || (value === 'true' && now.label !== 'true')) return false;
  const { resourceVersion } = whole.metadata;
  const body = { metadata: { uid, resourceVersion, labels: { [OWN_KEYS.egressClosed]: value } } };
  await kube.patch(`/api/v1/nodes/${name}/status`, body, 'strategic', signal);
  return true;
}
