import type { KernelFacts } from '../proof/guest.ts';
import type { Host } from './host.ts';

/** The host kernel's own identity, to compare what a sandbox shows with; throws when it cannot be read. */
export async function readKernelFacts(host: Host): Promise<KernelFacts> {
  const version = await host.readText('/proc/version');
  const bootId = await host.readText('/proc/sys/kernel/random/boot_id');
  if (version === undefined || bootId === undefined)
    throw new Error('The host’s /proc is not visible below HOST_ROOT');
  return { version: version.trim(), bootId: bootId.trim() };
}
