import type { Finding } from './checks/finding.ts';
import type { Outcome } from './proof/outcome.ts';
import type { Reason } from './reasons.ts';

/** Failures without a known cause: neither a check nor containerd's error explains them, so the node may be at fault. */
export const UNEXPLAINED: readonly Reason[] = ['SandboxFailed', 'SandboxDied', 'KvmRunsNoGuest'];

/** The judgement of one evaluation. */
export type Verdict = {
  readonly status: 'True' | 'False' | 'Unknown';
  readonly reason: Reason;
  readonly message: string;
  /** Set on an Unknown that CPU pressure on the node explains; it is no evidence against gVisor. */
  readonly tolerated?: true;
};

/**
 * A booted sandbox decides; files only explain. A proof makes the node ready unless a finding is blocking (isolation is
 * weakened) or a required check could not run. A sandbox that fails to boot makes it not ready, and the first check that
 * found a fault names the cause. Everything else is Unknown.
 */
export function judge(findings: readonly Finding[], outcome: Outcome): Verdict {
  if (outcome.kind === 'proven') return judgeProven(findings, outcome);
  // These two affect running pods, so no other cause may hide them.
  if (outcome.reason === 'GuestIsHostKernel' || outcome.reason === 'GuestNotGVisor')
    return explain(findings, outcome, ['HandlerRunsRunc']);
  if (outcome.kind === 'failed' || outcome.kind === 'stuck') return explain(findings, outcome);
  const { reason, message, tolerated } = outcome;
  return { status: 'Unknown', reason, message, ...(tolerated ? { tolerated: true } : {}) };
}

function judgeProven(findings: readonly Finding[], { message }: Outcome): Verdict {
  const blocker = findings.filter(isCause).find(({ severity }) => severity === 'blocker');
  if (blocker) return { status: 'False', reason: blocker.reason, message: blocker.message };
  const blind = findings.find((finding) => finding.status === 'unknown' && finding.blocking);
  if (blind?.status !== 'unknown') return { status: 'True', reason: 'SandboxProven', message };
  return { status: 'Unknown', reason: blind.reason, message: blind.message };
}

/** Prefers the reason of a check that knows the cause, and appends containerd's error. */
function explain(
  findings: readonly Finding[],
  outcome: Exclude<Outcome, { kind: 'proven' }>,
  only?: readonly Reason[],
): Verdict {
  const cause = findings.filter(isCause).find(({ reason }) => only?.includes(reason) ?? true);
  if (cause === undefined) return { status: 'False', reason: outcome.reason, message: outcome.message };
  return { status: 'False', reason: cause.reason, message: `${cause.message}; ${outcome.message}` };
}

/** Whether a finding is a fault rather than a warning. */
export function isCause(finding: Finding): finding is Finding & { status: 'fail' } {
  return finding.status === 'fail' && finding.severity !== 'warning';
}
