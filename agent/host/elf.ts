import type { Host } from './host.ts';

/** What the first bytes of a file say it is; `machine` is Node's name of the architecture, as "x64". */
export type Program =
  | { readonly kind: 'elf'; readonly machine: string }
  | { readonly kind: 'script'; readonly interpreter: string }
  | { readonly kind: 'other' };

/** e_machine values: https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.eheader.html */
const MACHINES: Readonly<Record<number, string>> = {
  3: 'ia32',
  8: 'mips',
  21: 'ppc64',
  22: 's390x',
  40: 'arm',
  62: 'x64',
  183: 'arm64',
  243: 'riscv64',
  258: 'loong64',
};

const START_BYTES = 128;

/** Looks at the start of a program on the host; `undefined` when there is none. */
export async function readProgram(
  host: Host,
  path: string,
  signal?: AbortSignal,
): Promise<Program | undefined> {
  const start = await host.readStart(path, START_BYTES, signal);
  return start && parseProgram(start);
}

/** Tells an ELF program from a script and from anything else, by at least its first 20 bytes. */
export function parseProgram(start: Buffer): Program {
  if (start.subarray(0, 2).toString('latin1') === '#!') {
    const line = start.toString('utf8', 2).split('\n')[0] ?? '';
    return { kind: 'script', interpreter: line.trim() };
  }
  const isElf = start.length >= 20 && start.subarray(0, 4).toString('latin1') === '\x7fELF';
  if (!isElf) return { kind: 'other' };
  const code = start[5] === 2 ? start.readUInt16BE(18) : start.readUInt16LE(18);
  return { kind: 'elf', machine: MACHINES[code] ?? `machine ${code}` };
}
