import { hash } from 'node:crypto';
import { mkdir, readdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { CACHE } from '../../hack/paths.ts';
import { progress } from '../../hack/progress.ts';
import { run } from '../../hack/run.ts';
import { makeOnce } from '../../hack/unfinished.ts';

/** The disk is raw ext4 and never written. */
export type VmImage = { readonly disk: string; readonly kernel: string; readonly initrd: string };

export const SUITE = 'trixie';
/** The cloud kernel has no 9p, which shares a directory of the host. */
const PACKAGES = [
  'systemd-sysv',
  'linux-image-amd64',
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
  e2scrub_reap.service systemd-networkd-wait-online.service console-getty.service serial-getty@ttyS0.service getty@tty1.service; do
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

/** Builds the guests' image with mmdebstrap, unless the cache has one of the same content. */
export async function ensureVmImage(): Promise<VmImage> {
  const key = hash('sha256', JSON.stringify([SUITE, PACKAGES, BEFORE, AFTER, DISK_SIZE]));
  const directory = join(CACHE, 'vm', `${SUITE}-${key.slice(0, 12)}`);
  const what = `building the disk of virtual machines (Debian ${SUITE}, kept for next time)`;
  await makeOnce(directory, (work) => progress(what, () => build(work)));
  return {
    disk: join(directory, 'disk.img'),
    kernel: join(directory, 'vmlinuz'),
    initrd: join(directory, 'initrd.img'),
  };
}

/** Returns the directory with the files of {@link VmImage}. */
async function build(work: string): Promise<string> {
  const root = join(work, 'root');
  const made = join(work, 'made');
  const options = { timeoutMs: 20 * 60_000, env: { ...process.env, TMPDIR: work }, killOnExit: true };
  const toEnd = (command: string, ...args: string[]) => run(command, args, options);
  await mkdir(made, { recursive: true });
  await toEnd(
    'mmdebstrap',
    ...['--variant=minbase', '--mode=root', '--format=directory', `--include=${PACKAGES.join(',')}`],
    ...[`--extract-hook=${BEFORE}`, `--customize-hook=${AFTER}`, SUITE, root],
  );
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
