import type { V1Pod } from '@kubernetes/client-node';
import { installerPodOf, SCHEDULED, type TurnInputs, turnsOf } from '../lib/fleet/turns.ts';
import type { Kube } from '../lib/kube/client.ts';
import { pagesOf } from '../lib/kube/pages.ts';

type TurnAccess = { readonly kube: Kube; readonly namespace: string; readonly signal: AbortSignal };

/** Binds the pods whose turn has come, by a list of all, as a scheduler does. Resolves with their nodes. */
export async function beginTurns(
  { kube, namespace, signal }: TurnAccess,
  inputs: TurnInputs,
): Promise<readonly string[]> {
  const path = `/api/v1/namespaces/${namespace}/pods`;
  const pods: V1Pod[] = [];
  const get = (page: string) => kube.get(page, signal);
  for await (const page of pagesOf<V1Pod>(get, path, { fieldSelector: SCHEDULED, limit: '250' }))
    pods.push(...(page.items ?? []));
  const { begin } = turnsOf(
    pods.flatMap((pod) => installerPodOf(pod) ?? []),
    inputs,
  );
  for (const { name, uid, node } of begin)
    await kube.post(`${path}/${name}/binding`, {
      apiVersion: 'v1',
      kind: 'Binding',
      metadata: { name, uid },
      target: { apiVersion: 'v1', kind: 'Node', name: node },
    });
  return begin.map(({ node }) => node);
}
