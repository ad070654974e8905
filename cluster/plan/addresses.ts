import type { NodeSpec } from './nodes.ts';

/** Nodes are in the same /24. */
export const CONTROL_PLANE_ADDRESS = '10.89.0.1';
/** The ClusterIP of `kubernetes`. The bridge has it, since there is no kube-proxy. */
export const SERVICE_ADDRESS = '10.96.0.1';

export function addressOf(spec: NodeSpec): string {
  return `10.89.0.${10 + spec.index}`;
}

/** Room for 500 pods, more than the kubelet's default of 110. */
export function podCidrOf({ index }: NodeSpec): string {
  return `10.${240 + (index >> 6)}.${(index & 63) << 2}.0/22`;
}
