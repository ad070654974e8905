import type { Line } from '../base/progress.ts';
import type { StepName } from '../base/refusal.ts';
import type { Run } from './run.ts';

export type Step = {
  readonly name: StepName;
  /** Resolves with its line for people, or with undefined if there was nothing to do. */
  readonly do: (run: Run) => Promise<Line | undefined>;
  /**
   * Makes it as it was before the run, however far `do` came, and resolves with whether there was anything
   * to undo.
   */
  readonly undo?: (run: Run) => Promise<boolean>;
};
