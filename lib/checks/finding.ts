import type { BootedReason, Reason } from '../base/reasons.ts';
import { errorLine } from '../base/sanitize.ts';
import type { Facts } from '../host/system.ts';
import { reasonForError } from '../proof/outcome.ts';

/** A file (host path), a line in it (1-based), and the value found there. */
export type Evidence = {
  readonly file?: string;
  readonly line?: number;
  readonly value: string;
};

/**
 * `error` names the cause if no sandbox boots, else it counts as a warning; `blocker` makes the node not
 * ready even if one boots; `warning` never does.
 */
export type Severity = 'error' | 'blocker' | 'warning';

/** A check is `skipped` if the subject does not exist, and `unknown` if it could not be seen. Neither counts as pass or fail. */
export type CheckResult = (
  | { readonly status: 'pass' }
  | { readonly status: 'skipped' }
  | { readonly status: 'fail'; readonly severity: Severity; readonly reason: Reason }
  | {
      readonly status: 'unknown';
      readonly reason: Reason;
      /** A booted sandbox does not show what this check looks for. */
      readonly blocking?: boolean;
    }
) & {
  readonly message: string;
  readonly evidence?: readonly Evidence[];
  readonly facts?: Facts;
  /** Where to fix it, as advice for people. */
  readonly where?: string;
};

export type Finding = CheckResult & { readonly check: string; readonly durationMs: number };

export function at(
  { file, line }: { readonly file?: string | undefined; readonly line?: number | undefined },
  value: string,
): Evidence {
  return { ...(file !== undefined && { file }), ...(line !== undefined && { line }), value };
}

export function pass(message: string, evidence: readonly Evidence[] = []): CheckResult {
  return { status: 'pass', message, evidence };
}

export type FailedCheck = Extract<CheckResult, { readonly status: 'fail' }>;

function failing<R extends Reason>(severity: Severity) {
  return (reason: R, message: string, evidence: readonly Evidence[] = []): FailedCheck => {
    return { status: 'fail', severity, reason, message, evidence };
  };
}

export const error = failing('error');
/** It outweighs a proof, so its reason must not count as evidence that gVisor fails. */
export const blocker = failing<BootedReason>('blocker');
export const warning = failing('warning');

export function skip(message: string, evidence: readonly Evidence[] = []): CheckResult {
  return { status: 'skipped', message, evidence };
}

export function unknown(reason: Reason, message: string, evidence: readonly Evidence[] = []): CheckResult {
  return { status: 'unknown', reason, message, evidence };
}

export function checkFailed(error: unknown): CheckResult {
  return unknown(reasonForError(error), errorLine(error));
}
