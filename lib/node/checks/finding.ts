import { errorLine } from '../../base/sanitize.ts';
import type { Facts } from '../host/system.ts';
import { reasonForError } from '../proof/outcome.ts';
import type { Reason } from '../reasons.ts';

/** Where a fact was seen: a file (host path), a line in it (1-based), and the value found there. */
export type Evidence = {
  readonly file?: string;
  readonly line?: number;
  readonly value: string;
};

/**
 * What a failed check means for the verdict:
 * `error` names the cause when no sandbox boots, and counts as a warning when one does;
 * `blocker` makes the node not ready even though a sandbox boots (weakened isolation, a release below the floor);
 * `warning` never makes a node not ready.
 */
export type Severity = 'error' | 'blocker' | 'warning';

/**
 * The result of one check, with facts of the node that it read. `skipped` means that its subject does not exist and
 * `unknown` that it could not be seen: neither counts as pass or fail.
 */
export type CheckResult = (
  | { readonly status: 'pass' }
  | { readonly status: 'skipped' }
  | { readonly status: 'fail'; readonly severity: Severity; readonly reason: Reason }
  | {
      readonly status: 'unknown';
      readonly reason: Reason;
      /** A booted sandbox does not show what this check looks for, so a proof alone does not make the node ready. */
      readonly blocking?: boolean;
    }
) & {
  readonly message: string;
  readonly evidence?: readonly Evidence[];
  readonly facts?: Facts;
  /** Where to fix it on this node, as advice for people. */
  readonly where?: string;
};

/** A {@link CheckResult} with the id of the check that saw it and how long it took, in milliseconds. */
export type Finding = CheckResult & { readonly check: string; readonly durationMs: number };

/** A value with the place where it was seen, as far as that is known. */
export function at(
  place: { readonly file?: string | undefined; readonly line?: number | undefined },
  value: string,
): Evidence {
  const { file, line } = place;
  return { ...(file === undefined ? {} : { file }), ...(line === undefined ? {} : { line }), value };
}

export function pass(message: string, evidence: readonly Evidence[] = []): CheckResult {
  return { status: 'pass', message, evidence };
}

/** A fault that keeps sandboxes from booting. */
export function error(reason: Reason, message: string, evidence: readonly Evidence[] = []): CheckResult {
  return { status: 'fail', severity: 'error', reason, message, evidence };
}

/** A fault that makes the node not ready although sandboxes boot. */
export function blocker(reason: Reason, message: string, evidence: readonly Evidence[] = []): CheckResult {
  return { status: 'fail', severity: 'blocker', reason, message, evidence };
}

/** A fault that the verdict does not depend on. */
export function warning(reason: Reason, message: string, evidence: readonly Evidence[] = []): CheckResult {
  return { status: 'fail', severity: 'warning', reason, message, evidence };
}

/** A check without a subject, such as the sidecars of a missing runsc. */
export function skip(message: string, evidence: readonly Evidence[] = []): CheckResult {
  return { status: 'skipped', message, evidence };
}

/** A check that could not see its subject. */
export function unknown(reason: Reason, message: string, evidence: readonly Evidence[] = []): CheckResult {
  return { status: 'unknown', reason, message, evidence };
}

export function checkFailed(error: unknown): CheckResult {
  return unknown(reasonForError(error), errorLine(error));
}
