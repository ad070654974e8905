import type { Claim } from './claim.ts';
import { OWN_KEYS } from './keys.ts';
import { labelsFor } from './labels.ts';
import { CONDITION, type NodeObject, type Wanted } from './object.ts';
import { guard } from './rollout-guard.ts';
import type { NodeOptions } from './writer.ts';

/** What a Node should say of a claim, one entry a key, and why the rollout must wait on it, if it must. */
export function want(
  { verdict, facts }: Claim,
  node: NodeObject,
  { taint, fingerprint, boot, node: name }: Pick<NodeOptions, 'taint' | 'fingerprint' | 'boot' | 'node'>,
): { readonly wanted: readonly Wanted[]; readonly refusal: string | undefined } {
  const { provenBy: key, provenBoot: bootKey } = OWN_KEYS.annotations;
  const written = node.metadata.annotations?.[key];
  const isProven = verdict.status === 'True';
  const { provenBy, refusal } = guard(verdict, written, { fingerprint, node: name, key });
  const entry = (part: Wanted['part'], key: string, value: string | null): Wanted => ({ part, key, value });
  const wanted = [
    ...Object.entries(labelsFor(verdict, facts)).map(([label, value]) => entry('labels', label, value)),
    ...(provenBy === undefined ? [] : [entry('annotations', key, provenBy)]),
    ...(isProven ? [entry('annotations', bootKey, boot)] : []),
    ...(taint && !(isProven && isNotReady(node))
      ? [entry('taint', OWN_KEYS.taint, isProven ? null : 'NoSchedule')]
      : []),
    entry('condition', CONDITION, `${verdict.status} ${verdict.reason}`),
  ];
  return { wanted, refusal };
}

/** Whether the kubelet does not say that the Node is Ready: the fleet controller may have tainted it, in case it reboots. */
export function isNotReady({ status }: NodeObject): boolean {
  return status?.conditions?.some((each) => each.type === 'Ready' && each.status !== 'True') ?? false;
}
