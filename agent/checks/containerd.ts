import { type CheckResult, error, pass, unknown, warning } from '../../lib/checks/finding.ts';
import type { CriStatus } from '../../lib/containerd/client.ts';
import { cannotStopSandboxes, parseContainerdRelease } from '../../lib/containerd/release.ts';
import type { CheckInputs } from './check.ts';

export async function checkContainerd(inputs: CheckInputs): Promise<CheckResult> {
  const status = await inputs.status();
  return { ...judgeStatus(status), facts: { containerd: status.runtimeVersion } };
}

export function judgeStatus(status: CriStatus): CheckResult {
  const { runtimeName, runtimeVersion } = status;
  const runtime = `${runtimeName} ${runtimeVersion}`;
  const evidence = [
    { value: runtime },
    ...status.conditions.map(({ type, status: holds, reason, message }) => ({
      value: `${type}=${holds}${holds ? '' : ` ${reason} ${message}`}`,
    })),
  ];
  if (runtimeName !== 'containerd') {
    const message = `${runtime} runs this node, and only containerd can be judged`;
    return unknown('RuntimeUnsupported', message, evidence);
  }
  const notReady = status.conditions.find(({ type, status: holds }) => type === 'RuntimeReady' && !holds);
  if (notReady) {
    const why = notReady.message || notReady.reason || 'it gives no reason';
    return error('ContainerdNotReady', `containerd says that it is not ready: ${why}`, evidence);
  }
  const release = parseContainerdRelease(runtimeVersion);
  if (release && cannotStopSandboxes(release)) {
    return warning('SandboxStuck', `containerd ${runtimeVersion} cannot stop gVisor pods`, evidence);
  }
  return pass(runtime, evidence);
}
