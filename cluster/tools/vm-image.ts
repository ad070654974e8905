import { hash } from 'node:crypto';
import { mkdir, readdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { CACHE } from '../../hack/paths.ts';
import { progress } from '../../hack/progress.ts';
import { run } from '../../hack/run.ts';
import { makeOnce } from '../../hack/unfinished.ts';
import type { ForeignArch } from '../plan/nodes.ts';

/** The disk is raw ext4 and never written. */
export type VmImage = { readonly disk: string; readonly kernel: string; readonly initrd: string };

export const SUITE = 'trixie';
const PACKAGES = [
  'systemd-sysv',
  'iproute2',
  'iptables',
  'procps',
  'ca-certificates',
  'dbus',
  'udev',
  'openssh-server',
  'kmod',
  'netbase',
  'ethtool',
  'conntrack',
  'zstd',
];

/** A small initramfs: under emulation a large one takes long to unpack. */
const BEFORE = `
mkdir -p "$1/etc/initramfs-tools/conf.d" "$1/usr/share/initramfs-tools/modules.d"
echo MODULES=list >"$1/etc/initramfs-tools/conf.d/guest"
printf 'virtio_pci\\nvirtio_blk\\next4\\n' >"$1/usr/share/initramfs-tools/modules.d/guest"`;

/** The short stop timeout is for containers whose first process ignores SIGTERM. */
const AFTER = `
chroot "$1" systemctl enable systemd-networkd systemd-network-generator ssh
for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer \\
  e2scrub_reap.service systemd-networkd-wait-online.service console-getty.service serial-getty@ttyS0.service serial-getty@ttyAMA0.service getty@tty1.service; do
  ln -sf /dev/null "$1/etc/systemd/system/$unit"
done
printf '9pnet_virtio\\n9p\\noverlay\\nbr_netfilter\\nveth\\nbridge\\n' >"$1/etc/modules-load.d/node.conf"
printf 'net.ipv4.ip_forward = 1\\n' >"$1/etc/sysctl.d/90-node.conf"
rm -f "$1/etc/hostname" "$1/etc/resolv.conf"
: >"$1/etc/resolv.conf"
echo uninitialized >"$1/etc/machine-id"
mkdir -p "$1/etc/ssh/sshd_config.d" "$1/etc/systemd/system.conf.d"
printf '[Manager]\\nDefaultTimeoutStopSec=5s\\n' >"$1/etc/systemd/system.conf.d/node.conf"
echo 'UseDNS no' >"$1/etc/ssh/sshd_config.d/guest.conf"`;

const DISK_SIZE = '12G';

/** The cloud kernel has no 9p, which shares a directory of the host. */
const KERNELS = { native: ['linux-image-amd64'], arm64: ['linux-image-arm64', 'runc'] };

/**
 * Runs a command in a user namespace that executes programs of arm64 by qemu's emulator, which the kernel of this
 * machine does not learn: https://docs.kernel.org/admin-guide/binfmt-misc.html, a mount for each namespace since 6.7.
 */
const EMULATING_ARM64 = `
mount -t proc proc /proc # of the process IDs that this script sees
unshare --user --mount sleep infinity &
until [ "$(readlink /proc/$!/ns/user)" != "$(readlink /proc/$$/ns/user)" ]; do sleep 0.1; done
echo '0 0 65536' >/proc/$!/uid_map
echo '0 0 65536' >/proc/$!/gid_map
nsenter --user --mount --target $! --setuid 0 --setgid 0 sh -ec '
mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc || {
  echo "this kernel has programs of other architectures for the whole machine alone; run it on Linux 6.7 or newer" >&2
  exit 1
}
printf %s ":arm64:M::$MAGIC:$MASK:$(command -v qemu-aarch64-static):F" >/proc/sys/fs/binfmt_misc/register
exec "$@"' sh "$@"`;

/** The first 20 bytes of a program for arm64, of either byte type of ELF and of both kinds of executables. */
const ARM64_ELF = {
  MAGIC: `\\x7fELF\\x02\\x01\\x01${'\\x00'.repeat(9)}\\x02\\x00\\xb7\\x00`,
  MASK: `${'\\xff'.repeat(7)}\\x00${'\\xff'.repeat(8)}\\xfe\\xff\\xff\\xff`,
};

/** Builds the guests' image with mmdebstrap, unless the cache has one of the same content. */
export async function ensureVmImage(arch?: ForeignArch): Promise<VmImage> {
  const packages = [...PACKAGES, ...KERNELS[arch ?? 'native']];
  const key = hash('sha256', JSON.stringify([SUITE, packages, BEFORE, AFTER, DISK_SIZE]));
  const suite = arch === undefined ? SUITE : `${SUITE}-${arch}`;
  const directory = join(CACHE, 'vm', `${suite}-${key.slice(0, 12)}`);
  const what = `building the disk of virtual machines (Debian ${suite}, kept for next time)`;
  await makeOnce(directory, (work) => progress(what, () => build(work, packages, arch)));
  return {
    disk: join(directory, 'disk.img'),
    kernel: join(directory, 'vmlinuz'),
    initrd: join(directory, 'initrd.img'),
  };
}

/** Returns the directory with the files of {@link VmImage}. */
async function build(
  work: string,
  packages: readonly string[],
  arch: ForeignArch | undefined,
): Promise<string> {
  const root = join(work, 'root');
  const made = join(work, 'made');
  const env = { ...process.env, TMPDIR: work, ...ARM64_ELF };
  const options = { timeoutMs: 40 * 60_000, env, killOnExit: true };
  const toEnd = (command: string, ...args: string[]) => run(command, args, options);
  await mkdir(made, { recursive: true });
  const bootstrap = [
    ...['mmdebstrap', '--variant=minbase', '--mode=root', '--format=directory'],
    ...[
      `--include=${packages.join(',')}`,
      `--extract-hook=${BEFORE}`,
      `--customize-hook=${AFTER}`,
      SUITE,
      root,
    ],
  ] as const;
  const emulating = ['--mount', 'sh', '-ec', EMULATING_ARM64, 'sh', ...bootstrap, '--skip=check/qemu'];
  if (arch === undefined) await toEnd(...bootstrap);
  else await toEnd('unshare', ...emulating, `--architectures=${arch}`);
  const boot = await readdir(join(root, 'boot'));
  for (const name of ['vmlinuz', 'initrd.img']) {
    const file = boot.find((entry) => entry.startsWith(`${name}-`));
    if (file === undefined) throw new Error(`Debian ${SUITE} came without a ${name} in /boot`);
    await rename(join(root, 'boot', file), join(made, name));
  }
  await toEnd('truncate', '--size', DISK_SIZE, join(made, 'disk.img'));
  await toEnd('mkfs.ext4', '-q', '-F', '-L', 'root', '-d', root, join(made, 'disk.img'));
  return made;
}
