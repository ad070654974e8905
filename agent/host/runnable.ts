import type { Host } from './host.ts';
import { readProgram } from './program.ts';

/**
 * Why a file of the host cannot be executed here, or `undefined` when it can: it is no regular file, some bit
 * of `mode` is missing, it is empty or cut short, or it is for another architecture. A script passes.
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
  const program = await readProgram(host, path);
  if (!program || program.kind === 'other') return because('it is no program', 'neither ELF nor a script');
  if (program.kind === 'elf' && program.machine !== process.arch) {
    return because(`it is built for ${program.machine}, and this is ${process.arch}`, program.machine);
  }
  return undefined;
}
