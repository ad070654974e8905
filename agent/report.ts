import type { Facts, Finding } from './finding.ts';
import type { NodeWrites } from './node/object.ts';
import type { PodsReport } from './pods/pod.ts';
import type { Outcome } from './proof/outcome.ts';
import type { Verdict } from './verdict.ts';

/** One change of the published verdict. */
export type Transition = Verdict & { readonly at: string };

/** All that the agent has to say after a look; times are ISO 8601. */
export type Report = {
  readonly version: string;
  readonly node: string;
  readonly handler: string;
  /** What is published. */
  readonly verdict: Verdict;
  /** What the last look alone came to, when it came, why it was made, and how long it took. */
  readonly evaluation: {
    readonly verdict: Verdict;
    readonly at: string;
    readonly trigger: string;
    readonly durationMs: number;
  };
  readonly findings: readonly Finding[];
  readonly proof: Outcome;
  /** When gVisor was last proven here. */
  readonly provenAt?: string;
  readonly facts: Facts;
  /** The newest transitions, the newest first. */
  readonly history: readonly Transition[];
};

/** A report with what is known beside looks at the moment it is asked for. */
export type Status = Report & {
  /** Absent before pods were read. */
  readonly pods?: PodsReport | undefined;
  /** Absent where the agent writes to no Node. */
  readonly nodeWrites?: NodeWrites | undefined;
};

/** What is said before the first look has ended. */
export const STARTING: Verdict = {
  status: 'Unknown',
  reason: 'AgentStarting',
  message: 'the first look has not ended yet',
};

/** Hears of every report; what it does with it, and whether it changed, is its own affair. It never throws. */
export type Publisher = {
  /** A report with a settled verdict. */
  publish(report: Report): void;
  /** Every look, also one before the first verdict is settled, when what a predecessor published still stands. */
  count?(report: Report): void;
};
