import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { CACHE } from '../../hack/paths.ts';
import { addressOf, CONTROL_PLANE_ADDRESS } from '../plan/addresses.ts';
import type { NodeSpec } from '../plan/nodes.ts';
import type { VmImage } from '../tools/vm-image.ts';

/** The guest's writes on top of the shared image. */
export const DISK = '/guest.qcow2';

export type QemuOptions = {
  readonly image: VmImage;
  readonly port: string;
  readonly accel: 'kvm' | 'tcg';
  readonly key: string;
};

/** The fast pointer authentication is an emulator's own. */
const MACHINES = {
  native: { command: ['qemu-system-x86_64'], cpu: 'max', device: 'ttyS0' },
  arm64: {
    command: ['qemu-system-aarch64', '-machine', 'virt'],
    cpu: 'max,pauth-impdef=on',
    device: 'ttyAMA0',
  },
} as const;

/**
 * The kernel's command line passes the host name, the mount of the cache, read-only and at the same path, and as
 * credentials of systemd the address and the SSH key. Source: https://systemd.io/CREDENTIALS
 */
export function qemuCommand(spec: NodeSpec, { image, port, accel, key }: QemuOptions): readonly string[] {
  const mac = `52:54:00:89:00:${(10 + spec.index).toString(16).padStart(2, '0')}`;
  const { command, cpu, device } = MACHINES[spec.arch ?? 'native'];
  const append = [
    `root=/dev/vda rw console=${device} quiet net.ifnames=0 mitigations=off`,
    `systemd.hostname=${spec.name}`,
    'systemd.ssh_auto=no',
    `systemd.mount-extra=cache:${CACHE}:9p:trans=virtio,version=9p2000.L,msize=524288,cache=loose,ro,nofail`,
    credential('ssh.authorized_keys.root', `${key}\n`),
    credential('network.network.10-node', networkFile(spec)),
  ];
  return [
    ...command,
    ...(accel === 'kvm' ? ['-accel', 'kvm', '-cpu', 'host'] : ['-accel', 'tcg,thread=multi', '-cpu', cpu]),
    ...['-smp', '2', '-m', '2560', '-nodefaults', '-display', 'none', '-serial', 'stdio'],
    ...['-kernel', image.kernel, '-initrd', image.initrd, '-append', append.join(' ')],
    ...['-drive', `file=${DISK},if=virtio,format=qcow2,cache=unsafe`],
    ...['-netdev', `tap,id=net,ifname=${port},script=no,downscript=no`],
    ...['-device', `virtio-net-pci,netdev=net,mac=${mac}`, '-device', 'virtio-rng-pci'],
    ...['-virtfs', `local,path=${CACHE},mount_tag=cache,security_model=none,readonly=on`],
  ];
}

function credential(name: string, text: string): string {
  return `systemd.set_credential_binary=${name}:${Buffer.from(text).toString('base64')}`;
}

function networkFile(spec: NodeSpec): string {
  const network = `Address=${addressOf(spec)}/24\nGateway=${CONTROL_PLANE_ADDRESS}\nLinkLocalAddressing=no\nIPv6AcceptRA=no`;
  return `[Match]\nName=eth0\n\n[Network]\n${network}\n`;
}

/** A kernel usually panics after 1 to 2 s. */
const TRIAL_MS = 20_000;

/** Boots a kernel without a disk until it panics, since /dev/kvm can exist without working. */
export async function kvmWorks(kernel: string): Promise<boolean> {
  if (!existsSync('/dev/kvm')) return false;
  const args = ['-accel', 'kvm', '-cpu', 'host', '-m', '256', '-nodefaults', '-display', 'none'];
  const boot = ['-no-reboot', '-kernel', kernel, '-append', 'console=ttyS0 panic=-1', '-serial', 'stdio'];
  const guest = spawn('qemu-system-x86_64', [...args, ...boot], { stdio: ['ignore', 'pipe', 'pipe'] });
  const timer = setTimeout(() => guest.kill('SIGKILL'), TRIAL_MS);
  let said = '';
  guest.stdout.on('data', (chunk: Buffer) => {
    said += chunk.toString();
  });
  guest.stderr.on('data', (chunk: Buffer) => {
    if (chunk.toString().includes('KVM')) guest.kill('SIGKILL'); // qemu would stay, stopped
  });
  try {
    const [code] = (await once(guest, 'close')) as [number | null];
    return code === 0 && said.includes('Kernel panic');
  } catch {
    return false;
  } finally {
    clearTimeout(timer);
  }
}
