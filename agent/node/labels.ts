import type { Facts } from '../facts.ts';
import type { Verdict } from '../verdict.ts';
import { OWN_KEYS } from './keys.ts';

/**
 * The node's labels: `null` takes one away. Only a proven node is "true"; what was never judged has none. What a new agent
 * could not tell yet stays as its predecessor told it, but not on a node that fails.
 */
export function labelsFor(verdict: Verdict, facts: Facts): Record<string, string | null> {
  const { ready, runscVersion, platform } = OWN_KEYS.labels;
  const isTold = (fact: keyof Facts) => fact in facts || verdict.status === 'False';
  return {
    [ready]: verdict.status === 'True' ? 'true' : 'false',
    ...(isTold('runsc') ? { [runscVersion]: labelValue(facts.runsc) } : {}),
    ...(isTold('platform') ? { [platform]: labelValue(facts.platform) } : {}),
  };
}

/**
 * A text as a label's value: at most 63 of [A-Za-z0-9._-], beginning and ending with a letter or digit.
 * Source: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set
 */
export function labelValue(text: string | undefined): string | null {
  const value = (text ?? '')
    .replace(/[^A-Za-z0-9._-]+/g, '-')
    .slice(0, 63)
    .replace(/^[^A-Za-z0-9]+|[^A-Za-z0-9]+$/g, '');
  return value === '' ? null : value;
}
