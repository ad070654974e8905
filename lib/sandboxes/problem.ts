type Row = {
  readonly reason: string;
  /** How long a problem lasts before it is reported; five times as long on a busy node. */
  readonly minutes: number;
  /** Set if a busy node is no excuse. */
  readonly evenIfBusy?: true;
  /** PID and SANDBOX stand for the problem's own. */
  readonly remedy: string;
};

/** Most severe first. None makes a node not ready. */
const TABLE = [
  {
    reason: 'ShimUnresponsive',
    // An answer takes a shim no work.
    minutes: 1,
    evenIfBusy: true,
    remedy:
      'Do not restart containerd: it would wait for this shim, then forget its pod and leave the processes behind. Read the state: ps -o pid,stat,wchan,args -p PID. If it is T, continue it: kill -CONT PID. Otherwise kill -KILL PID: containerd cleans up at once, and the containers of this one pod restart.',
  },
  {
    reason: 'RuntimeCommandHangs',
    // A stopped sentry; the age of a command is measured as well.
    minutes: 1,
    remedy:
      'Do not restart containerd: it would wait for this sandbox, containerd 1.7 for ever. Read the states: ps -o pid,ppid,stat,wchan,args -p PID. If one is T, continue it: kill -CONT PID. Otherwise delete the pod, and kill -KILL PID where it stays: the containers of this one pod end, and the kubelet starts them again unless the pod was deleted.',
  },
  {
    reason: 'ShimOrphaned',
    minutes: 5,
    remedy:
      'Read its arguments: ps -o pid,lstart,args -p PID. containerd has no record of this sandbox and never ends it. kill -KILL PID, and what is left of the sandbox: pgrep -f SANDBOX. This ends a pod that no kubelet counts, and frees its memory.',
  },
  {
    reason: 'ShimProgramMissing',
    // An upgrade may remove the file before it writes the new one.
    minutes: 0.5,
    remedy:
      'Do not restart containerd: it would lose this pod, whose shim it could not find again. Put the program back at the path that the message names, or recreate the pod.',
  },
  {
    reason: 'SentryLingers',
    minutes: 5,
    remedy:
      'The pod is gone for Kubernetes, and its sentry still uses memory and CPU. Read the state: ps -o pid,stat,wchan,args -p PID. If it is T, continue it: kill -CONT PID. Otherwise kill -KILL PID: nothing that runs is lost.',
  },
  {
    reason: 'ShimLingers',
    minutes: 5,
    remedy:
      'The sandbox has ended and its shim has not. crictl rmp -f SANDBOX removes the sandbox; if the shim stays, kill -KILL PID. Nothing that runs is lost.',
  },
  {
    reason: 'SandboxOutdated',
    minutes: 0.5,
    remedy:
      'Recreate the pod when it suits its owner: its sentry is of another gVisor release than the runsc that would restart its containers, and some releases cannot control the sentries of others. The pod runs on until one of its containers ends.',
  },
] as const satisfies readonly Row[];

export type SandboxReason = (typeof TABLE)[number]['reason'];

export const SANDBOX_PROBLEMS: readonly (Row & { readonly reason: SandboxReason })[] = TABLE;

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
  readonly restart: RestartSafety;
};

export const MAX_PROBLEMS = 50;

/** With its process IDs and sandbox filled in; "" for a reason of a newer agent. */
export function remedyOf(problem: Pick<SandboxProblem, 'reason' | 'pids' | 'sandbox'>): string {
  const { reason, pids, sandbox } = problem;
  const remedy = SANDBOX_PROBLEMS.find((row) => row.reason === reason)?.remedy ?? '';
  return remedy.replaceAll('PID', pids.join(' ')).replaceAll('SANDBOX', () => sandbox);
}
