import type { V1Pod } from '@kubernetes/client-node';

/** Of the component canary, in the installation's namespace. */
export const CANARY_SELECTOR = 'app.kubernetes.io/component=canary';

/** The canary of a node, and since when no container of it runs; undefined if one does. Wall clock, milliseconds. */
export type CanaryPod = { readonly node: string; readonly idleSinceMs: number | undefined };

/** Undefined without a node. */
export function canaryPodOf({ metadata, spec, status }: V1Pod): CanaryPod | undefined {
  const { nodeName: node } = spec ?? {};
  if (node === undefined || metadata?.deletionTimestamp !== undefined) return undefined;
  const ready = status?.conditions?.find(({ type }) => type === 'Ready');
  const since = ready?.lastTransitionTime ?? metadata?.creationTimestamp;
  return { node, idleSinceMs: ready?.status === 'True' ? undefined : Date.parse(String(since)) };
}

/** Its container starts in seconds, and again every ten minutes. */
const STARTS_MS = 120_000;

/** Names of the nodes on which the canary does not run, although it had the time. */
export function failingCanaries(pods: readonly CanaryPod[], wallMs: number): readonly string[] {
  const isFailing = ({ idleSinceMs = wallMs }: CanaryPod) => wallMs - idleSinceMs > STARTS_MS;
  return pods.filter(isFailing).map(({ node }) => node);
}
