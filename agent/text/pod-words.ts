import type { PodsOutside } from '../pods/outside.ts';
import { inWords, type Tone } from './format.ts';

/** What is said of the pods outside of gVisor: how bad it is, in one sentence, and the rest in another. */
export type PodWords = {
  readonly tone: Tone;
  readonly headline: string;
  readonly remedy?: string;
  readonly rest?: string | undefined;
};

const REMEDY = 'End them, and start them again with a runtimeClassName of gVisor.';

/** Says which pods run outside of gVisor: first whether any does that must not. */
export function describePods(pods: PodsOutside): PodWords {
  const { forbidden, allowed, untold, running, requirementsKnown, stale, at } = pods;
  const elsewhere = forbidden.length > 0 || requirementsKnown ? ' where nothing requires it' : '';
  const parts: string[] = [];
  if (allowed.length > 0)
    parts.push(`${allowed.length} of ${counted(running)} outside of gVisor${elsewhere}`);
  if (untold.length > 0) parts.push(`${counted(untold.length)}, nobody can tell in what`);
  if (stale) parts.push(`read last at ${inWords(at)}`);
  const rest = parts.join('; ') || undefined;
  if (forbidden.length > 0) {
    const headline = `${counted(forbidden.length)} outside of gVisor in a namespace that requires it`;
    return { tone: 'fail', headline, remedy: REMEDY, rest };
  }
  if (!requirementsKnown)
    return { tone: 'unknown', headline: 'Which namespaces require gVisor is not known here', rest };
  if (stale) return { tone: 'unknown', headline: 'The pods cannot be read now', rest };
  return { tone: 'pass', headline: 'No pod runs outside of gVisor in a namespace that requires it', rest };
}

function counted(pods: number): string {
  return pods === 1 ? '1 pod runs' : `${pods} pods run`;
}
