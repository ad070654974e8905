import type { Host } from '../host/host.ts';
import { type CheckResult, error, pass, warning } from './finding.ts';

const RELEASE_FILE = '/proc/sys/kernel/osrelease';
/** https://gvisor.dev/docs/user_guide/install/ */
const OLDEST = [4, 14, 77];
/** gVisor releases after 20260817.0 use openat2: https://github.com/google/gvisor/commit/a7402ea5d */
const OLDEST_FOR_NEXT = [5, 6, 0];

export async function checkKernel(host: Host): Promise<CheckResult> {
  const release = (await host.readText(RELEASE_FILE))?.trim();
  const text = release ?? /^Linux version (\S+)/.exec((await host.readText('/proc/version')) ?? '')?.[1];
  if (text === undefined) throw new Error(`Cannot read host file "${RELEASE_FILE}": it is not there`);
  return judgeKernel(text, process.arch, release === undefined ? '/proc/version' : RELEASE_FILE);
}

/** A release such as "6.1.0-28-amd64", and Node's name of an architecture. */
export function judgeKernel(release: string, arch: string, file = RELEASE_FILE): CheckResult {
  const evidence = [{ file, value: release }, { value: arch }];
  if (arch !== 'x64' && arch !== 'arm64') {
    return error('KernelUnsupported', `runsc is not built for ${arch}, only for x86_64 and arm64`, evidence);
  }
  const [, major, minor, patch = 0] = /^(\d+)\.(\d+)(?:\.(\d+))?/.exec(release) ?? [];
  if (minor === undefined) throw new Error(`Cannot tell the kernel release from "${release}"`);
  const numbers = [major, minor, patch].map(Number);
  if (isOlder(numbers, OLDEST)) {
    return error('KernelUnsupported', `Linux ${release} is older than ${OLDEST.join('.')}`, evidence);
  }
  if (isOlder(numbers, OLDEST_FOR_NEXT)) {
    const message = `Linux ${release} is older than 5.6, which gVisor releases after 20260817.0 need`;
    return warning('KernelUnsupported', message, evidence);
  }
  return pass(`Linux ${release} on ${arch}`, evidence);
}

/** Not `localeCompare`, which loads 2 MiB of ICU on each node. */
function isOlder(numbers: readonly number[], than: readonly number[]): boolean {
  const at = numbers.findIndex((number, index) => number !== than[index]);
  return at !== -1 && (numbers[at] ?? 0) < (than[at] ?? 0);
}
