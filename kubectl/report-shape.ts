import type { Status } from '../agent/report.ts';

/** Whether what an agent told is a report as far as one is read: a node that was taken over may tell anything. */
export function isReport(told: unknown): told is Status {
  if (!hasTexts(told, 'node')) return false;
  const { verdict, look, provenAt = '', findings, proof, pods } = told;
  return (
    hasTexts(verdict, 'status', 'reason', 'message') &&
    hasTexts(look, 'at') &&
    typeof provenAt === 'string' &&
    areAll(findings, isFinding) &&
    hasTexts(proof, 'kind', 'message') &&
    (pods === undefined || arePods(pods))
  );
}

function isFinding(value: unknown): boolean {
  if (!hasTexts(value, 'check', 'status', 'message')) return false;
  const { status, reason, evidence = [] } = value;
  return (status !== 'fail' || typeof reason === 'string') && areAll(evidence, isEvidence);
}

function isEvidence(value: unknown): boolean {
  if (!hasTexts(value, 'value')) return false;
  const { file = '', line = 0 } = value;
  return typeof file === 'string' && typeof line === 'number';
}

function arePods(value: unknown): boolean {
  if (!hasTexts(value, 'at')) return false;
  // Agents of before do not tell which are inside, nor which are weakened.
  const { forbidden, allowed, untold, inside = [], weakened = [] } = value;
  const isPod = (each: unknown) => hasTexts(each, 'uid', 'evidence');
  return (
    [forbidden, allowed, untold].every((some) => areAll(some, isPod)) &&
    Array.isArray(inside) &&
    areAll(weakened, isWeakened)
  );
}

function isWeakened(value: unknown): boolean {
  if (!hasTexts(value, 'uid', 'evidence')) return false;
  return areAll(value.weak, (each) => hasTexts(each, 'weight'));
}

function hasTexts(value: unknown, ...names: readonly string[]): value is Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null) return false;
  return names.every((name) => typeof (value as Readonly<Record<string, unknown>>)[name] === 'string');
}

function areAll(value: unknown, is: (each: unknown) => boolean): boolean {
  return Array.isArray(value) && value.every(is);
}
