import { hash } from 'node:crypto';
import { cp, mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { CACHE } from '../../hack/paths.ts';
import { progress } from '../../hack/progress.ts';
import { run } from '../../hack/run.ts';
import { makeOnce } from '../../hack/unfinished.ts';
import { SUITE, type VmImage } from './vm-image.ts';

/** Nothing of them runs while the image is built. Node needs the libraries of C and C++. */
const PACKAGES = ['linux-image-arm64', 'busybox-static', 'libc6', 'libstdc++6', 'libgcc-s1'];
/** Until the disk is there. */
const EARLY_MODULES = ['virtio_pci', 'virtio_blk', 'virtio_rng', 'crc32c_generic', 'ext4'];
const DISK_SIZE = '3G';

const EARLY_INIT = `#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev
for module in ${EARLY_MODULES.join(' ')}; do modprobe $module; done
until [ -b /dev/vda ]; do sleep 0.1; done
mount -t ext4 /dev/vda /root
exec switch_root /root /guest-init
`;

/** Runs a script, a line of base64, after the other. */
const GUEST_INIT = `#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin
mkdir -p /proc /sys /run /root /var/log
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm /run /tmp
mount -t devpts pts /dev/pts
for each in /dev/shm /run /tmp; do mount -t tmpfs tmpfs $each; done
mount -t cgroup2 cgroup /sys/fs/cgroup
for module in overlay bridge veth; do modprobe $module; done
hostname arm64
touch /etc/hosts /etc/resolv.conf
ip link set lo up
stty raw -echo </dev/ttyAMA0
echo "#END#0"
while read -r line; do
  echo "$line" | base64 -d >/tmp/script
  sh -e /tmp/script </dev/null >/tmp/output 2>&1
  code=$?
  cat /tmp/output
  echo "#END#$code"
done </dev/ttyAMA0
`;

/** A Debian of arm64 with these files (path in the guest: path here), for one run; the rest is cached. */
export async function makeArm64Image(
  work: string,
  files: Readonly<Record<string, string>>,
): Promise<VmImage> {
  const base = await ensureBase();
  const root = join(work, 'root');
  await run('cp', ['-a', join(base, 'root'), root], { timeoutMs: 300_000 });
  for (const [path, from] of Object.entries(files)) {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await cp(from, join(root, path), { recursive: true });
  }
  const disk = join(work, 'disk.img');
  await run('truncate', ['--size', DISK_SIZE, disk]);
  await run('mkfs.ext4', ['-q', '-F', '-d', root, disk], { timeoutMs: 300_000 });
  return { disk, kernel: join(base, 'vmlinuz'), initrd: join(base, 'initrd.img') };
}

async function ensureBase(): Promise<string> {
  const key = hash('sha256', JSON.stringify([SUITE, PACKAGES, EARLY_MODULES, EARLY_INIT, GUEST_INIT]));
  const directory = join(CACHE, 'vm', `${SUITE}-arm64-${key.slice(0, 12)}`);
  const what = `building the disk of an arm64 machine (Debian ${SUITE}, kept for next time)`;
  await makeOnce(directory, (work) => progress(what, () => build(work)));
  return directory;
}

/** Returns the directory with the root, the kernel and the first root, which has the modules for the disk. */
async function build(work: string): Promise<string> {
  const made = join(work, 'made');
  const [root, early] = [join(made, 'root'), join(work, 'early')];
  const options = { timeoutMs: 20 * 60_000, env: { ...process.env, TMPDIR: work }, killOnExit: true };
  await mkdir(made, { recursive: true });
  await run(
    'mmdebstrap',
    [
      ...[
        '--variant=extract',
        '--architectures=arm64',
        '--mode=root',
        '--format=directory',
        '--skip=check/qemu',
      ],
      '--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr',
      ...[`--include=${PACKAGES.join(',')}`, SUITE, root],
    ],
    options,
  );
  const [release = ''] = await readdir(join(root, 'usr/lib/modules'));
  await rename(join(root, 'boot', `vmlinuz-${release}`), join(made, 'vmlinuz'));
  await rm(join(root, 'usr/share'), { recursive: true, force: true });
  await run('sh', ['-ec', 'find "$1/usr/lib/modules" -name "*.ko.xz" -exec xz -d {} +', 'sh', root], options);
  await run('depmod', ['-b', join(root, 'usr'), release], options);
  await writeFile(join(root, 'guest-init'), GUEST_INIT, { mode: 0o755 });
  for (const each of ['bin', 'dev', 'proc', 'root', 'lib/modules'])
    await mkdir(join(early, each), { recursive: true });
  await cp(join(root, 'usr/bin/busybox'), join(early, 'bin/busybox'));
  await writeFile(join(early, 'init'), EARLY_INIT, { mode: 0o755 });
  const copyModules = `
for module in ${EARLY_MODULES.join(' ')}; do modprobe -d "$1/usr" -S ${release} --show-depends $module; done |
  sed -n 's/^insmod //p' | sort -u | while read -r file; do
    to="$2/lib/modules/${release}/\${file##*/}"
    mkdir -p "\${to%/*}" && cp "$file" "$to"
  done
cp "$1/usr/lib/modules/${release}"/modules.builtin "$1/usr/lib/modules/${release}"/modules.order "$2/lib/modules/${release}/"
depmod -b "$2" ${release}
cd "$2" && find . | cpio --quiet -o -H newc | gzip -1 >"$3"`;
  await run('sh', ['-ec', copyModules, 'sh', root, early, join(made, 'initrd.img')], options);
  return made;
}
