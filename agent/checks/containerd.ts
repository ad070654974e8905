import { advise, fail, pass, unknown } from '../finding.ts';
import { cannotStopSandboxes, parseContainerdRelease } from '../host/containerd-release.ts';
import { errorLine } from '../host/error-line.ts';
import type { Check } from './catalogue.ts';

/** Does containerd answer on the CRI socket, and does it call itself ready? */
export const containerd: Check = {
  id: 'containerd',
  title: 'containerd answers and is ready',
  async look({ cri }, signal) {
    const status = await cri.status(signal).catch((error: unknown) => {
      signal.throwIfAborted();
      return errorLine(error);
    });
    if (typeof status === 'string') {
      const message = `containerd does not answer on "${cri.socket}": ${status}`;
      return unknown('ContainerdUnreachable', message, [{ file: cri.socket, value: status }]);
    }
    const { runtimeName, runtimeVersion } = status;
    const named = `${runtimeName} ${runtimeVersion}`;
    const evidence = [
      { value: named },
      ...status.conditions.map(({ type, status: holds, reason, message }) => ({
        value: `${type}=${holds}${holds ? '' : ` ${reason} ${message}`}`,
      })),
    ];
    if (runtimeName !== 'containerd') {
      return unknown(
        'RuntimeUnsupported',
        `${named} runs this node, and only containerd can be judged`,
        evidence,
      );
    }
    const notReady = status.conditions.find(({ type, status: holds }) => type === 'RuntimeReady' && !holds);
    if (notReady) {
      const why = notReady.message || notReady.reason || 'it does not say why';
      return fail('ContainerdNotReady', `containerd says that it is not ready: ${why}`, evidence);
    }
    const release = parseContainerdRelease(runtimeVersion);
    if (release && cannotStopSandboxes(release)) {
      return advise('SandboxStuck', `containerd ${runtimeVersion} cannot stop gVisor pods`, evidence);
    }
    return pass(named, evidence);
  },
};
