import type { Outcome } from './outcome.ts';

/** What a probe read inside its container, and the same of the host. */
export type KernelFacts = {
  /** The whole text of /proc/version. */
  readonly version: string;
  /** /proc/sys/kernel/random/boot_id: one a kernel boot, so a container without a kernel of its own shows the host's. */
  readonly bootId: string;
};

/** The command whose output {@link parseGuest} reads; a missing file only shortens it. */
export const GUEST_FILES = ['/proc/version', '/proc/sys/kernel/random/boot_id'] as const;

/** Reads the output of `cat` over {@link GUEST_FILES}. */
export function parseGuest(output: string): KernelFacts {
  const [version = '', bootId = ''] = output.trim().split('\n');
  return { version: version.trim(), bootId: bootId.trim() };
}

/** Whose kernel was seen inside. `other` is neither the host's nor one that gVisor is known to show. */
export type Guest = { readonly kernel: 'gvisor' | 'host' | 'other'; readonly release: string };

/**
 * gVisor reports a fixed identity: 4.4.0 up to release-20260420.0, 4.19.0-gvisor after it, and the same
 * build text in both. Source: https://github.com/google/gvisor/blob/master/pkg/sentry/syscalls/linux/linux64.go
 */
const GVISOR_VERSION = /^Linux version (4\.4\.0|\d+\.\d+\.\d+-gvisor) #1 SMP Sun Jan 10 15:06:54 PST 2016/;

/**
 * Decides whose kernel a probe saw. A text alone proves nothing, since a host can carry any name: the
 * guest must look like gVisor, and must differ from the host in its version and in its boot id.
 */
export function identifyGuest(guest: KernelFacts, host: KernelFacts): Guest {
  const release = /^Linux version (\S+)/.exec(guest.version)?.[1] ?? '';
  if (release === '' || host.version === '' || host.bootId === '') {
    throw new Error(`Cannot compare the guest's kernel "${guest.version}" with the host's "${host.version}"`);
  }
  if (guest.version === host.version || guest.bootId === host.bootId) return { kernel: 'host', release };
  return { kernel: GVISOR_VERSION.test(guest.version) ? 'gvisor' : 'other', release };
}

/** The outcome of a boot, from what was read inside and the same of the host. Throws when either shows no kernel. */
export function judgeGuest(
  output: string,
  host: KernelFacts,
  facts: { readonly handler: string; readonly bootMs: number; readonly teardownMs: number },
): Outcome {
  const { kernel, release } = identifyGuest(parseGuest(output), host);
  const { handler, bootMs, teardownMs } = facts;
  if (kernel === 'gvisor') {
    const message = `a sandbox of handler "${handler}" booted gVisor's kernel ${release} in ${(bootMs / 1000).toFixed(2)} s`;
    return { kind: 'proven', guestKernel: release, bootMs, teardownMs, message };
  }
  if (kernel === 'host') {
    return {
      kind: 'failed',
      reason: 'GuestIsHostKernel',
      message: `a sandbox of handler "${handler}" sees the host's own kernel ${release}: pods run unsandboxed`,
    };
  }
  return {
    kind: 'failed',
    reason: 'GuestNotGVisor',
    message: `a sandbox of handler "${handler}" sees the kernel ${release}, which is neither the host's nor gVisor's`,
  };
}
