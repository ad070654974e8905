import { READY_LABEL } from '../../cluster/story.ts';
import type { Kube } from '../../lib/kube/client.ts';
import { conditionOf } from '../api/fleet-objects.ts';

/** A kubelet reports at most 50 images. */
const IMAGES = Array.from({ length: 50 }, (_, index) => ({
  names: [
    `registry.example.com/team/image-${index}@sha256:${'0'.repeat(64)}`,
    `registry.example.com/team/image-${index}:1`,
  ],
  sizeBytes: 123_456_789,
}));

/** A Node with about as many labels as in a cloud. */
export function fleetNode(name: string): object {
  const more = Array.from({ length: 20 }, (_, index) => [`example.com/label-${index}`, `value-${index}`]);
  return { metadata: { name, labels: { [READY_LABEL]: 'true', ...Object.fromEntries(more) } } };
}

/** A Node status as kubelet and agent write it. */
export function fleetNodeStatus(): object {
  const conditions = ['MemoryPressure', 'DiskPressure', 'PIDPressure'].map((type) =>
    conditionOf(type, 'False', type),
  );
  conditions.push(
    conditionOf('Ready', 'True', 'KubeletReady'),
    conditionOf('GVisorReady', 'True', 'SandboxProven'),
  );
  const nodeInfo = { containerRuntimeVersion: 'containerd://2.1.4', operatingSystem: 'linux' };
  return { status: { conditions, images: IMAGES, nodeInfo } };
}

/** Processes items concurrently, one per client. */
export async function inBatches(
  kubes: readonly Kube[],
  items: readonly string[],
  work: (kube: Kube, item: string) => Promise<void>,
): Promise<void> {
  const remaining = [...items];
  await Promise.all(
    kubes.map(async (kube) => {
      for (let item = remaining.shift(); item !== undefined; item = remaining.shift()) await work(kube, item);
    }),
  );
}
