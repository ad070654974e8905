import type { Facts, Finding } from './finding.ts';
import type { NodeWrites } from './node/object.ts';
import type { PodsReport } from './pods/pod.ts';
import type { Outcome } from './proof/outcome.ts';
import type { Verdict } from './verdict.ts';

/** One change of the published verdict. */
export type Transition = Verdict & { readonly at: string };

/** The result of an evaluation, as publishers receive it; times are ISO 8601. */
export type Report = {
  readonly version: string;
  readonly node: string;
  readonly handler: string;
  /** The published verdict. */
  readonly verdict: Verdict;
  /** The latest evaluation on its own, whose verdict may not be published yet. */
  readonly evaluation: {
    readonly verdict: Verdict;
    readonly at: string;
    readonly trigger: string;
    readonly durationMs: number;
  };
  readonly findings: readonly Finding[];
  readonly proof: Outcome;
  /** Time of the last new proof. */
  readonly provenAt?: string;
  readonly facts: Facts;
  /** Latest transitions, newest first. */
  readonly history: readonly Transition[];
};

/** The document of /report: a report, and the state of pods and Node when it is requested. */
export type Status = Report & {
  /** Absent until pods have been read. */
  readonly pods?: PodsReport | undefined;
  /** Absent if the agent writes to no Node. */
  readonly nodeWrites?: NodeWrites | undefined;
};

/** The verdict before the first evaluation has ended. */
export const STARTING: Verdict = {
  status: 'Unknown',
  reason: 'AgentStarting',
  message: 'the first evaluation has not ended yet',
};

/** Receives reports; must not throw. Decides itself whether anything changed. */
export type Publisher = {
  /** Called after each evaluation once a verdict is published. */
  publish(report: Report): void;
  /** Called after every evaluation, including those before the first published verdict. */
  count?(report: Report): void;
};
