import { TimeoutError } from '../base/async.ts';
import type { Reason } from '../base/reasons.ts';
import { errorLine } from '../base/sanitize.ts';
import type { Finding } from '../checks/finding.ts';
import { describePending, type Installation, RUN_AGAIN } from '../host/installation.ts';
import type { Outcome } from '../proof/outcome.ts';

/** Failures without a known cause: neither a check nor containerd's error explains them, so the node may be at fault. */
export const UNEXPLAINED: readonly Reason[] = ['SandboxFailed', 'SandboxDied', 'KvmRunsNoGuest'];

export type Verdict = {
  readonly status: 'True' | 'False' | 'Unknown';
  readonly reason: Reason;
  readonly message: string;
  /** Set on an Unknown that CPU pressure on the node explains; it is no evidence against gVisor. */
  readonly tolerated?: true;
};

export const STARTING: Verdict = {
  status: 'Unknown',
  reason: 'AgentStarting',
  message: 'the first evaluation has not ended yet',
};

export function notEvaluated(cause: unknown): Verdict {
  const reason = cause instanceof TimeoutError ? 'CheckTimedOut' : 'CheckFailed';
  return { status: 'Unknown', reason, message: `the evaluation failed: ${errorLine(cause)}` };
}

/** Facts beside the evaluation that decide what is said of a handler: the installer's work, and what the Node says. */
export type Circumstances = {
  readonly installation?: Installation | undefined;
  readonly boot?: string;
  /** The boot that the kubelet reports, if it is another. */
  readonly reportedBoot?: string | undefined;
  /** The boot in which a label of the Node was proven, if it is another; "" if that is not known. */
  readonly labelBoot?: string | undefined;
  /** Whether no admission policy refuses a write that is not the agent's, so that a label is not granted. */
  readonly unguarded?: boolean;
};

/**
 * Makes the published verdict under these circumstances: the Node, the metrics, the report and all that is made of them say
 * this. A proof is valid only in the boot in which it was made: the label of another boot goes before the first
 * evaluation, and a new proof is withheld while the kubelet reports another boot, because the fleet controller would
 * withdraw its label again. An installation changes no status.
 */
export function published(verdict: Verdict, circumstances: Circumstances): Verdict {
  const { installation, boot = '', reportedBoot, labelBoot, unguarded } = circumstances;
  if (verdict.reason === 'AgentStarting')
    return labelBoot === undefined ? verdict : rebooted(rebootMessage(labelBoot, boot));
  if (verdict.status !== 'True') return duringInstallation(verdict, installation);
  if (reportedBoot !== undefined)
    return rebooted(
      `gVisor was proven in the boot ${boot}, but the kubelet reports the boot ${reportedBoot}`,
    );
  return unguarded ? UNGUARDED : verdict;
}

function rebooted(message: string): Verdict {
  return { status: 'Unknown', reason: 'NodeRebooted', message };
}

/** Message for a label that is withdrawn because of a reboot; `proven` is "" if the boot of its proof is not known. */
export function rebootMessage(proven: string, boot: string): string {
  const when = proven === '' ? 'an unknown boot' : `the boot ${proven}`;
  return `gVisor was proven in ${when}, and not yet in the present one, ${boot}`;
}

/** Published instead of a proof while no admission policy limits the agent to its own Node. */
export const UNGUARDED: Verdict = {
  status: 'Unknown',
  reason: 'WritesUnguarded',
  message:
    'gVisor works here, but no admission policy keeps this agent from writing other nodes: the label is not granted',
};

/** Pods that run now are affected, so nothing may hide these. */
const ALARMING: readonly Reason[] = ['GuestIsHostKernel', 'GuestNotGVisor', 'HandlerRunsRunc'];

function duringInstallation(verdict: Verdict, installation: Installation | undefined): Verdict {
  const { pending } = installation ?? {};
  if (pending === undefined || verdict.reason === 'InstallationUnderWay') return verdict;
  const what = describePending(pending);
  if (pending.interrupted) return { ...verdict, message: `${what}: ${RUN_AGAIN}; ${verdict.message}` };
  if (ALARMING.includes(verdict.reason)) return { ...verdict, message: `${what}; ${verdict.message}` };
  const message = `${what}; meanwhile ${verdict.reason}: ${verdict.message}`;
  return { ...verdict, reason: 'InstallationUnderWay', message };
}

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
