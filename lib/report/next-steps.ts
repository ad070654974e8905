import { REASONS, type Reason } from '../base/reasons.ts';
import { isBeingInstalled } from './installation.ts';
import type { HandlerReport, Report, Status } from './report.ts';

export type NextStep = { readonly reason: string; readonly remedy: string };

/** In place of a remedy that only a newer release has. */
export const NOT_KNOWN = 'this plugin is older than the agent and does not know it.';

/** Reasons without a remedy. */
const IDLE: readonly string[] = ['SandboxProven', 'AgentStarting'];

/**
 * Each once: first those of the verdicts, then in the order of the checks, which have causes before effects. An unknown
 * check counts only if the whole evaluation is Unknown.
 */
export function nextSteps(
  report: HandlerReport & Pick<Status, 'installation' | 'nodeWrites'>,
): readonly NextStep[] {
  const { verdict, evaluation, findings, proof, installation, nodeWrites } = report;
  const isUnknown = evaluation.verdict.status === 'Unknown';
  const seen = findings.flatMap((finding) =>
    finding.status === 'fail' || (finding.status === 'unknown' && isUnknown) ? [finding.reason] : [],
  );
  const unproven = proof.kind === 'proven' ? [] : [proof.reason];
  const judged = [evaluation.verdict.reason, verdict.reason];
  const mustWait = judged.every((reason) => isBeingInstalled(installation, reason));
  const reasons = new Set<Reason>([
    ...(nodeWrites?.problem === undefined ? [] : (['AgentCannotWrite'] as const)),
    ...(mustWait ? (['InstallationUnderWay'] as const) : [...judged, ...seen, ...unproven]),
  ]);
  return [...reasons].flatMap((reason) =>
    stepsFor(reason).map((step) => ({ ...step, remedy: `${step.remedy}${placeOf(reason, findings)}` })),
  );
}

/** At most one. */
export function stepsFor(reason: string): readonly NextStep[] {
  if (reason === '' || IDLE.includes(reason)) return [];
  const known = Object.hasOwn(REASONS, reason) ? REASONS[reason as Reason] : undefined;
  return [{ reason, remedy: known?.remedy ?? NOT_KNOWN }];
}

function placeOf(reason: Reason, findings: Report['findings']): string {
  const { where } = findings.find((finding) => 'reason' in finding && finding.reason === reason) ?? {};
  return where === undefined ? '' : ` On this node: ${where}.`;
}

/** ISO 8601: as in the Node, which outlives agents, else as in this agent's history. */
export function sinceOf(status: Pick<Status, 'verdict' | 'history' | 'nodeWrites'>): string | undefined {
  const { verdict, history, nodeWrites: { condition } = {} } = status;
  if (condition?.status === verdict.status) return condition.lastTransitionTime;
  const other = history.findIndex(({ status }) => status !== verdict.status);
  const same = other === -1 ? history : history.slice(0, other);
  return same.at(-1)?.at;
}
