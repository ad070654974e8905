import { isOpen, type Pod, type PodCounts, type PodsReport } from '../pods/pod.ts';
import type { Tone } from './format.ts';
import { MAX_LISTED, type Remark, type Times } from './remark.ts';
import type { Status } from './report.ts';

const VIOLATING = 'outside of gVisor where namespace or class requires it';

/** Violations come first. Without names for readers who may not see the pods. */
export function explainPods({ pods, podCounts }: Pick<Status, 'pods' | 'podCounts'>, times: Times): Remark[] {
  const counts = pods === undefined ? podCounts : countsOf(pods);
  if (counts === undefined) return [];
  const { violating, weakened, open, unknown = 0 } = counts;
  const seen: Remark[] = [];
  const add = (tone: Tone, text: string, below: readonly string[] = []) =>
    seen.push({ tone, about: 'pods', text, below });
  if (violating > 0) add('fail', `${counted(violating)} ${VIOLATING}`, listed(pods?.violating));
  if (weakened > 0)
    add(open > 0 ? 'fail' : 'warning', `${counted(weakened)} in a weakened sandbox`, listed(pods?.weakened));
  if (unknown > 0) add('unknown', `${counted(unknown)} in an unknown runtime where gVisor is required`);
  if (pods?.stale) add('unknown', `they cannot be read now: last read ${times.at(pods.at)}`);
  if (pods?.requirementsKnown === false) add('unknown', 'it is unknown which namespaces require gVisor');
  if (seen.length === 0) add('pass', `none runs ${VIOLATING}`);
  const permitted = pods?.permitted.length ?? 0;
  const where = pods?.requirementsKnown ? ' where nothing requires it' : '';
  if (permitted > 0)
    add('skipped', `${permitted} of ${counted(pods?.running ?? 0)} outside of gVisor${where}`);
  return seen;
}

export function stepsForPods({ pods, podCounts }: Pick<Status, 'pods' | 'podCounts'>): readonly string[] {
  const { violating = 0, weakened = 0 } = (pods === undefined ? podCounts : countsOf(pods)) ?? {};
  const steps: string[] = [];
  if (violating > 0)
    steps.push('Pods outside of gVisor: Delete them, and recreate them with a runtimeClassName of gVisor.');
  if (weakened > 0)
    steps.push(
      'Pods in a weakened sandbox: Recreate them without the annotations dev.gvisor.* that do this, and remove the patterns that pass them on from pod_annotations of the handler.',
    );
  return steps;
}

function countsOf({ violating, weakened, unknownRequired: unknown = 0 }: PodsReport): PodCounts {
  const open = weakened.filter(isOpen).length;
  return { violating: violating.length, weakened: weakened.length, open, unknown };
}

function listed(pods: readonly Pod[] = []): readonly string[] {
  const texts = pods
    .slice(0, MAX_LISTED)
    .map(({ namespace, name, evidence }) => `${namespace}/${name}: ${evidence}`);
  return pods.length > MAX_LISTED ? [...texts, `and ${pods.length - MAX_LISTED} more`] : texts;
}

function counted(pods: number): string {
  return pods === 1 ? '1 runs' : `${pods} run`;
}
