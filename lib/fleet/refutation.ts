import { sanitizeLine } from '../base/sanitize.ts';
import { isPublished } from '../report/schema.ts';
import { type HandlerLabel, truncate } from './objects.ts';

export const MAX_REASON_LENGTH = 64;
const MAX_PROBLEM_LENGTH = 300;

type Said = { readonly status: string; readonly reason: string };

/** What an agent says of its node. */
export type Statement = {
  /** By handler; "" is the main one. One without a verdict yet is missing. */
  readonly verdicts: ReadonlyMap<string, Said>;
  /** Why the agent cannot write that to its Node; "" if it does not say. */
  readonly problem: string;
};

/**
 * Undefined for a report of another node. An agent that has just started says nothing: its predecessor's label
 * stays until its first verdict.
 */
export function statementOf(report: unknown, node: string): Statement | undefined {
  if (!isPublished(report) || report.node !== node) return undefined;
  const { verdict, handlers = [], nodeWrites } = report;
  const line = (text: string, maxLength: number) => truncate(sanitizeLine(text).trim(), maxLength);
  const said = [{ handler: '', verdict }, ...handlers].flatMap((each) => {
    const { status, reason } = each.verdict;
    const one = { status, reason: line(reason, MAX_REASON_LENGTH) };
    return reason === 'AgentStarting' ? [] : [[each.handler, one] as const];
  });
  return { verdicts: new Map(said), problem: line(nodeWrites?.problem ?? '', MAX_PROBLEM_LENGTH) };
}

type NodeSays = {
  readonly label: string;
  readonly handlers: readonly Pick<HandlerLabel, 'handler' | 'label'>[];
  readonly verdict?: Said;
};

/** What a Node says although its agent says something else. */
export type Refutation = {
  /** The handlers that are labelled "true" and not proven; "" is the main one. */
  readonly labels: readonly string[];
  /** Whether the condition is True or False, and the agent's verdict another one. */
  readonly condition: boolean;
};

/**
 * Undefined if the agent refutes nothing. Either way a difference is evidence for nothing, since only one of
 * the two is right.
 */
export function refutationOf(
  { label, handlers, verdict }: NodeSays,
  { verdicts }: Statement = SAYS_NOTHING,
): Refutation | undefined {
  const labels = [{ handler: '', label }, ...handlers].flatMap((each) => {
    const said = verdicts.get(each.handler);
    return each.label === 'true' && said !== undefined && said.status !== 'True' ? [each.handler] : [];
  });
  const main = verdicts.get('');
  const condition =
    (verdict?.status === 'True' || verdict?.status === 'False') &&
    main !== undefined &&
    (main.status !== verdict.status || main.reason !== verdict.reason);
  return labels.length > 0 || condition ? { labels, condition } : undefined;
}

const SAYS_NOTHING: Statement = { verdicts: new Map(), problem: '' };

/** The reason of each verdict that differs from its Node, that of the main handler first. */
export function refutingReasons(
  { labels, condition }: Refutation,
  { verdicts }: Statement,
): ReadonlyMap<string, string> {
  const handlers = [...(condition ? [''] : []), ...labels];
  return new Map(handlers.map((handler) => [handler, verdicts.get(handler)?.reason ?? '']));
}

/** Such as "ShimNotFound, and cannot write its Node: 401"; "" if it refutes nothing. */
export function describeRefutation(refutation: Refutation, statement: Statement): string {
  const causes = [...refutingReasons(refutation, statement)].map(([handler, reason]) =>
    handler === '' ? reason : `${reason} of handler "${handler}"`,
  );
  const { problem } = statement;
  if (causes.length === 0) return '';
  return `${causes.join(', ')}${problem && `, and cannot write its Node: ${problem}`}`;
}
