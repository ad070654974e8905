import { type Installation, isUnderWay } from '../host/installation.ts';
import type { Reason } from '../reasons.ts';
import type { Verdict } from '../verdict.ts';
import { formatUtc } from './format.ts';

/**
 * The verdict as it is published while the installer is at work, or was interrupted. The status stays: an installation neither
 * grants nor withdraws anything.
 */
export function duringInstallation(verdict: Verdict, installation: Installation | undefined): Verdict {
  const { pending } = installation ?? {};
  if (pending === undefined || verdict.status === 'True' || verdict.reason === 'AgentStarting')
    return verdict;
  const what = describePending(pending);
  if (pending.interrupted) return { ...verdict, message: `${what}: ${RUN_AGAIN}; ${verdict.message}` };
  if (ALARMING.includes(verdict.reason)) return { ...verdict, message: `${what}; ${verdict.message}` };
  const message = `${what}; meanwhile ${verdict.reason}: ${verdict.message}`;
  return { ...verdict, reason: 'InstallationUnderWay', message };
}

/** Pods that run now are affected, so nothing may hide these. */
const ALARMING: readonly Reason[] = ['GuestIsHostKernel', 'GuestNotGVisor', 'HandlerRunsRunc'];
const RUN_AGAIN = 'run gvisor-ready-install again, which finishes it or takes it back';

function describePending(pending: NonNullable<Installation['pending']>): string {
  const { release, step, since, removes = false, interrupted } = pending;
  const where = `(step ${step}, begun ${formatUtc(since)})`;
  return interrupted
    ? `the ${removes ? 'removal' : 'installation'} of ${release} was interrupted ${where}`
    : `${release} is being ${removes ? 'removed' : 'installed'} ${where}`;
}

/** Whether the installer is at work on what the checks see, so that a person should wait, whatever they advise. */
export function isBeingInstalled(installation: Installation | undefined, reason: string): boolean {
  return isUnderWay(installation) && ['InstallationUnderWay', 'SandboxProven'].includes(reason);
}

/** What the installer did and does on a node, in a line. */
export function describeInstallation(installation: Installation): {
  readonly tone: 'pass' | 'warning' | 'unknown';
  readonly text: string;
} {
  const { installed, pending, failure } = installation;
  const parts = installed === undefined ? [] : [`${installed} is installed`];
  if (pending !== undefined)
    parts.push(`${describePending(pending)}${pending.interrupted ? `: ${RUN_AGAIN}` : ''}`);
  if (failure !== undefined) {
    const { release, step, reason, message, at } = failure;
    const cause = [reason, message].filter(Boolean).join(': ');
    parts.push(`${release} failed at ${formatUtc(at)} in step ${step}: ${cause}`);
  }
  const isFaulty = pending?.interrupted === true || failure !== undefined;
  const tone = isUnderWay(installation) ? 'unknown' : isFaulty ? 'warning' : 'pass';
  return { tone, text: parts.join('; ') };
}
