import { readFile } from 'node:fs/promises';
import type { Host } from '../host/host.ts';
import { type CheckResult, error, pass, warning } from './finding.ts';

const RELEASE_FILE = '/proc/sys/kernel/osrelease';
/** https://gvisor.dev/docs/user_guide/install/ */
const OLDEST = [4, 14, 77];
/** gVisor releases after 20260817.0 use openat2: https://github.com/google/gvisor/commit/a7402ea5d */
const OLDEST_FOR_NEXT = [5, 6, 0];

/** Of an arm64 kernel, which is built for one size of pages and of addresses: /proc/self/auxv and /proc/self/maps. */
export type AddressSpace = { readonly pageBytes: number; readonly addressBits: number };

/** runsc is built for pages of this size: pkg/hostarch/hostarch_arm64.go */
const PAGE_BYTES = 4096;
/** Of processes in gVisor, until the releases that ask the kernel: pkg/sentry/platform/systrap/systrap_arm64.go */
const ADDRESS_BITS = 48;
/** Its sources are the first, of those that were read, that run with other pages and addresses. */
const FLEXIBLE = '20260831.0';

export async function checkKernel(host: Host): Promise<CheckResult> {
  const release = (await host.readText(RELEASE_FILE))?.trim();
  const text = release ?? /^Linux version (\S+)/.exec((await host.readText('/proc/version')) ?? '')?.[1];
  if (text === undefined) throw new Error(`Cannot read host file "${RELEASE_FILE}": it is not there`);
  const file = release === undefined ? '/proc/version' : RELEASE_FILE;
  return judgeKernel(text, process.arch, { file, space: await addressSpace() });
}

/** A release such as "6.1.0-28-amd64", and Node's name of an architecture. */
export function judgeKernel(
  release: string,
  arch: string,
  { file = RELEASE_FILE, space }: { readonly file?: string; readonly space?: AddressSpace | undefined } = {},
): CheckResult {
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
  const unusual = arch === 'arm64' && space !== undefined ? whyUnusual(space) : undefined;
  if (unusual !== undefined)
    return warning('KernelUnsupported', `Linux ${release} ${unusual}`, [...evidence, { value: unusual }]);
  return pass(`Linux ${release} on ${arch}`, evidence);
}

function whyUnusual({ pageBytes, addressBits }: AddressSpace): string | undefined {
  if (pageBytes !== PAGE_BYTES)
    return `has pages of ${pageBytes / 1024} KiB: gVisor is built for 4 KiB, and releases before ${FLEXIBLE} end at once`;
  if (addressBits < ADDRESS_BITS)
    return `has addresses of ${addressBits} bits: gVisor releases before ${FLEXIBLE} need ${ADDRESS_BITS}`;
  return undefined;
}

/** Of this process; undefined unless on arm64. */
async function addressSpace(): Promise<AddressSpace | undefined> {
  if (process.arch !== 'arm64') return undefined;
  const [auxiliary, maps] = await Promise.all([
    readFile('/proc/self/auxv'),
    readFile('/proc/self/maps', 'latin1'),
  ]);
  return addressSpaceOf(auxiliary, maps);
}

/** Pairs of 64 bits, of which that with the key 6 is the size of a page: getauxval(3). The stack lies at the top. */
export function addressSpaceOf(auxiliary: Buffer, maps: string): AddressSpace {
  const AT_PAGESZ = 6n;
  const at = Array.from({ length: Math.floor(auxiliary.length / 16) }, (_, pair) => pair * 16).find(
    (offset) => auxiliary.readBigUInt64LE(offset) === AT_PAGESZ,
  );
  const ends = [...maps.matchAll(/^[0-9a-f]+-([0-9a-f]+) /gm)].map(([, end = '']) =>
    Number.parseInt(end, 16),
  );
  return {
    pageBytes: at === undefined ? PAGE_BYTES : Number(auxiliary.readBigUInt64LE(at + 8)),
    addressBits: Math.ceil(Math.log2(Math.max(...ends))),
  };
}

/** Not `localeCompare`, which loads 2 MiB of ICU on each node. */
function isOlder(numbers: readonly number[], than: readonly number[]): boolean {
  const at = numbers.findIndex((number, index) => number !== than[index]);
  return at !== -1 && (numbers[at] ?? 0) < (than[at] ?? 0);
}
