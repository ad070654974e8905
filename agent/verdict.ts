import type { Finding } from './finding.ts';
import type { Outcome } from './proof/outcome.ts';
import type { Reason } from './reasons.ts';

/** Failures that no check and no word of containerd explains, so that the node may be to blame. */
export const UNEXPLAINED: readonly Reason[] = ['SandboxFailed', 'SandboxDied'];

/** What one look at the node came to. */
export type Verdict = {
  readonly status: 'True' | 'False' | 'Unknown';
  readonly reason: Reason;
  readonly message: string;
  /** The node is busy, which is why nothing could be seen: that says nothing against it. */
  readonly tolerated?: true;
};

/**
 * A booted sandbox decides, files explain. Only a proof makes a node ready, unless what it showed blocks the node (a
 * weakened isolation), or a required check could not look. Only a sandbox that does not boot makes a node not ready; the
 * first check that saw a fault then names the cause. Without either the node is unknown, whatever files say.
 */
export function judge(findings: readonly Finding[], outcome: Outcome): Verdict {
  if (outcome.kind === 'proven') return granted(findings, outcome);
  // These two say something about running pods, which no file may hide.
  if (outcome.reason === 'GuestIsHostKernel' || outcome.reason === 'GuestNotGVisor') {
    return explained(findings, outcome, ['HandlerRunsRunc']);
  }
  if (outcome.kind === 'failed' || outcome.kind === 'stuck') return explained(findings, outcome);
  const { reason, message, tolerated } = outcome;
  return { status: 'Unknown', reason, message, ...(tolerated ? { tolerated: true } : {}) };
}

function granted(findings: readonly Finding[], { message }: Outcome): Verdict {
  const blocked = findings.filter(isCause).find(({ severity }) => severity === 'blocker');
  if (blocked) return { status: 'False', reason: blocked.reason, message: blocked.message };
  const blind = findings.find((finding) => finding.status === 'unknown' && finding.blocking);
  if (blind?.status !== 'unknown') return { status: 'True', reason: 'SandboxProven', message };
  return { status: 'Unknown', reason: blind.reason, message: blind.message };
}

/** A failed proof in the words of the check that knows its cause, with containerd's words behind. */
function explained(
  findings: readonly Finding[],
  outcome: Exclude<Outcome, { kind: 'proven' }>,
  only?: readonly Reason[],
): Verdict {
  const cause = findings.filter(isCause).find(({ reason }) => only?.includes(reason) ?? true);
  if (cause === undefined) return { status: 'False', reason: outcome.reason, message: outcome.message };
  return { status: 'False', reason: cause.reason, message: `${cause.message}; ${outcome.message}` };
}

/** Whether a finding names a fault, and not a mere warning. */
export function isCause(finding: Finding): finding is Finding & { status: 'fail' } {
  return finding.status === 'fail' && finding.severity !== 'warning';
}
