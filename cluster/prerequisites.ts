import { existsSync, readFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { progress } from '../hack/progress.ts';
import { run, UsageError } from '../hack/run.ts';

/** A program or file that the host must have. */
export type Prerequisite = {
  readonly what: string;
  /** Debian packages. */
  readonly packages: readonly string[];
  readonly found: (host: HostView) => boolean;
};

export type HostView = {
  /** PATH has the program. */
  readonly program: (name: string) => boolean;
  readonly file: (path: string) => boolean;
};

const program = (name: string, ...packages: readonly string[]): Prerequisite => ({
  what: name,
  packages,
  found: (host) => host.program(name),
});

/** mmdebstrap on Ubuntu reads the keys of Debian, with gpg. */
const DEBIAN_KEYS = '/usr/share/keyrings/debian-archive-keyring.gpg';

const FOR_CLUSTERS: readonly Prerequisite[] = [
  program('ip', 'iproute2'),
  program('nsenter', 'util-linux'),
  program('unshare', 'util-linux'),
  program('setpriv', 'util-linux'),
  program('mount', 'mount'),
  program('gcc', 'gcc', 'libc6-dev'),
  program('pkg-config', 'pkg-config'),
  {
    what: 'the headers of libseccomp',
    packages: ['libseccomp-dev'],
    found: (host) => host.file('/usr/include/seccomp.h'),
  },
  {
    what: 'an image builder (docker or podman that works, or buildah with mmdebstrap)',
    packages: ['buildah', 'mmdebstrap', 'debian-archive-keyring', 'gpg'],
    found: (host) =>
      (host.program('docker') && host.file('/var/run/docker.sock')) ||
      host.program('podman') ||
      (host.program('buildah') && host.program('mmdebstrap') && host.file(DEBIAN_KEYS)),
  },
];

export const CHROMIUM = '/usr/bin/chromium';

const FOR_TESTS: readonly Prerequisite[] = [
  program('curl', 'curl'),
  program('bzip2', 'bzip2'),
  program('python3', 'python3', 'python3-venv'),
  program('iptables', 'iptables'),
  program('ipset', 'ipset'),
];
const FOR_BROWSERS: readonly Prerequisite[] = [
  { what: 'chromium', packages: ['chromium'], found: (host) => host.file(CHROMIUM) },
];
const FOR_VMS: readonly Prerequisite[] = [
  program('qemu-system-x86_64', 'qemu-system-x86'),
  program('qemu-img', 'qemu-utils'),
  program('mkfs.ext4', 'e2fsprogs'),
  program('mmdebstrap', 'mmdebstrap'),
  {
    what: 'debian-archive-keyring',
    packages: ['debian-archive-keyring', 'gpg'],
    found: (host) => host.file(DEBIAN_KEYS),
  },
  program('ssh', 'openssh-client'),
];

/** Purposes beside clusters made of namespaces. */
export type Purposes = {
  readonly forTests?: boolean;
  readonly forBrowsers?: boolean;
  readonly forVms?: boolean;
};

export function missingPrerequisites(
  host: HostView,
  { forTests = false, forBrowsers = false, forVms = false }: Purposes = {},
): readonly Prerequisite[] {
  const wanted = [
    ...FOR_CLUSTERS,
    ...(forTests ? FOR_TESTS : []),
    ...(forBrowsers ? FOR_BROWSERS : []),
    ...(forVms ? FOR_VMS : []),
  ];
  return wanted.filter((one) => !one.found(host));
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
export async function ensurePrerequisites(purposes: Purposes = {}): Promise<void> {
  const missing = missingPrerequisites(thisHost, purposes);
  if (missing.length === 0) return;
  const debian = isDebian();
  if (!debian || process.getuid?.() !== 0 || !thisHost.program('apt-get')) {
    throw new UsageError(installAdvice(missing, debian));
  }
  const packages = packagesOf(missing);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const aptGet = (...args: string[]) => run('apt-get', ['-q', ...args], { env, timeoutMs: 20 * 60_000 });
  await progress(`installing Debian packages this machine lacks: ${packages.join(' ')}`, async () => {
    await aptGet('update');
    await aptGet('install', '-y', '--no-install-recommends', ...packages);
  }).catch((cause) => {
    throw new UsageError(installAdvice(missing, debian), { cause });
  });
  const still = missingPrerequisites(thisHost, purposes);
  if (still.length > 0) throw new UsageError(installAdvice(still, false));
}

const thisHost: HostView = {
  program: (name) =>
    (process.env.PATH ?? '').split(delimiter).some((directory) => existsSync(join(directory, name))),
  file: existsSync,
};

function isDebian(): boolean {
  if (!existsSync('/etc/os-release')) return false;
  return /^ID(_LIKE)?=.*\b(debian|ubuntu)\b/m.test(readFileSync('/etc/os-release', 'utf8'));
}
