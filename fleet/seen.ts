import type { AgentPod, AgentSet } from './agents.ts';
import type { FleetNode } from './node.ts';

/** The times and the share that decide; durations in milliseconds. */
export type Patience = {
  /** How long no agent on a node was Ready before its label is withdrawn. */
  readonly goneMs: number;
  /** How old a Node must be. */
  readonly nodeAgeMs: number;
  /** The time within which withdrawals count together. */
  readonly windowMs: number;
  /** The share of the labelled nodes that may lose the label within that time. */
  readonly share: number;
  /** How long nothing is withdrawn after the API server was away. */
  readonly settleMs: number;
};

/** What the informers know now. */
export type Seen = {
  readonly nodes: readonly FleetNode[];
  readonly pods: readonly AgentPod[];
  /** Absent where there is no DaemonSet. */
  readonly agents?: AgentSet;
  /** Names of the nodes on which an agent was Ready at some moment since the last decision. */
  readonly served: ReadonlySet<string>;
  /** Since when all watches stand without a break, monotonic; absent while one does not. */
  readonly followedSinceMs?: number;
  /** Nodes whose label this controller withdrew, by uid, and when, monotonic. */
  readonly withdrawn: ReadonlyMap<string, number>;
};

/** A monotonic clock and the wall clock, milliseconds. */
export type Clock = { readonly nowMs: number; readonly wallMs: number };
