import { TimeoutError } from './async.ts';
import { CriError } from './containerd/error.ts';
import { NotVisible } from './host/paths.ts';
import { WrongRuntime } from './proof/sandbox.ts';
import type { Reason } from './reasons.ts';
import { errorLine } from './sanitize.ts';

/** The reason code of a look that ended with this error instead of an answer. */
export function reasonForError(error: unknown): Reason {
  if (error instanceof NotVisible) return 'NotVisible';
  if (error instanceof WrongRuntime) return 'WrongRuntime';
  if (error instanceof TimeoutError) return 'CheckTimedOut';
  if (!(error instanceof CriError)) return 'CheckFailed';
  if (error.kind === 'late') return 'CheckTimedOut';
  // A call that nobody here has cut off broke with the connection.
  return error.kind === 'unreachable' || error.kind === 'aborted' ? 'ContainerdUnreachable' : 'CheckFailed';
}

/** What is known of the node besides the verdict; a fact that could not be had is absent. */
export type Facts = {
  readonly kernel?: string;
  readonly containerd?: string;
  /** As the program names it, for example "release-20260223.0"; undefined where it was seen to name none. */
  readonly runsc?: string | undefined;
  readonly platform?: string;
  readonly distribution?: string;
  readonly [hardware: string]: string | undefined;
};

/** Where a fact was seen: a file (host path), a line in it (1-based), and the value found there. */
export type Evidence = {
  readonly file?: string;
  readonly line?: number;
  readonly value: string;
};

/**
 * What a failing check means for the verdict:
 * `explains` names the cause when no sandbox boots, and is only a warning when one does;
 * `decides` makes the node not ready even though a sandbox boots (a weakened isolation, a release under the floor);
 * `advises` warns and never decides.
 */
export type Severity = 'explains' | 'decides' | 'advises';

/**
 * What one check saw, and what it learned of the node by the way. `skipped` means that what it looks at is not there,
 * and `unknown` that it could not look: neither ever counts as pass or fail.
 */
export type CheckResult = (
  | { readonly status: 'pass' }
  | { readonly status: 'skipped' }
  | { readonly status: 'fail'; readonly severity: Severity; readonly reason: Reason }
  | {
      readonly status: 'unknown';
      readonly reason: Reason;
      /** A sandbox does not reveal what this check looks for, so a proof alone does not make the node ready. */
      readonly blocking?: boolean;
    }
) & {
  readonly message: string;
  readonly evidence?: readonly Evidence[];
  readonly facts?: Facts;
  /** Where a person mends it on this node, in words. */
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

/** The result of a check that found what it hoped for. */
export function pass(message: string, evidence: readonly Evidence[] = []): CheckResult {
  return { status: 'pass', message, evidence };
}

/** The result of a check that saw a fault which stops sandboxes from booting. */
export function fail(reason: Reason, message: string, evidence: readonly Evidence[] = []): CheckResult {
  return { status: 'fail', severity: 'explains', reason, message, evidence };
}

/** The result of a check that saw something which makes the node unfit although sandboxes boot. */
export function block(reason: Reason, message: string, evidence: readonly Evidence[] = []): CheckResult {
  return { status: 'fail', severity: 'decides', reason, message, evidence };
}

/** The result of a check that saw something people should know and the verdict should not depend on. */
export function advise(reason: Reason, message: string, evidence: readonly Evidence[] = []): CheckResult {
  return { status: 'fail', severity: 'advises', reason, message, evidence };
}

/** The result of a check whose subject is not there, such as the sidecars of a runsc that is missing. */
export function skip(message: string, evidence: readonly Evidence[] = []): CheckResult {
  return { status: 'skipped', message, evidence };
}

/** The result of a check that could not look. */
export function unknown(reason: Reason, message: string, evidence: readonly Evidence[] = []): CheckResult {
  return { status: 'unknown', reason, message, evidence };
}

/** The result of a check that ended with this error instead of an answer. */
export function checkFailed(error: unknown): CheckResult {
  return unknown(reasonForError(error), errorLine(error));
}
