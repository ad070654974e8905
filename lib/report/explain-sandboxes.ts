import { remedyOf, type SandboxesReport, type SandboxProblem } from '../sandboxes/problem.ts';
import { NOT_KNOWN } from './next-steps.ts';
import { MAX_LISTED, type Remark, type Times } from './remark.ts';

const MAX_PIDS = 8;

/** Warnings that never fail the node; also whether containerd may restart. */
export function explainSandboxes(
  { problems, total, restart, stale, at }: SandboxesReport,
  times: Times,
): readonly Remark[] {
  const shown = problems.slice(0, MAX_LISTED);
  const more = total - shown.length;
  const text = restart.because.join('; ');
  const about = 'restart of containerd';
  const answers = {
    safe: { tone: 'pass', about, text: 'safe: every pod would stay' },
    unsafe: { tone: 'warning', about, text: `unsafe: ${text}` },
    unknown: { tone: 'unknown', about, text: `not known to be safe: ${text}` },
    stale: { tone: 'unknown', about, text: `not known to be safe: last scan ${times.at(at)}` },
  } as const;
  return [
    ...shown.map((problem) => aboutProblem(problem, times)),
    ...(more > 0 ? [{ tone: 'warning', about: 'sandboxes', text: `and ${more} more` } as const] : []),
    answers[stale ? 'stale' : restart.state],
  ];
}

export function aboutProblem(
  { reason, message, namespace, name, sandbox, pids, since }: SandboxProblem,
  times: Times,
): Remark {
  const subject = namespace === undefined ? `sandbox ${sandbox}` : `${namespace}/${name}`;
  const processes = pids.length === 0 ? '' : `PID ${pids.slice(0, MAX_PIDS).join(' ')}, `;
  return {
    tone: 'warning',
    about: reason,
    text: `${subject}: ${message} (${processes}${times.since(since)})`,
  };
}

/** With the processes of the first sandbox that has the reason. */
export function stepsForSandboxes(problems: readonly SandboxProblem[]): readonly string[] {
  return [...new Set(problems.map(({ reason }) => reason))].flatMap((code) => {
    const [first, ...others] = problems.filter(({ reason }) => reason === code);
    if (first === undefined) return [];
    const rest = others.length === 0 ? '' : ` The same holds for ${others.length} more.`;
    return [`${code}, on the node: ${remedyOf(first) || NOT_KNOWN}${rest}`];
  });
}
