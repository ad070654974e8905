import { READY } from './known.ts';
import type { NodeView, Taint } from './node-view.ts';
import type { RawPod, Toleration } from './pod-view.ts';

/** Why a pod does not go to a proven node; undefined when nothing that is looked at speaks against it. */
export type Obstacle = 'not proven' | 'NotReady' | 'cordoned' | 'its node selector' | 'a taint';

/** What keeps a pod from a node, as far as labels, taints and the kubelet tell; resources and affinities are the scheduler's. */
export function obstacleOf(pod: RawPod, node: NodeView): Obstacle | undefined {
  if (node.ready !== 'true') return 'not proven';
  if (!node.alive) return 'NotReady';
  if (node.cordoned) return 'cordoned';
  const selector = Object.entries(pod.spec.nodeSelector ?? {});
  if (selector.some(([key, value]) => key !== READY && node.labels[key] !== value))
    return 'its node selector';
  const { tolerations = [] } = pod.spec;
  const repels = node.taints.some(
    (taint) => taint.effect !== 'PreferNoSchedule' && !tolerations.some((each) => tolerates(each, taint)),
  );
  return repels ? 'a taint' : undefined;
}

/** Source: https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/ */
function tolerates({ key, operator = 'Equal', value = '', effect }: Toleration, taint: Taint): boolean {
  if (effect !== undefined && effect !== '' && effect !== taint.effect) return false;
  if (key === undefined || key === '') return operator === 'Exists';
  return key === taint.key && (operator === 'Exists' || value === (taint.value ?? ''));
}
