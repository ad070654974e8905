import type { Report } from '../report.ts';
import { OWN_KEYS } from './keys.ts';
import { labelsFor } from './labels.ts';
import { CONDITION, type NodeObject, type Wanted } from './object.ts';
import { guard } from './rollout-guard.ts';
import type { NodeOptions } from './writer.ts';

/** What a Node should say of a report, one entry a key, and why the rollout must wait on it, if it must. */
export function want(
  { verdict, facts }: Report,
  node: NodeObject,
  { taint, fingerprint, node: name }: Pick<NodeOptions, 'taint' | 'fingerprint' | 'node'>,
): { readonly wanted: readonly Wanted[]; readonly refusal: string | undefined } {
  const key = OWN_KEYS.annotations.provenBy;
  const written = node.metadata.annotations?.[key];
  const { provenBy, refusal } = guard(verdict, written, { fingerprint, node: name, key });
  const effect = verdict.status === 'True' ? null : 'NoSchedule';
  const entry = (part: Wanted['part'], key: string, value: string | null): Wanted => ({ part, key, value });
  const wanted = [
    ...Object.entries(labelsFor(verdict, facts)).map(([label, value]) => entry('labels', label, value)),
    ...(provenBy === undefined ? [] : [entry('annotations', key, provenBy)]),
    ...(taint ? [entry('taint', OWN_KEYS.taint, effect)] : []),
    entry('condition', CONDITION, `${verdict.status} ${verdict.reason}`),
  ];
  return { wanted, refusal };
}
