import { advise, at, block, type CheckResult, type Evidence, pass, skip } from '../finding.ts';
import type { Reason } from '../reasons.ts';
import { DEFAULT_RUNSC_CONFIG } from '../runsc/config.ts';
import { annotationsPassed, UNKNOWN, weaknessesOf } from '../runsc/flags.ts';
import type { Check, CheckInputs } from './check.ts';

const SECCOMP_FILTER = 2;

/** One way in which a sandbox is weakened, or may be. */
type Problem = {
  readonly decides: boolean;
  readonly reason: Reason;
  readonly message: string;
  readonly evidence: readonly Evidence[];
};

/** Do the flags in force, the filter of system calls, and what pods may add leave the sandbox's isolation whole? */
export const isolation: Check = {
  id: 'isolation',
  title: 'Nothing weakens the sandbox',
  required: () => true,
  async inspect(reading, witness) {
    if (witness?.flags === undefined) return skip('No sandbox of gVisor was started');
    const process = `process ${witness.pid} "${witness.argv[0]}"`;
    if (witness.seccomp !== SECCOMP_FILTER) {
      const message =
        'The sandbox runs without a seccomp filter, so that an escape from it reaches every system call';
      return block('IsolationWeakened', message, [{ value: `${process}: Seccomp ${witness.seccomp}` }]);
    }
    const problems = [await weakFlags(reading, witness.flags), await openHandler(reading)].filter(
      (problem) => problem !== undefined,
    );
    const worst = problems.find(({ decides }) => decides) ?? problems[0];
    if (worst === undefined)
      return pass('No flag in force weakens the sandbox', [{ value: `${process}, with a seccomp filter` }]);
    return told(worst, problems);
  },
};

function told(worst: Problem, problems: readonly Problem[]): CheckResult {
  const inOrder = [worst, ...problems.filter((problem) => problem !== worst)];
  const say = worst.decides ? block : advise;
  const message = inOrder.map((problem) => problem.message).join('. ');
  return say(
    worst.reason,
    message,
    inOrder.flatMap(({ evidence }) => evidence),
  );
}

/** The flags of the probe's sandbox that weaken it. */
async function weakFlags(
  reading: CheckInputs,
  flags: Readonly<Record<string, string>>,
): Promise<Problem | undefined> {
  const weak = weaknessesOf(new Map(Object.entries(flags)));
  const [worst] = weak;
  if (worst === undefined) return undefined;
  // A flag that comes from elsewhere, such as a wrapper, stands in no file.
  const { file, lines } = await reading.runscConfig().catch(() => DEFAULT_RUNSC_CONFIG);
  const evidence = weak.map(({ flag, value, why }) => {
    const line = lines.get(flag);
    return at(line === undefined ? {} : { file, line }, `${flag} = "${value}": ${why}`);
  });
  const named = weak.map(({ flag, value }) => `${flag}=${value}`).join(', ');
  const weaken = worst.why === UNKNOWN ? 'may weaken' : 'weaken';
  const message = `Flags of runsc ${weaken} the sandbox (${named}): ${worst.why}`;
  return { decides: worst.severity === 'decides', reason: 'IsolationWeakened', message, evidence };
}

/**
 * What a pod may add by its annotations. containerd passes on those that match `pod_annotations`; `container_annotations`
 * are about annotations that only the kubelet and device plugins write.
 * Sources: https://github.com/containerd/containerd/blob/v2.4.2/internal/cri/util/util.go (GetPassthroughAnnotations),
 * https://github.com/kubernetes/kubernetes/blob/v1.36.3/pkg/kubelet/kuberuntime/labels.go (newContainerAnnotations)
 */
async function openHandler(reading: CheckInputs): Promise<Problem | undefined> {
  const { handler, forbidFlagOverride: decides } = reading.sources;
  const status = await reading.status().catch((error: unknown) => {
    // Only the setting makes a proof depend on this.
    if (decides) throw error;
    return undefined;
  });
  const passed = annotationsPassed(status?.runtimes.get(handler)?.podAnnotations ?? []);
  const [first] = passed;
  if (first === undefined) return undefined;
  const message = `The handler "${handler}" passes on annotations with which a pod weakens its own sandbox (${first.annotation} by the pattern "${first.pattern}"): ${first.why}`;
  const evidence = passed.map(({ pattern, annotation, why }) => ({
    value: `pod_annotations "${pattern}" passes ${annotation}: ${why}`,
  }));
  return { decides, reason: 'AnnotationsPassFlags', message, evidence };
}
