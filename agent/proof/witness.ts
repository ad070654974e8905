import type { CriClient } from '../containerd/client.ts';
import type { Host } from '../host/host.ts';
import { type HostProcess, isOfSandbox, quotedProgram, readProcess } from '../host/process.ts';
import { sentryFlags } from '../runsc/flags.ts';

/** What the host and the runtime themselves say of a probe's sandbox. Nothing in it can be shaped by a pod. */
export type Witness = Omit<HostProcess, 'parentPid' | 'namespacedPids'> & {
  /** The first process of the sandbox, in the host's PID namespace. */
  readonly pid: number;
  /** The flags of runsc in force; absent where the process is no gVisor sandbox. */
  readonly flags?: Readonly<Record<string, string>>;
  /** The cgroup that was asked for. */
  readonly cgroupParent: string;
  /** The shim that serves it, as its process names it. */
  readonly shim?: string;
  /** What the runtime answers when it is asked for the PIDs in the sandbox: a sentry tells the guest's. */
  readonly runtimePids: readonly number[];
};

/** How long an answer about the sandbox may take on a busy node; to tell PIDs gVisor's shim starts runsc. */
const ANSWER_MS = 20_000;

/** The first process of a sandbox is not in /proc: it has ended, unless hidepid or another PID namespace hides it. */
export class Gone extends Error {
  override readonly name: string = 'Gone';
}

/** It was there, and has ended: the runtime reports no process. */
export class Empty extends Gone {
  override readonly name = 'Empty';
}

/**
 * Looks at a sandbox that was just started. Rejects when the sandbox is gone or empty, and when the process that
 * containerd names is not the sandbox's in the /proc that is visible here.
 */
export async function readWitness(
  { client, host }: { readonly client: CriClient; readonly host: Host },
  id: string,
  cgroupParent: string,
): Promise<Witness> {
  // Both at once: the kubelet stops a sandbox that it does not know within two seconds.
  const listing = client.listPids(id, { timeoutMs: ANSWER_MS });
  listing.catch(() => {});
  const { pid } = await client.sandbox(id, { timeoutMs: ANSWER_MS });
  const seen = pid === undefined ? undefined : await readProcess(host, pid);
  if (pid === undefined || seen === undefined)
    throw new Gone(`the sandbox's first process ${pid ?? ''} is not in /proc, or hidden there (hidepid)`);
  const { parentPid, namespacedPids: _, ...process } = seen;
  const { argv } = process;
  if (!isOfSandbox(seen, id))
    throw new Error(
      // Not its program: it may be a pod's.
      `process ${pid} in /proc is none of the sandbox's: /proc is not that of containerd's PID namespace`,
    );
  const flags = sentryFlags(argv);
  const shim = (await readProcess(host, parentPid).catch(() => undefined))?.argv[0];
  const runtimePids = await listing;
  // Its first process has ended meanwhile: the kubelet may just have stopped it.
  if (runtimePids.length === 0) throw new Empty('the runtime reports no process in the sandbox');
  return {
    pid,
    ...process,
    ...(flags === undefined ? {} : { flags: Object.fromEntries(flags) }),
    cgroupParent,
    ...(shim?.startsWith('/') ? { shim } : {}),
    runtimePids,
  };
}

/** Whose kernel a sandbox runs on, and why that is known. */
export type Guest = { readonly kernel: 'gvisor' | 'host' | 'other'; readonly evidence: string };

/**
 * Decides what a sandbox is. Two witnesses must agree for gVisor: the host's process is a sandbox of runsc's, and the
 * runtime tells PIDs that are the guest's, as only a sentry can. runc tells the host's own PIDs.
 */
export function identifyGuest({ pid, argv, flags, runtimePids }: Witness): Guest {
  const program = `process ${pid} is ${quotedProgram(argv)}`;
  const pids = `the runtime tells the PIDs ${runtimePids.slice(0, 5).join(', ') || 'of nothing'}`;
  const isHost = runtimePids.includes(pid);
  if (isHost) return { kernel: 'host', evidence: `${program}, and ${pids}: the host's own` };
  const isGvisor = flags !== undefined && runtimePids.includes(1);
  if (!isGvisor) return { kernel: 'other', evidence: `${program}, and ${pids}` };
  return { kernel: 'gvisor', evidence: `${program}, and ${pids}: the guest's own` };
}
