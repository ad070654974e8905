import type { PodsReport } from '../pods/pod.ts';
import { isOpen } from '../pods/pod.ts';
import { inWords, type Tone } from './format.ts';

/** What is said of the pods outside of gVisor: how bad it is, in one sentence, and the rest in another. */
export type PodWords = {
  readonly tone: Tone;
  readonly headline: string;
  readonly remedy?: string;
  readonly rest?: string | undefined;
};

const REMEDY = 'End them, and start them again with a runtimeClassName of gVisor.';
const WEAKENED_REMEDY =
  'Start them again without the annotations dev.gvisor.* that do this, and remove the patterns that pass them on from pod_annotations of the handler.';

/** Says which pods run outside of gVisor where they must not, then which run in a weakened sandbox. */
export function describePods(pods: PodsReport): PodWords {
  const { violating, weakened, permitted, unknown, running, requirementsKnown, stale, at } = pods;
  const elsewhere = violating.length > 0 || requirementsKnown ? ' where nothing requires it' : '';
  const parts: string[] = [];
  if (permitted.length > 0)
    parts.push(`${permitted.length} of ${counted(running)} outside of gVisor${elsewhere}`);
  if (unknown.length > 0) parts.push(`${counted(unknown.length)}, nobody can tell in what`);
  if (stale) parts.push(`read last at ${inWords(at)}`);
  const weak = weakened.length > 0 && `${counted(weakened.length)} in a weakened sandbox`;
  if (weak && violating.length > 0) parts.unshift(weak);
  const rest = parts.join('; ') || undefined;
  if (violating.length > 0) {
    const headline = `${counted(violating.length)} outside of gVisor in a namespace that requires it`;
    return { tone: 'fail', headline, remedy: REMEDY, rest };
  }
  if (weak) {
    const tone = weakened.some(isOpen) ? 'fail' : 'warning';
    return { tone, headline: weak, remedy: WEAKENED_REMEDY, rest };
  }
  if (!requirementsKnown)
    return { tone: 'unknown', headline: 'Which namespaces require gVisor is not known here', rest };
  if (stale) return { tone: 'unknown', headline: 'The pods cannot be read now', rest };
  return { tone: 'pass', headline: 'No pod runs outside of gVisor in a namespace that requires it', rest };
}

function counted(pods: number): string {
  return pods === 1 ? '1 pod runs' : `${pods} pods run`;
}
