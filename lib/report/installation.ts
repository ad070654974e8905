import { formatUtc } from '../base/utc.ts';
import { describePending, type Installation, isUnderWay, RUN_AGAIN } from '../host/installation.ts';

/** Whether a person should wait, whatever the checks advise. */
export function isBeingInstalled(installation: Installation | undefined, reason: string): boolean {
  return isUnderWay(installation) && ['InstallationUnderWay', 'SandboxProven'].includes(reason);
}

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
  const text = parts.join('; ');
  if (isUnderWay(installation)) return { tone: 'unknown', text };
  const isFaulty = pending?.interrupted === true || failure !== undefined;
  return { tone: isFaulty ? 'warning' : 'pass', text };
}
