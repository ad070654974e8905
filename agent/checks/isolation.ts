import {
  blocker,
  type CheckResult,
  type Evidence,
  type FailedCheck,
  pass,
  skip,
  unknown,
  warning,
} from '../../lib/checks/finding.ts';
import type { Witness } from '../../lib/proof/witness.ts';
import { DEFAULT_RUNSC_CONFIG } from '../../lib/runsc/config.ts';
import { annotationsPassed, UNKNOWN, type Weakness, weaknessesOf } from '../../lib/runsc/flags.ts';
import type { CheckInputs } from './check.ts';

const SECCOMP_FILTER = 2;

/** Judges the flags in force, the seccomp filter, and what the handler adds to pods or lets them set. */
export async function checkIsolation(inputs: CheckInputs, witness?: Witness): Promise<CheckResult> {
  if (witness?.flags === undefined) return skip('No sandbox of gVisor was started');
  const process = `process ${witness.pid} "${witness.argv[0]}"`;
  if (witness.seccomp !== SECCOMP_FILTER) {
    const message =
      'The sandbox runs without a seccomp filter, so that an escape from it reaches every system call';
    return blocker('IsolationWeakened', message, [{ value: `${process}: Seccomp ${witness.seccomp}` }]);
  }
  const { baseRuntimeSpec } = await inputs.runtime();
  const isKnown = baseRuntimeSpec === '' || (await inputs.baseSpec()) !== undefined;
  const found = [
    await weakFlags(inputs, witness.flags),
    isKnown ? await weakSpec(inputs, baseRuntimeSpec) : undefined,
    await passedAnnotations(inputs),
  ].filter((failure) => failure !== undefined);
  const isBlocker = ({ severity }: FailedCheck) => severity === 'blocker';
  const [worst] = found.sort((a, b) => Number(isBlocker(b)) - Number(isBlocker(a)));
  if (!isKnown && (worst === undefined || !isBlocker(worst))) {
    const message = `base_runtime_spec "${baseRuntimeSpec}" was changed since containerd read it, and what it read may weaken each sandbox: restart containerd`;
    return unknown('RestartPending', message, [{ file: baseRuntimeSpec, value: 'changed since' }]);
  }
  if (worst !== undefined)
    return {
      ...worst,
      message: found.map(({ message }) => message).join('. '),
      evidence: found.flatMap(({ evidence = [] }) => evidence),
    };
  const spec = baseRuntimeSpec === '' ? [] : [{ file: baseRuntimeSpec, value: 'base_runtime_spec' }];
  return pass('No flag in force weakens the sandbox', [
    { value: `${process}, with a seccomp filter` },
    ...spec,
  ]);
}

function weakening(
  what: string,
  weak: readonly Weakness[],
  placeOf: (flag: string) => Omit<Evidence, 'value'>,
): FailedCheck | undefined {
  const [worst] = weak;
  if (worst === undefined) return undefined;
  const names = weak.map(({ flag, value }) => `${flag}=${value}`).join(', ');
  const evidence = weak.map(({ flag, value, why }) => ({
    ...placeOf(flag),
    value: `${flag} = "${value}": ${why}`,
  }));
  const result = worst.severity === 'blocker' ? blocker : warning;
  return result('IsolationWeakened', `${what} (${names}): ${worst.why}`, evidence);
}

async function weakFlags(inputs: CheckInputs, flags: Readonly<Record<string, string>>) {
  const weak = weaknessesOf(new Map(Object.entries(flags)));
  if (weak.length === 0) return undefined;
  // A flag from elsewhere, such as a wrapper, has no file.
  const { file = '', lines } = await inputs.runscConfig().catch(() => DEFAULT_RUNSC_CONFIG);
  const what = `Flags of runsc ${weak[0]?.why === UNKNOWN ? 'may weaken' : 'weaken'} the sandbox`;
  return weakening(what, weak, (flag) => {
    const line = lines.get(flag);
    return line === undefined ? {} : { file, line };
  });
}

/** The sandbox of a proof does not show what a base spec adds to containers. */
async function weakSpec(inputs: CheckInputs, file: string) {
  if (file === '') return undefined;
  const { weak, changed } = (await inputs.baseSpec()) ?? { weak: [], changed: false };
  const pending = changed ? ', until containerd restarts and reads what the file has become' : '';
  const what = `base_runtime_spec "${file}" of the handler "${inputs.sources.handler}" weakens each sandbox${pending}`;
  return weakening(what, weak, () => ({ file }));
}

/**
 * containerd passes on annotations that match `pod_annotations`; only the kubelet and device plugins write
 * those of `container_annotations`.
 * https://github.com/containerd/containerd/blob/v2.4.2/internal/cri/util/util.go (GetPassthroughAnnotations)
 * https://github.com/kubernetes/kubernetes/blob/v1.36.3/pkg/kubelet/kuberuntime/labels.go
 * (newContainerAnnotations)
 */
async function passedAnnotations(inputs: CheckInputs) {
  const { handler, forbidFlagOverride } = inputs.sources;
  const status = await inputs.status().catch((error: unknown) => {
    // Readiness depends on this only with FORBID_FLAG_OVERRIDE.
    if (forbidFlagOverride) throw error;
    return undefined;
  });
  const passed = annotationsPassed(status?.runtimes.get(handler)?.podAnnotations ?? []);
  const [first] = passed;
  if (first === undefined) return undefined;
  const message = `The handler "${handler}" passes on annotations with which a pod weakens its own sandbox (${first.annotation} by the pattern "${first.pattern}"): ${first.why}`;
  const evidence = passed.map(({ pattern, annotation, why }) => ({
    value: `pod_annotations "${pattern}" passes ${annotation}: ${why}`,
  }));
  return (forbidFlagOverride ? blocker : warning)('AnnotationsPassFlags', message, evidence);
}
