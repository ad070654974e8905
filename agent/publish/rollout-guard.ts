import type { Verdict } from '../verdict.ts';

/** What becomes of the annotation that says by whom a node was proven, and why this agent is not ready, if so. */
export type Guarded = {
  /** The text to write, empty for a proof that is withdrawn; undefined to leave what is there, or not there. */
  readonly provenBy: string | undefined;
  readonly refusal?: string;
};

/** Who judges: `edition` is the agent's version with a digest of the settings that a verdict depends on. */
export type Judge = { readonly edition: string; readonly node: string; readonly key: string };

/**
 * Holds up a rollout that empties the fleet: a node that one edition of the agent proved, and that another
 * finds not ready, gets the other's verdict, but the other is not Ready until it proves the node or somebody
 * takes the annotation away. An edition that withdraws its own proof leaves the annotation empty, which tells that gVisor
 * did work here once.
 */
export function guard(verdict: Verdict, provenBy: string | undefined, judge: Judge): Guarded {
  const { edition, node, key } = judge;
  if (verdict.status === 'True') return { provenBy: edition };
  if (provenBy === edition) return { provenBy: '' };
  if (provenBy === undefined || provenBy === '') return { provenBy: undefined };
  const { reason, message } = verdict;
  const accept = `kubectl annotate node ${node} ${key}-`;
  return {
    provenBy: undefined,
    refusal: `the node was proven by ${provenBy}; this ${edition} says ${reason}: ${message}; to accept that: ${accept}`,
  };
}
