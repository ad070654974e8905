import type { Host } from './host.ts';

/**
 * Undefined if it can be executed: a regular file with the bits `mode`, a script or a complete ELF program
 * for this architecture.
 */
export async function whyNotRunnable(host: Host, path: string, mode: number) {
  const stat = await host.stat(path);
  const because = (problem: string, value: string) => ({ problem, evidence: { file: path, value } });
  if (!stat) return because('it is gone', 'absent');
  if (stat.kind !== 'file') return because(`it is a ${stat.kind}`, stat.kind);
  if ((stat.mode & mode) !== mode && !(mode === 0o111 && (stat.mode & 0o111) !== 0)) {
    const octal = `0${stat.mode.toString(8)}`;
    return because(`its mode is ${octal}`, `mode ${octal}`);
  }
  if (stat.size === 0) return because('it is empty', '0 bytes');
  const program = parseProgram((await host.readStart(path, HEADER_BYTES)) ?? Buffer.alloc(0));
  if (program === 'other') return because('it is no program', 'neither ELF nor a script');
  if (program !== 'script' && program !== process.arch)
    return because(`it is built for ${program}, and this is ${process.arch}`, program);
  return undefined;
}

/** Those of gVisor's programs: https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.eheader.html (e_machine) */
const MACHINES: Readonly<Record<number, string>> = { 62: 'x64', 183: 'arm64' };

const HEADER_BYTES = 128;

/** "script", "other", or an ELF program's machine, by Node's name if it has one. */
export function parseProgram(start: Buffer): string {
  if (start.toString('latin1', 0, 2) === '#!') return 'script';
  if (start.length < 20 || start.toString('latin1', 0, 4) !== '\x7fELF') return 'other';
  const code = start[5] === 2 ? start.readUInt16BE(18) : start.readUInt16LE(18);
  return MACHINES[code] ?? `machine ${code}`;
}

const PT_LOAD = 1;
const PF_X = 1;
export const PAGE_BYTES: readonly number[] = [4096, 16_384, 65_536];

/**
 * Possible code sizes (`text` in /proc/PID/statm) in bytes, from the first 4 KiB of an ELF file: pages from
 * the first to the last executable segment, or before Linux 5.10 from the first of any kind. Empty unless
 * 64-bit little-endian. Source: https://github.com/torvalds/linux/blob/v6.12/fs/binfmt_elf.c
 * (load_elf_binary) and fs/proc/task_mmu.c
 */
export function textSegments(start: Buffer): ReadonlySet<number> {
  const sizes = new Set<number>();
  if (start.length < 64 || start.readUInt32BE(0) !== 0x7f454c46 || start[4] !== 2 || start[5] !== 1)
    return sizes;
  const offset = Number(start.readBigUInt64LE(32));
  const [size, count] = [start.readUInt16LE(54), start.readUInt16LE(56)];
  const loaded: { readonly from: number; readonly to: number; readonly code: boolean }[] = [];
  for (let at = offset; at < offset + size * count && at + 56 <= start.length; at += size) {
    if (start.readUInt32LE(at) !== PT_LOAD) continue;
    const from = Number(start.readBigUInt64LE(at + 16));
    const to = from + Number(start.readBigUInt64LE(at + 32));
    loaded.push({ from, to, code: (start.readUInt32LE(at + 4) & PF_X) !== 0 });
  }
  const code = loaded.filter((segment) => segment.code);
  if (code.length === 0) return sizes;
  const end = Math.max(...code.map(({ to }) => to));
  for (const segments of [code, loaded]) {
    const begin = Math.min(...segments.map(({ from }) => from));
    for (const page of PAGE_BYTES) sizes.add(Math.ceil(end / page) * page - Math.floor(begin / page) * page);
  }
  return sizes;
}
