import { blocker, type CheckResult, pass, skip, unknown, warning } from '../../lib/checks/finding.ts';
import { isBelow } from '../../lib/proof/sandbox.ts';
import type { Witness } from '../../lib/proof/witness.ts';
import type { CheckInputs } from './check.ts';

/** Judged by the cgroups of the probe's process. */
export async function checkLimits(
  { sources: { requireLimits } }: CheckInputs,
  witness?: Witness,
): Promise<CheckResult> {
  if (witness === undefined) return skip('No sandbox was started');
  const { cgroups, cgroupParent, pid, flags = {} } = witness;
  const evidence = [
    { value: `asked for ${cgroupParent || 'no cgroup'}` },
    ...cgroups.map((path) => ({ value: `process ${pid} is in ${path}` })),
  ];
  if (cgroupParent === '') {
    const message = "No pod here shows the kubelet's cgroup for sandboxes";
    return requireLimits ? unknown('CheckFailed', message, evidence) : skip(message, evidence);
  }
  if (isBelow(cgroups, cgroupParent)) return pass(`The sandbox lies in ${cgroupParent}`, evidence);
  const message = `CPU and memory limits of pods are not enforced: the sandbox should be in ${cgroupParent} and is in ${cgroups.join(' and ')}${adviceFor(cgroupParent, flags)}`;
  const result = requireLimits ? blocker : warning;
  return result('LimitsNotEnforced', message, evidence);
}

function adviceFor(cgroupParent: string, flags: Readonly<Record<string, string>>): string {
  if (flags['ignore-cgroups'] === 'true') return '; runsc runs with ignore-cgroups';
  if (cgroupParent.endsWith('.slice') && flags['systemd-cgroup'] !== 'true')
    return '; the kubelet uses the systemd driver, so write systemd-cgroup = "true" into [runsc_config]';
  return '';
}
