import type { Reason } from '../reasons.ts';
import { readBaseSpec } from '../runsc/base-spec.ts';
import { DEFAULT_RUNSC_CONFIG } from '../runsc/config.ts';
import { annotationsPassed, UNKNOWN, type Weakness, weaknessesOf } from '../runsc/flags.ts';
import type { Check, CheckInputs } from './check.ts';
import { at, blocker, type CheckResult, type Evidence, pass, skip, warning } from './finding.ts';

const SECCOMP_FILTER = 2;

type Problem = {
  readonly isBlocker: boolean;
  readonly reason: Reason;
  readonly message: string;
  readonly evidence: readonly Evidence[];
};

/** Judges the flags in force, the seccomp filter, and what the handler adds to pods or lets them set. */
export const isolation: Check = {
  id: 'isolation',
  title: 'Nothing weakens the sandbox',
  required: () => true,
  async inspect(inputs, witness) {
    if (witness?.flags === undefined) return skip('No sandbox of gVisor was started');
    const process = `process ${witness.pid} "${witness.argv[0]}"`;
    if (witness.seccomp !== SECCOMP_FILTER) {
      const message =
        'The sandbox runs without a seccomp filter, so that an escape from it reaches every system call';
      return blocker('IsolationWeakened', message, [{ value: `${process}: Seccomp ${witness.seccomp}` }]);
    }
    const { baseRuntimeSpec } = await inputs.runtime();
    const problems = [
      await weakFlags(inputs, witness.flags),
      await weakSpec(inputs, baseRuntimeSpec),
      await passedAnnotations(inputs),
    ].filter((problem) => problem !== undefined);
    const worst = problems.find(({ isBlocker }) => isBlocker) ?? problems[0];
    if (worst !== undefined) return resultOf(worst, problems);
    const spec = baseRuntimeSpec === '' ? [] : [{ file: baseRuntimeSpec, value: 'base_runtime_spec' }];
    return pass('No flag in force weakens the sandbox', [
      { value: `${process}, with a seccomp filter` },
      ...spec,
    ]);
  },
};

function resultOf(worst: Problem, problems: readonly Problem[]): CheckResult {
  const inOrder = [worst, ...problems.filter((problem) => problem !== worst)];
  const result = worst.isBlocker ? blocker : warning;
  const message = inOrder.map((problem) => problem.message).join('. ');
  return result(
    worst.reason,
    message,
    inOrder.flatMap(({ evidence }) => evidence),
  );
}

async function weakFlags(
  inputs: CheckInputs,
  flags: Readonly<Record<string, string>>,
): Promise<Problem | undefined> {
  const weak = weaknessesOf(new Map(Object.entries(flags)));
  const [worst] = weak;
  if (worst === undefined) return undefined;
  // A flag from elsewhere, such as a wrapper, has no file.
  const { file, lines } = await inputs.runscConfig().catch(() => DEFAULT_RUNSC_CONFIG);
  const evidence = weak.map(({ flag, value, why }) => {
    const line = lines.get(flag);
    return at(line === undefined ? {} : { file, line }, `${flag} = "${value}": ${why}`);
  });
  const weaken = worst.why === UNKNOWN ? 'may weaken' : 'weaken';
  const message = `Flags of runsc ${weaken} the sandbox (${namesOf(weak)}): ${worst.why}`;
  return { isBlocker: worst.severity === 'blocker', reason: 'IsolationWeakened', message, evidence };
}

/** The sandbox of a proof does not show what a base spec adds to containers. */
async function weakSpec({ sources }: CheckInputs, file: string): Promise<Problem | undefined> {
  const weak = file === '' ? [] : await readBaseSpec(sources.host, file);
  const [worst] = weak;
  if (worst === undefined) return undefined;
  const message = `base_runtime_spec "${file}" of the handler "${sources.handler}" weakens each sandbox (${namesOf(weak)}): ${worst.why}`;
  const evidence = weak.map(({ flag, value, why }) => at({ file }, `${flag} = "${value}": ${why}`));
  return { isBlocker: worst.severity === 'blocker', reason: 'IsolationWeakened', message, evidence };
}

function namesOf(weak: readonly Weakness[]): string {
  return weak.map(({ flag, value }) => `${flag}=${value}`).join(', ');
}

/**
 * containerd passes on annotations that match `pod_annotations`; only the kubelet and device plugins write
 * those of `container_annotations`.
 * https://github.com/containerd/containerd/blob/v2.4.2/internal/cri/util/util.go (GetPassthroughAnnotations)
 * https://github.com/kubernetes/kubernetes/blob/v1.36.3/pkg/kubelet/kuberuntime/labels.go
 * (newContainerAnnotations)
 */
async function passedAnnotations(inputs: CheckInputs): Promise<Problem | undefined> {
  const { handler, forbidFlagOverride: isBlocker } = inputs.sources;
  const status = await inputs.status().catch((error: unknown) => {
    // Readiness depends on this only with FORBID_FLAG_OVERRIDE.
    if (isBlocker) throw error;
    return undefined;
  });
  const passed = annotationsPassed(status?.runtimes.get(handler)?.podAnnotations ?? []);
  const [first] = passed;
  if (first === undefined) return undefined;
  const message = `The handler "${handler}" passes on annotations with which a pod weakens its own sandbox (${first.annotation} by the pattern "${first.pattern}"): ${first.why}`;
  const evidence = passed.map(({ pattern, annotation, why }) => ({
    value: `pod_annotations "${pattern}" passes ${annotation}: ${why}`,
  }));
  return { isBlocker, reason: 'AnnotationsPassFlags', message, evidence };
}
