import systeminformation from 'systeminformation';
import type { Facts } from '../facts.ts';
import type { Host } from './host.ts';

/**
 * Facts of the node's hardware and system that do not change while it runs. What would show the agent's
 * own container (the operating system's name) is read from the host's files.
 */
export async function readNodeFacts(host: Host): Promise<Facts> {
  const [cpu, memory, release, kernel] = await Promise.all([
    systeminformation.cpu().catch(() => undefined),
    systeminformation.mem().catch(() => undefined),
    host.readText('/etc/os-release').catch(() => undefined),
    host.readText('/proc/sys/kernel/osrelease').catch(() => undefined),
  ]);
  const os = /^PRETTY_NAME="?([^"\n]*)"?$/m.exec(release ?? '')?.[1];
  return {
    architecture: process.arch,
    ...(kernel === undefined ? {} : { kernel: kernel.trim() }),
    ...(os === undefined ? {} : { os }),
    ...(cpu === undefined
      ? {}
      : {
          cpu: `${cpu.manufacturer} ${cpu.brand}`.trim(),
          cores: String(cpu.cores),
          virtualization: String(cpu.virtualization),
        }),
    ...(memory === undefined ? {} : { memoryBytes: String(memory.total) }),
  };
}
