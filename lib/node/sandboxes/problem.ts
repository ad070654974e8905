import SANDBOX_PROBLEMS from './problems.json' with { type: 'json' };

/**
 * Most severe first, with the minutes until a problem is reported and its remedy, in which PID and SANDBOX
 * stand for the problem's own. None makes a node not ready.
 */
export type SandboxReason = keyof typeof SANDBOX_PROBLEMS;

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
  const remedy = Object.hasOwn(SANDBOX_PROBLEMS, reason) ? SANDBOX_PROBLEMS[reason].remedy : '';
  return remedy.replaceAll('PID', pids.join(' ')).replaceAll('SANDBOX', () => sandbox);
}
