import { accepted, type Case, type Group, refused } from './admission-case.ts';
import type { Admission } from './admission-cluster.ts';
import { container, create } from './admission-objects.ts';

/** A mirror pod as a kubelet writes it for a static pod. */
export async function mirrorPod({ as }: Admission): Promise<object> {
  const { body } = await as('admin', { method: 'GET', path: '/api/v1/nodes/node-9' });
  const { uid } = (body as { readonly metadata: { readonly uid: string } }).metadata;
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: 'static-node-9',
      annotations: { 'kubernetes.io/config.mirror': 'x' },
      ownerReferences: [{ apiVersion: 'v1', kind: 'Node', name: 'node-9', uid, controller: true }],
    },
    spec: { nodeName: 'node-9', ...container() },
  };
}
const dry = (body: object) => create('strict', body, 'dryRun=All');
const MIRRORS: readonly Case[] = [
  accepted("the kubelet's own, of a static pod", async (on) => dry(await mirrorPod(on)), { as: 'kubelet' }),
  refused(
    'the same without the annotation',
    async (on) => dry({ ...(await mirrorPod(on)), metadata: { name: 'static-node-9' } }),
    /./,
    { as: 'kubelet' },
  ),
  refused(
    'the same from anybody else',
    async (on) =>
      dry({
        ...(await mirrorPod(on)),
        metadata: { name: 'm', annotations: { 'kubernetes.io/config.mirror': 'x' } },
      }),
    /is not set: write runtimeClassName: gvisor; spec\.nodeName is "node-9"/,
    { as: 'dispatcher' },
  ),
];

/** Mirror pods, by kubelets and by others. */
export const MIRROR_GROUPS: readonly Group[] = [{ title: 'mirror pods', cases: MIRRORS }];
