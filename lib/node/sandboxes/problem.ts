/**
 * Most severe first, with remedies, in which PID and SANDBOX stand for the problem's own. None makes a node
 * not ready.
 */
export const SANDBOX_REMEDIES = {
  ShimUnresponsive:
    'Do not restart containerd: it would wait for this shim, then forget its pod and leave the processes behind. Read the state: ps -o pid,stat,wchan,args -p PID. If it is T, continue it: kill -CONT PID. Otherwise kill -KILL PID: containerd cleans up at once, and the containers of this one pod restart.',
  RuntimeCommandHangs:
    'Do not restart containerd: it would wait for this sandbox, containerd 1.7 for ever. Read the states: ps -o pid,ppid,stat,wchan,args -p PID. If one is T, continue it: kill -CONT PID. Otherwise delete the pod, and kill -KILL PID where it stays: the containers of this one pod end, and the kubelet starts them again unless the pod was deleted.',
  ShimOrphaned:
    'Read its arguments: ps -o pid,lstart,args -p PID. containerd has no record of this sandbox and never ends it. kill -KILL PID, and what is left of the sandbox: pgrep -f SANDBOX. This ends a pod that no kubelet counts, and frees its memory.',
  ShimProgramMissing:
    'Do not restart containerd: it would lose this pod, whose shim it could not find again. Put the program back at the path that the message names, or recreate the pod.',
  SentryLingers:
    'The pod is gone for Kubernetes, and its sentry still uses memory and CPU. Read the state: ps -o pid,stat,wchan,args -p PID. If it is T, continue it: kill -CONT PID. Otherwise kill -KILL PID: nothing that runs is lost.',
  ShimLingers:
    'The sandbox has ended and its shim has not. crictl rmp -f SANDBOX removes the sandbox; if the shim stays, kill -KILL PID. Nothing that runs is lost.',
  SandboxOutdated:
    'Recreate the pod when it suits its owner: its sentry is of another gVisor release than the runsc that would restart its containers, and some releases cannot control the sentries of others. The pod runs on until one of its containers ends.',
} as const;

export type SandboxReason = keyof typeof SANDBOX_REMEDIES;

/** One thing that is wrong with one sandbox. */
export type SandboxProblem = {
  readonly reason: SandboxReason;
  /** One line, without any text that a pod chooses. */
  readonly message: string;
  /** Absent if no record of the pod is left. */
  readonly namespace?: string;
  readonly name?: string;
  readonly uid?: string;
  /** The CRI's id. */
  readonly sandbox: string;
  /** Of the shim, sentry or command, in the host's PID namespace. */
  readonly pids: readonly number[];
  /** When it was first seen, ISO 8601. */
  readonly since: string;
  /** Age of the oldest of these processes. */
  readonly ageSeconds: number;
};

/** Whether all pods would survive a restart of containerd. */
export type RestartSafety = {
  readonly state: 'safe' | 'unsafe' | 'unknown';
  /** One sentence each; empty if it is safe. */
  readonly because: readonly string[];
};

/** The node's sandboxes as /report shows them. */
export type SandboxesReport = {
  /** Time of the scan, ISO 8601. */
  readonly at: string;
  /** True if that is too long ago to count. */
  readonly stale: boolean;
  /** Most severe first, at most {@link MAX_PROBLEMS}. */
  readonly problems: readonly SandboxProblem[];
  readonly total: number;
  /** Of containerd. */
  readonly restart: RestartSafety;
};

export const MAX_PROBLEMS = 50;

/** With its process IDs and sandbox filled in; "" for a reason of a newer agent. */
export function remedyOf({
  reason,
  pids,
  sandbox,
}: Pick<SandboxProblem, 'reason' | 'pids' | 'sandbox'>): string {
  const remedy = Object.hasOwn(SANDBOX_REMEDIES, reason) ? SANDBOX_REMEDIES[reason] : '';
  return remedy.replaceAll('PID', pids.join(' ')).replaceAll('SANDBOX', () => sandbox);
}
