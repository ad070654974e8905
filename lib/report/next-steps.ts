import { REASONS, type Reason } from '../base/reasons.ts';
import { isBeingInstalled } from './installation.ts';
import type { HandlerReport, Report, Status } from './report.ts';

export type NextStep = { readonly reason: Reason; readonly remedy: string };

/** Reasons without a remedy. */
const IDLE: readonly string[] = ['SandboxProven', 'AgentStarting'];

/**
 * Each once: first those of the verdicts, then in the order of the checks, which have causes before effects. An unknown
 * check counts only if the whole evaluation is Unknown.
 */
export function nextSteps(report: HandlerReport & Pick<Report, 'installation'>): readonly NextStep[] {
  const { verdict, evaluation, findings, proof, installation } = report;
  const isUnknown = evaluation.verdict.status === 'Unknown';
  const seen = findings.flatMap((finding) =>
    finding.status === 'fail' || (finding.status === 'unknown' && isUnknown) ? [finding.reason] : [],
  );
  const unproven = proof.kind === 'proven' ? [] : [proof.reason];
  const judged = [evaluation.verdict.reason, verdict.reason];
  const mustWait = judged.every((reason) => isBeingInstalled(installation, reason));
  const reasons = new Set<Reason>(mustWait ? ['InstallationUnderWay'] : [...judged, ...seen, ...unproven]);
  return [...reasons]
    .filter((reason) => Object.hasOwn(REASONS, reason) && !IDLE.includes(reason)) // a newer agent has reasons of its own
    .map((reason) => ({ reason, remedy: `${REASONS[reason].remedy}${placeOf(reason, findings)}` }));
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
