import type { Report } from '../report.ts';
import { OWN_KEYS } from './keys.ts';
import { labelsFor } from './labels.ts';
import type { NodeObject, Wanted } from './object.ts';
import { guard } from './rollout-guard.ts';
import type { NodeOptions } from './writer.ts';

/** What a Node should say of a report, and why the rollout must wait on it, if it must. */
export function want(
  { verdict, facts }: Report,
  node: NodeObject,
  { taint, fingerprint, node: name }: Pick<NodeOptions, 'taint' | 'fingerprint' | 'node'>,
): { readonly wanted: Wanted; readonly refusal: string | undefined } {
  const key = OWN_KEYS.annotations.provenBy;
  const written = node.metadata.annotations?.[key];
  const { provenBy, refusal } = guard(verdict, written, { fingerprint, node: name, key });
  const wanted = {
    labels: labelsFor(verdict, facts),
    annotations: provenBy === undefined ? {} : { [key]: provenBy },
    verdict,
    ...(taint ? { taint: { key: OWN_KEYS.taint, present: verdict.status !== 'True' } } : {}),
  };
  return { wanted, refusal };
}
