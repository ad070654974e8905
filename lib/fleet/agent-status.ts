import { sanitizeLine } from '../base/sanitize.ts';
import type { Installation } from '../host/installation.ts';
import { sinceOf } from '../report/next-steps.ts';
import type { HandlerReport } from '../report/report.ts';
import { isHistory, isInstallation, isPodCounts, isPublished, isSandboxes } from '../report/schema.ts';
import type { SandboxesReport } from '../sandboxes/problem.ts';
import { truncate } from './objects.ts';
import { MAX_REASON_LENGTH, statementOf } from './refutation.ts';
import type { NodeInstallation } from './rollout.ts';

const MAX_VERSION_LENGTH = 64;
/** How far a node's clock may be ahead. */
const MAX_CLOCK_SKEW_MS = 60_000;

export type AgentStatus = ReturnType<typeof agentStatusOf> & {
  /** Monotonic; absent if it never was read. */
  readonly readMs?: number;
  /** Whether the last attempt failed; the rest is then of an earlier one. */
  readonly unread?: boolean;
  /** Whether the agent answered, and still runs its loop. */
  readonly live?: boolean;
};

/** Keeps the valid parts; throws if it is no report. */
export function agentStatusOf(report: unknown, node: string) {
  const { version, provenAt, sandboxes, podCounts, installation } = (report ?? {}) as Record<string, unknown>;
  if (typeof version !== 'string') throw new Error('no report');
  const provenAtMs = Date.parse(String(provenAt));
  const statement = statementOf(report, node);
  const handlers = (isPublished(report) && report.handlers) || [];
  return {
    version: truncate(version, MAX_VERSION_LENGTH),
    /** ISO 8601; the comparison is false for an invalid time. */
    ...(provenAtMs <= Date.now() + MAX_CLOCK_SKEW_MS ? { provenAt: new Date(provenAtMs).toISOString() } : {}),
    /** Absent if not scanned yet. */
    ...(isSandboxes(sandboxes) ? { sandboxes: countSandboxes(sandboxes) } : {}),
    /** Absent if the agent does not know. */
    ...(isPodCounts(podCounts) ? { pods: podCounts } : {}),
    /** Absent if the installer was never used. */
    ...(isInstallation(installation) ? { installation: withoutTexts(installation) } : {}),
    ...(statement && { statement }),
    /** Additional handlers by name: a reason, and since when, or "". */
    ...(handlers.length > 0 && { unproven: new Map(handlers.map(whyUnproven)) }),
  } as const;
}

/** How many have a problem, and whether a restart of containerd would harm pods; `stale` if too long ago. */
function countSandboxes({ total, restart, stale }: SandboxesReport) {
  return stale ? ('stale' as const) : { problems: total, unsafe: restart.state === 'unsafe' };
}

function whyUnproven({
  handler,
  verdict,
  history,
}: Pick<HandlerReport, 'handler' | 'verdict'> & Partial<HandlerReport>) {
  const { status, reason } = verdict;
  const code = status === 'True' ? 'NotLabelled' : truncate(sanitizeLine(reason), MAX_REASON_LENGTH);
  const since = sinceOf({ verdict, history: isHistory(history) ? history : [] }) ?? '';
  return [handler, { reason: code, since: truncate(since, MAX_REASON_LENGTH) }] as const;
}

/** A compromised node may send long texts, and thousands of nodes are kept. */
function withoutTexts({ pending, failure, ...rest }: Installation): NodeInstallation {
  return {
    ...rest,
    ...(pending && { pending: { ...pending, since: '' } }),
    ...(failure && { failure: { ...failure, message: '', at: '' } }),
  };
}
