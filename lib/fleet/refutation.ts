import { sanitizeLine } from '../base/sanitize.ts';
import { isPublished } from '../report/schema.ts';
import { type HandlerLabel, truncate } from './objects.ts';

export const MAX_REASON_LENGTH = 64;
const MAX_PROBLEM_LENGTH = 300;

export type Refutation = {
  /** Of each handler that is not proven, by name; "" is the main one. */
  readonly reasons: ReadonlyMap<string, string>;
  /** Why the agent cannot write that to its Node; "" if it does not say. */
  readonly problem: string;
};

/**
 * Undefined if a report refutes nothing or is not of that node. An agent that has just started refutes
 * nothing: its predecessor's label stays until its first verdict.
 */
export function refutationOf(report: unknown, node: string): Refutation | undefined {
  if (!isPublished(report) || report.node !== node) return undefined;
  const { verdict, handlers = [], nodeWrites } = report;
  const refuted = [{ handler: '', verdict }, ...handlers].filter(
    (each) => each.verdict.status !== 'True' && each.verdict.reason !== 'AgentStarting',
  );
  if (refuted.length === 0) return undefined;
  const line = (text: string, maxLength: number) => truncate(sanitizeLine(text).trim(), maxLength);
  return {
    reasons: new Map(refuted.map((each) => [each.handler, line(each.verdict.reason, MAX_REASON_LENGTH)])),
    problem: line(nodeWrites?.problem ?? '', MAX_PROBLEM_LENGTH),
  };
}

/** Labelled "true" and refuted, by name; "" is the main one. */
export function refutedHandlers(
  { label, handlers }: { readonly label: string; readonly handlers: readonly Label[] },
  refutation: Refutation | undefined,
): readonly string[] {
  return [{ handler: '', label }, ...handlers].flatMap((each) =>
    each.label === 'true' && refutation?.reasons.has(each.handler) ? [each.handler] : [],
  );
}

type Label = Pick<HandlerLabel, 'handler' | 'label'>;

/** Such as "ShimNotFound, and cannot write its Node: 401". */
export function describeRefutation(handlers: readonly string[], { reasons, problem }: Refutation): string {
  const causes = handlers.map((handler) => {
    const reason = reasons.get(handler);
    return handler === '' ? reason : `${reason} of handler "${handler}"`;
  });
  return `${causes.join(', ')}${problem && `, and cannot write its Node: ${problem}`}`;
}
