import type { V1Pod } from '@kubernetes/client-node';
import type { SandboxesReport, SandboxProblem } from '../../lib/sandboxes/problem.ts';
import type { ApiObject } from '../api/api.ts';
import { type ReportResult, uidsOf } from './agent-reports.ts';

export function problemJson({ message: _, ...problem }: SandboxProblem) {
  return problem;
}

/** A text says why there is no scan. */
export function sandboxesIn(result: ReportResult | undefined): SandboxesReport | string {
  if (result === undefined) return 'no agent runs there';
  if (result.report === undefined) return result.problem;
  const { sandboxes } = result.report;
  if (sandboxes === undefined) return 'the agent has not scanned the sandboxes';
  return sandboxes.stale ? `the agent last scanned the sandboxes at ${sandboxes.at}` : sandboxes;
}

export function problemsOf(
  pod: ApiObject<V1Pod>,
  result: ReportResult | undefined,
): readonly SandboxProblem[] {
  const uids = uidsOf(pod);
  const problems = result?.report?.sandboxes?.problems ?? [];
  return problems.filter(({ uid }) => uid !== undefined && uids.includes(uid));
}
