import TABLE from './reasons.json' with { type: 'json' };

export type Reason = keyof typeof TABLE;

/** A reason with which a sandbox can have booted in gVisor. */
export type BootedReason = {
  [R in Reason]: (typeof TABLE)[R] extends { readonly boots: boolean } ? R : never;
}[Reason];

export type ReasonRow = {
  readonly status: 'True' | 'False' | 'Unknown';
  /** Set if a sandbox can have booted in gVisor: the node is withheld, and that is no evidence that gVisor fails. */
  readonly boots?: true;
  readonly remedy: string;
};

/** The code is the same in the condition, the event, the metric, the log, the report and the runbook. */
export const REASONS = TABLE as Readonly<Record<Reason, ReasonRow>>;
