import type { V1Pod } from '@kubernetes/client-node';
import { shortIds } from '../../lib/report/format.ts';
import { remedyOf, type SandboxesReport, type SandboxProblem } from '../../lib/sandboxes/problem.ts';
import type { ApiObject } from '../api/api.ts';
import { ageOf, type Explanation, type Remark } from '../text/output.ts';
import { type ReportResult, uidsOf } from './agent-reports.ts';

const MAX_SHOWN = 10;
const MAX_PIDS = 8;

/** Warnings that never fail the node; also whether containerd may restart. */
export function explainSandboxes(
  { problems, total, restart, stale, at }: SandboxesReport,
  nowMs: number,
): Pick<Explanation, 'seen' | 'next'> {
  const shown = problems.slice(0, MAX_SHOWN);
  const more = total - shown.length;
  const text = shortIds(restart.because.join('; '));
  const about = 'restart of containerd';
  const answers = {
    safe: { tone: 'pass', about, text: 'safe: every pod would stay' },
    unsafe: { tone: 'warning', about, text: `unsafe: ${text}` },
    unknown: { tone: 'unknown', about, text: `not known to be safe: ${text}` },
    stale: { tone: 'unknown', about, text: `not known to be safe: last scan ${ageOf(at, nowMs)} ago` },
  } as const;
  return {
    seen: [
      ...shown.map((problem) => aboutProblem(problem, nowMs)),
      ...(more > 0 ? [{ tone: 'warning', about: 'sandboxes', text: `${more} more problems` } as const] : []),
      answers[stale ? 'stale' : restart.state],
    ],
    next: stepsFor(problems),
  };
}

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

export function aboutProblem(
  { reason, message, namespace, name, sandbox, pids, since }: SandboxProblem,
  nowMs: number,
): Remark {
  const subject = namespace === undefined ? `sandbox ${sandbox}` : `${namespace}/${name}`;
  const processes = pids.length === 0 ? '' : `PID ${pids.slice(0, MAX_PIDS).join(' ')}, `;
  const text = shortIds(`${subject}: ${message} (${processes}for ${ageOf(since, nowMs)})`);
  return { tone: 'warning', about: reason, text };
}

/** With the processes of the first sandbox that has the reason. */
export function stepsFor(problems: readonly SandboxProblem[]): readonly string[] {
  return [...new Set(problems.map(({ reason }) => reason))].flatMap((code) => {
    const [first, ...others] = problems.filter(({ reason }) => reason === code);
    if (first === undefined) return [];
    const remedy = remedyOf(first) || 'this plugin is older than the agent and does not know it.';
    const rest = others.length === 0 ? '' : ` The same holds for ${others.length} more.`;
    return [`${code}, on the node: ${remedy}${rest}`];
  });
}
