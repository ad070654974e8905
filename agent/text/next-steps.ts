import { REASONS, type Reason } from '../reasons.ts';
import type { Report, Status } from '../report.ts';

/** A reason, and what a person should do about it. */
export type Step = { readonly reason: Reason; readonly remedy: string };

/** Reasons about which nothing can be done. */
const IDLE: readonly Reason[] = ['SandboxProven', 'AgentStarting'];

/**
 * What there is to do, each step once: first what the last look names, then in the order of the checks, which have
 * causes before their effects. What a check could not see is a step only where nothing else is known.
 */
export function nextSteps({ verdict, evaluation, findings, proof }: Report): readonly Step[] {
  const blind = evaluation.verdict.status === 'Unknown';
  const seen = findings.flatMap((finding) =>
    finding.status === 'fail' || (finding.status === 'unknown' && blind) ? [finding.reason] : [],
  );
  const untried = proof.kind === 'proven' ? [] : [proof.reason];
  const reasons = new Set([evaluation.verdict.reason, verdict.reason, ...seen, ...untried]);
  return [...reasons]
    .filter((reason) => !IDLE.includes(reason))
    .map((reason) => ({ reason, remedy: `${REASONS[reason].remedy}${placeOf(reason, findings)}` }));
}

function placeOf(reason: Reason, findings: Report['findings']): string {
  const { where } = findings.find((finding) => 'reason' in finding && finding.reason === reason) ?? {};
  return where === undefined ? '' : ` On this node: ${where}.`;
}

/** Since when the published status stands, ISO 8601: as the Node says, which outlives agents, else as this agent knows. */
export function sinceOf({ verdict, history, nodeWrites }: Status): string | undefined {
  const { condition } = nodeWrites ?? {};
  if (condition?.status === verdict.status) return condition.lastTransitionTime;
  const other = history.findIndex(({ status }) => status !== verdict.status);
  const same = other === -1 ? history : history.slice(0, other);
  return same.at(-1)?.at;
}
