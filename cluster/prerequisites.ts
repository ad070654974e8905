import { existsSync, readFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { progress } from '../hack/progress.ts';
import { run, UsageError } from '../hack/run.ts';
import PREREQUISITES from './prerequisites.json' with { type: 'json' };

/** A program or file that the host must have. */
type Prerequisite = {
  readonly what: string;
  /** Debian packages. */
  readonly packages: readonly string[];
  /** All programs and absolute paths of one of these; by default the program `what`. */
  readonly anyOf?: readonly (readonly string[])[];
};

/** Beside clusters made of namespaces. */
export type Purpose = 'tests' | 'browsers' | 'vms';

/** `has` tells whether there is a program, or a file by its absolute path. */
export function missingPrerequisites(
  has: (programOrPath: string) => boolean,
  purposes: readonly Purpose[] = [],
): readonly Prerequisite[] {
  const all: Readonly<Record<string, readonly Prerequisite[]>> = PREREQUISITES;
  return ['clusters', ...purposes]
    .flatMap((purpose) => all[purpose] ?? [])
    .filter(({ what, anyOf = [[what]] }) => !anyOf.some((each) => each.every(has)));
}

/** Names what is missing and the command that installs it. */
export function installAdvice(missing: readonly Prerequisite[], debian: boolean): string {
  const names = missing.map((one) => one.what).join(', ');
  if (!debian)
    return `This machine lacks ${names}: install what brings them, then run the same command again.`;
  return `This machine lacks ${names}: run \`sudo apt-get install --no-install-recommends ${packagesOf(missing).join(' ')}\`.`;
}

function packagesOf(missing: readonly Prerequisite[]): string[] {
  return [...new Set(missing.flatMap((one) => one.packages))].sort();
}

/** Installs as root on Debian or Ubuntu; throws a UsageError that lists what is missing elsewhere. */
export async function ensurePrerequisites(...purposes: readonly Purpose[]): Promise<void> {
  const missing = missingPrerequisites(hostHas, purposes);
  if (missing.length === 0) return;
  const debian = isDebian();
  if (!debian || process.getuid?.() !== 0) throw new UsageError(installAdvice(missing, debian));
  const packages = packagesOf(missing);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const aptGet = (...args: string[]) => run('apt-get', ['-q', ...args], { env, timeoutMs: 20 * 60_000 });
  await progress(`installing Debian packages this machine lacks: ${packages.join(' ')}`, async () => {
    await aptGet('update');
    await aptGet('install', '-y', '--no-install-recommends', ...packages);
  }).catch((cause) => {
    throw new UsageError(installAdvice(missing, debian), { cause });
  });
  const still = missingPrerequisites(hostHas, purposes);
  if (still.length > 0) throw new UsageError(installAdvice(still, false));
}

function hostHas(programOrPath: string): boolean {
  if (programOrPath.startsWith('/')) return existsSync(programOrPath);
  return (process.env.PATH ?? '').split(delimiter).some((dir) => existsSync(join(dir, programOrPath)));
}

function isDebian(): boolean {
  if (!existsSync('/etc/os-release')) return false;
  return /^ID(_LIKE)?=.*\b(debian|ubuntu)\b/m.test(readFileSync('/etc/os-release', 'utf8'));
}
