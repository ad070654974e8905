import type { CriClient } from '../containerd/client.ts';
import type { Host } from '../host/host.ts';
import { type HostProcess, isOfSandbox, quotedProgram, readProcess } from '../host/process.ts';
import { sentryFlags } from '../runsc/flags.ts';

/** Reports of the host and the runtime, which no pod can influence. */
export type Witness = Omit<HostProcess, 'parentPid' | 'namespacedPids'> & {
  /** In the host's PID namespace. */
  readonly pid: number;
  /** Absent if the process is not a gVisor sandbox. */
  readonly flags?: Readonly<Record<string, string>>;
  readonly cgroupParent: string;
  /** Path of its shim, from the shim's arguments. */
  readonly shim?: string;
  /** A sentry reports the guest's PIDs, runc the host's. */
  readonly runtimePids: readonly number[];
};

/**
 * Deadline of each request about a probe. Measured for a stop: 0.25 s on an idle node, 6 s under eight times its load;
 * to list PIDs gVisor's shim starts runsc.
 */
export const REQUEST_MS = 20_000;

/** It has ended, unless hidepid or another PID namespace hides it. */
export class ProcessGone extends Error {
  override readonly name: string = 'ProcessGone';
}

export class EmptySandbox extends ProcessGone {
  override readonly name = 'EmptySandbox';
}

/**
 * A shim manages the sandbox itself, so its status is the shim's claim. No such shim of gVisor's is known:
 * https://github.com/containerd/containerd/blob/v2.4.2/internal/cri/server/sandbox_status.go
 */
export class ShimsOwnSandbox extends Error {
  override readonly name = 'ShimsOwnSandbox';
}

/** Rejects if the sandbox is gone or empty, or if containerd's PID is another process in this /proc. */
export async function readWitness(
  { client, host }: { readonly client: CriClient; readonly host: Host },
  id: string,
  cgroupParent: string,
): Promise<Witness> {
  // Concurrent: the kubelet stops unknown sandboxes within two seconds.
  const listing = client.listPids(id, { timeoutMs: REQUEST_MS });
  listing.catch(() => {});
  const { pid, isContainerds } = await client.sandbox(id, { timeoutMs: REQUEST_MS });
  if (!isContainerds)
    throw new ShimsOwnSandbox(
      'containerd does not know the process of the sandbox, because the shim manages it (sandboxer = "shim")',
    );
  const seen = pid === undefined ? undefined : await readProcess(host, pid);
  if (pid === undefined || seen === undefined)
    throw new ProcessGone(
      `the sandbox's first process ${pid ?? ''} is not in /proc, or hidden there (hidepid)`,
    );
  const { parentPid, namespacedPids: _, ...process } = seen;
  const { argv } = process;
  if (!isOfSandbox(seen, id))
    throw new Error(
      // Without its arguments, which may be a pod's.
      `process ${pid} in /proc does not belong to the sandbox: /proc is not that of containerd's PID namespace`,
    );
  const flags = sentryFlags(argv);
  const shim = (await readProcess(host, parentPid).catch(() => undefined))?.argv[0];
  const runtimePids = await listing;
  // The kubelet may just have stopped it.
  if (runtimePids.length === 0) throw new EmptySandbox('the runtime reports no process in the sandbox');
  return {
    pid,
    ...process,
    ...(flags === undefined ? {} : { flags: Object.fromEntries(flags) }),
    cgroupParent,
    ...(shim?.startsWith('/') ? { shim } : {}),
    runtimePids,
  };
}

export type Guest = { readonly kernel: 'gvisor' | 'host' | 'other'; readonly evidence: string };

/**
 * gVisor needs two witnesses: the host's process is a runsc sandbox, and the runtime reports the guest's
 * PIDs, as only a sentry can.
 */
export function identifyGuest({ pid, argv, flags, runtimePids }: Witness): Guest {
  const isHost = runtimePids.includes(pid);
  const isGvisor = !isHost && flags !== undefined && runtimePids.includes(1);
  const pids = runtimePids.slice(0, 5).join(', ');
  const evidence = `process ${pid} is ${quotedProgram(argv)}, and the runtime reports the PIDs ${pids}`;
  if (isHost) return { kernel: 'host', evidence: `${evidence}: the host's own` };
  if (isGvisor) return { kernel: 'gvisor', evidence: `${evidence}: the guest's own` };
  return { kernel: 'other', evidence };
}
