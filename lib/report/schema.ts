import type { Evidence } from '../checks/finding.ts';
import type { Installation } from '../host/installation.ts';
import type { PodCounts } from '../pods/pod.ts';
import {
  MAX_PROBLEMS,
  type RestartSafety,
  type SandboxesReport,
  type SandboxProblem,
} from '../sandboxes/problem.ts';
import { HEADLINES, PROOF_TONES } from './format.ts';
import type { Condition, NodeWrites } from './node-object.ts';
import type { HandlerReport, Status, Transition } from './report.ts';
import type { Verdict } from './verdict.ts';

type Guard = (value: unknown) => boolean;
/** The compiler asks for a guard when a field is added. */
type Guards<T> = { readonly [Field in keyof T]-?: Guard };

export const text: Guard = (value) => typeof value === 'string';
export function matching(pattern: RegExp): Guard {
  return (value) => typeof value === 'string' && pattern.test(value);
}
export const number: Guard = (value) => Number.isFinite(value);
export const boolean: Guard = (value) => typeof value === 'boolean';
export function oneOf(values: readonly unknown[]): Guard {
  return (value) => values.includes(value);
}
export function absentOr(guard: Guard): Guard {
  return (value) => value === undefined || guard(value);
}
export function list(guard: Guard, maxLength = Number.POSITIVE_INFINITY): Guard {
  return (value) => Array.isArray(value) && value.length <= maxLength && value.every((item) => guard(item));
}
export const object =
  <T>(guards: Guards<T>, entries = Object.entries<Guard>(guards)) =>
  (value: unknown): value is T =>
    typeof value === 'object' &&
    value !== null &&
    entries.every(([field, guard]) => guard((value as Record<string, unknown>)[field]));
export function recordOf(guard: Guard, maxLength?: number): Guard {
  const ofValues = list(guard, maxLength);
  return (value) => typeof value === 'object' && value !== null && ofValues(Object.values(value));
}
/** The same guard for several fields. */
const each = <Field extends string>(guard: Guard, ...fields: readonly Field[]) =>
  Object.fromEntries(fields.map((field) => [field, guard])) as Readonly<Record<Field, Guard>>;
const texts = recordOf(text, 64);

const VERDICT: Guards<Verdict> = {
  status: oneOf(Object.keys(HEADLINES)),
  ...each(text, 'reason', 'message'),
  tolerated: absentOr(boolean),
};
const HISTORY = list(object<Transition>({ ...VERDICT, at: text }), 128);

export function isHistory(value: unknown): value is HandlerReport['history'] {
  return HISTORY(value);
}

const EVIDENCE = object<Evidence>({ file: absentOr(text), line: absentOr(number), value: text });
const FINDING = object({
  status: oneOf(['pass', 'fail', 'unknown', 'skipped']),
  ...each(text, 'check', 'message'),
  ...each(absentOr(text), 'reason', 'severity', 'where'),
  evidence: absentOr(list(EVIDENCE, 64)),
  durationMs: number,
});
const FAULT = object({ reason: text });
const PROOF = object({ kind: oneOf(Object.keys(PROOF_TONES)), message: text });
const PROVEN = object({
  bootMs: number,
  teardownMs: number,
  witness: object({ pid: number, argv: list(text, 256) }),
});
const CONDITION = object<Condition>(
  each(text, 'type', 'status', 'reason', 'message', 'lastHeartbeatTime', 'lastTransitionTime'),
);
const NODE_WRITES = object<NodeWrites>({
  condition: absentOr(CONDITION),
  problem: absentOr(text),
});
/** People copy these ids and PIDs into commands. */
const id = matching(/^[\w.-]{1,128}$/);
export const count: Guard = (value) => Number.isSafeInteger(value) && (value as number) >= 0;
const PROBLEM = object<SandboxProblem>({
  ...each(text, 'reason', 'message', 'since'),
  ...each(absentOr(text), 'namespace', 'name', 'uid'),
  sandbox: id,
  pids: list(count, 1_024),
  ageSeconds: number,
});
export const isSandboxes = object<SandboxesReport>({
  at: text,
  stale: boolean,
  problems: list(PROBLEM, MAX_PROBLEMS),
  total: count,
  restart: object<RestartSafety>({ state: oneOf(['safe', 'unsafe', 'unknown']), because: list(text, 16) }),
});
/** As the agent takes releases, steps and reasons from the installer's journal. */
const word = matching(/^[\w.+~-]{1,64}$/);
const PENDING = object<NonNullable<Installation['pending']>>({
  ...each(word, 'release', 'step'),
  since: text,
  removes: absentOr(boolean),
  interrupted: boolean,
});
const FAILURE = object<NonNullable<Installation['failure']>>({
  ...each(word, 'release', 'step'),
  reason: absentOr(word),
  ...each(text, 'message', 'at'),
});
export const isInstallation = object<Installation>({
  installed: absentOr(word),
  pending: absentOr(PENDING),
  failure: absentOr(FAILURE),
});
export const isPodCounts = object<PodCounts>({
  ...each(count, 'violating', 'weakened', 'open'),
  unknown: absentOr(count),
});
const POD = each(text, 'uid', 'evidence');
/** The part that the plugin reads. */
const PODS = object({
  at: text,
  ...each(list(object(POD)), 'violating', 'permitted', 'unknown'),
  unknownRequired: absentOr(count),
  sandboxedUids: list(() => true),
  weakened: list(object({ ...POD, weak: list(object({ severity: text })) })),
});
const HANDLER_REPORT: Guards<HandlerReport> = {
  handler: text,
  verdict: object(VERDICT),
  expected: absentOr(boolean),
  evaluation: object<Status['evaluation']>({
    verdict: object(VERDICT),
    ...each(text, 'at', 'trigger'),
    durationMs: number,
  }),
  findings: list((value) => FINDING(value) && (isOk(value) || FAULT(value)), 64),
  proof: (value) => PROOF(value) && (isProven(value) ? PROVEN : FAULT)(value),
  provenAt: absentOr(text),
  facts: texts,
  history: HISTORY,
};
/** Within limits: a compromised node may send anything. */
export const isStatus = object<Status>({
  ...HANDLER_REPORT,
  ...each(text, 'version', 'node'),
  handlers: absentOr(list(object(HANDLER_REPORT), 16)),
  installation: absentOr(isInstallation),
  nodeWrites: absentOr(NODE_WRITES),
  pods: absentOr(PODS),
  podCounts: absentOr(isPodCounts),
  sandboxes: absentOr(isSandboxes),
});

/**
 * The published part must be valid, so that agents of other versions count too. The history of a handler
 * may be anything: {@link isHistory}.
 */
export const isPublished = object<Pick<Status, 'node' | 'verdict' | 'handlers' | 'nodeWrites'>>({
  node: text,
  verdict: object(VERDICT),
  handlers: absentOr(list(object({ handler: text, verdict: object(VERDICT) }), 16)),
  nodeWrites: absentOr(object({ problem: absentOr(text) })),
});

const isOk = (finding: unknown) => ['pass', 'skipped'].includes((finding as { status: string }).status);
const isProven = (proof: unknown) => (proof as { kind: string }).kind === 'proven';
