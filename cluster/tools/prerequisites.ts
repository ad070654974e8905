import { existsSync, readFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { progress } from '../../hack/progress.ts';
import { run, UsageError } from '../../hack/run.ts';
import { waitForLock } from '../plan/lock.ts';
import type { NodeRequest } from '../plan/nodes.ts';

/** A program or file that the host must have. */
type Prerequisite = {
  readonly what: string;
  /** Debian packages. */
  readonly packages: readonly string[];
  /** All programs and absolute paths of one of these; by default the program `what`. */
  readonly anyOf?: readonly (readonly string[])[];
};

const PREREQUISITES = {
  clusters: [
    { what: 'ip', packages: ['iproute2'] },
    { what: 'nsenter', packages: ['util-linux'] },
    { what: 'unshare', packages: ['util-linux'] },
    { what: 'setpriv', packages: ['util-linux'] },
    { what: 'mount', packages: ['mount'] },
    { what: 'gcc', packages: ['gcc', 'libc6-dev'] },
    { what: 'pkg-config', packages: ['pkg-config'] },
    { what: 'the headers of libseccomp', packages: ['libseccomp-dev'], anyOf: [['/usr/include/seccomp.h']] },
    {
      what: 'an image builder (docker or podman that works, or buildah with mmdebstrap)',
      packages: ['buildah', 'mmdebstrap', 'debian-archive-keyring', 'gpg'],
      anyOf: [
        ['docker', '/var/run/docker.sock'],
        ['podman'],
        ['buildah', 'mmdebstrap', '/usr/share/keyrings/debian-archive-keyring.gpg'],
      ],
    },
  ],
  tests: [
    { what: 'curl', packages: ['curl'] },
    { what: 'bzip2', packages: ['bzip2'] },
    { what: 'jq', packages: ['jq'] },
    { what: 'openssl', packages: ['openssl'] },
    { what: 'python3', packages: ['python3', 'python3-venv'] },
    { what: 'iptables', packages: ['iptables'] },
    { what: 'ipset', packages: ['ipset'] },
  ],
  browsers: [{ what: 'chromium', packages: ['chromium'], anyOf: [['/usr/bin/chromium']] }],
  vms: [
    { what: 'qemu-system-x86_64', packages: ['qemu-system-x86'] },
    { what: 'qemu-img', packages: ['qemu-utils'] },
    { what: 'mkfs.ext4', packages: ['e2fsprogs'] },
    { what: 'mmdebstrap', packages: ['mmdebstrap'] },
    {
      what: 'debian-archive-keyring',
      packages: ['debian-archive-keyring', 'gpg'],
      anyOf: [['/usr/share/keyrings/debian-archive-keyring.gpg']],
    },
    { what: 'ssh', packages: ['openssh-client'] },
  ],
  arm64: [
    { what: 'qemu-system-aarch64', packages: ['qemu-system-arm'] },
    { what: 'qemu-aarch64-static', packages: ['qemu-user-static'] },
    { what: 'aarch64-linux-gnu-gcc', packages: ['gcc-aarch64-linux-gnu', 'libc6-dev-arm64-cross'] },
  ],
} as const satisfies Readonly<Record<string, readonly Prerequisite[]>>;

/** Beside clusters made of namespaces. */
export type Purpose = Exclude<keyof typeof PREREQUISITES, 'clusters'>;

/** For a node like this one. */
export function purposesOf({ machine, arch }: NodeRequest): readonly Purpose[] {
  if (arch !== undefined) return ['vms', arch];
  return machine === 'vm' ? ['vms'] : [];
}

/** `has` tells whether there is a program, or a file by its absolute path. */
export function missingPrerequisites(
  has: (programOrPath: string) => boolean,
  purposes: readonly Purpose[] = [],
): readonly Prerequisite[] {
  return (['clusters', ...purposes] as const)
    .flatMap((purpose): readonly Prerequisite[] => PREREQUISITES[purpose])
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
  // apt refuses a second run beside it.
  const release = await waitForLock('apt', 'installs Debian packages');
  try {
    await installMissing(missingPrerequisites(hostHas, purposes));
  } finally {
    release();
  }
  const still = missingPrerequisites(hostHas, purposes);
  if (still.length > 0) throw new UsageError(installAdvice(still, false));
}

async function installMissing(missing: readonly Prerequisite[]): Promise<void> {
  if (missing.length === 0) return;
  const packages = packagesOf(missing);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const aptGet = (...args: string[]) => run('apt-get', ['-q', ...args], { env, timeoutMs: 20 * 60_000 });
  await progress(`installing Debian packages this machine lacks: ${packages.join(' ')}`, async () => {
    await aptGet('update');
    await aptGet('install', '-y', '--no-install-recommends', ...packages);
  }).catch((cause) => {
    throw new UsageError(installAdvice(missing, true), { cause });
  });
}

function hostHas(programOrPath: string): boolean {
  if (programOrPath.startsWith('/')) return existsSync(programOrPath);
  return (process.env.PATH ?? '').split(delimiter).some((dir) => existsSync(join(dir, programOrPath)));
}

function isDebian(): boolean {
  if (!existsSync('/etc/os-release')) return false;
  return /^ID(_LIKE)?=.*\b(debian|ubuntu)\b/m.test(readFileSync('/etc/os-release', 'utf8'));
}
