import type { Verdict } from '../verdict.ts';

/** The new value of the annotation `proven-by`, and the reason if this agent is not ready. */
export type Guarded = {
  /** The text to write, empty for a proof that is withdrawn; undefined to leave the annotation as it is. */
  readonly provenBy: string | undefined;
  readonly refusal?: string;
};

/** Who judges: `fingerprint` is the agent's version with a digest of the settings that a verdict depends on. */
export type Judge = { readonly fingerprint: string; readonly node: string; readonly key: string };

/**
 * Holds up a rollout that empties the fleet: a node that an agent with one fingerprint proved, and that one with another
 * finds not ready, gets the new verdict, but the new agent is not Ready until it proves the node or somebody takes the
 * annotation away. An agent that withdraws its own proof leaves the annotation empty, which tells that gVisor did work
 * here once.
 */
export function guard(verdict: Verdict, provenBy: string | undefined, judge: Judge): Guarded {
  const { fingerprint, node, key } = judge;
  if (verdict.status === 'True') return { provenBy: fingerprint };
  if (provenBy === fingerprint) return { provenBy: '' };
  if (provenBy === undefined || provenBy === '') return { provenBy: undefined };
  const { reason, message } = verdict;
  const accept = `kubectl annotate node ${node} ${key}-`;
  return {
    provenBy: undefined,
    refusal: `the node was proven by ${provenBy}; this ${fingerprint} says ${reason}: ${message}; to accept that: ${accept}`,
  };
}
