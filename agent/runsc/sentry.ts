import { posix } from 'node:path';

/**
 * How runsc names the process that a sandbox is; newer releases start it through a program that waits for it.
 * Sources: https://github.com/google/gvisor/blob/release-20260223.0/runsc/sandbox/sandbox.go (createSandboxProcess),
 * https://github.com/google/gvisor/issues/13718
 */
const SENTRY = 'runsc-sandbox';
const PREWARMER = 'gvisor-sentry-prewarmer';

/**
 * The flags in force of a gVisor sandbox, by the arguments of its process; undefined for any other process. runsc
 * writes every flag that differs from its default there, wherever it came from: a file, a wrapper, an annotation.
 * Source: https://github.com/google/gvisor/blob/release-20260223.0/runsc/config/flags.go (ToFlags)
 */
export function sentryFlags(argv: readonly string[]): ReadonlyMap<string, string> | undefined {
  const [program = ''] = argv;
  const at = posix.basename(program) === PREWARMER ? argv.indexOf(SENTRY) : program === SENTRY ? 0 : -1;
  if (at === -1) return undefined;
  const flags = new Map<string, string>();
  for (const word of argv.slice(at + 1)) {
    const [, name = '', value = 'true'] = /^--?([^=]+)(?:=(.*))?$/s.exec(word) ?? [];
    if (name === '') break; // the command "boot" ends the flags
    flags.set(name, value);
  }
  return flags;
}
