import type { BootedReason, Reason } from '../../lib/base/reasons.ts';
import {
  blocker,
  type CheckResult,
  error,
  type Finding,
  pass,
  skip,
  unknown,
  warning,
} from '../../lib/checks/finding.ts';
import type { Outcome, Unproven } from '../../lib/proof/outcome.ts';
import type { Report } from '../../lib/report/report.ts';
import type { Verdict } from '../../lib/report/verdict.ts';
import { witnessOf } from './checks/fake-node.ts';

/** A finding of a check named for its reason, so that tables stay short. */
export function finding(result: CheckResult, check = 'a-check'): Finding {
  return { ...result, check, durationMs: 5 };
}

export const PASSED = finding(pass('fine'));
export const SKIPPED = finding(skip('not there'));
export const errorFinding = (reason: Reason) => finding(error(reason, `error ${reason}`));
export const blockerFinding = (reason: BootedReason) => finding(blocker(reason, `blocker ${reason}`));
export const warningFinding = (reason: Reason) => finding(warning(reason, `warning ${reason}`));
export const unknownFinding = (reason: Reason) => finding(unknown(reason, `unknown ${reason}`));

/** An unknown finding of a check that readiness requires. */
export const blockingFinding = (reason: Reason) =>
  finding({ ...unknown(reason, `unknown ${reason}`), blocking: true } as CheckResult);

export const PROVEN: Outcome = {
  kind: 'proven',
  witness: witnessOf(),
  bootMs: 500,
  teardownMs: 300,
  message: 'booted',
};

/** An outcome that proves nothing. */
export function unproven(kind: Unproven['kind'], reason: Reason, message = `${kind} ${reason}`): Unproven {
  return { kind, reason, message };
}

/** A verdict whose message is its reason. */
export function verdictOf(status: Verdict['status'], reason: Reason): Verdict {
  return { status, reason, message: reason };
}

export const PROVEN_VERDICT = verdictOf('True', 'SandboxProven');

/** The report of a proven node, with changes. */
export function reportOf(changes: Partial<Report> = {}): Report {
  const verdict = changes.verdict ?? PROVEN_VERDICT;
  return {
    version: '0.1.0',
    node: 'node-1',
    handler: 'runsc',
    verdict,
    evaluation: { verdict, at: '2026-03-01T10:00:00.000Z', trigger: 'start', durationMs: 900 },
    findings: [finding(pass('Linux 6.8.0 on x64'), 'kernel')],
    proof: PROVEN,
    provenAt: '2026-03-01T10:00:00.000Z',
    facts: { runsc: 'release-20260223.0', platform: 'systrap', containerd: 'v2.4.2', kernel: '6.8.0' },
    history: [],
    ...changes,
  };
}
