import TABLE from './reasons.json' with { type: 'json' };

export type Reason = keyof typeof TABLE;

/** The code is the same in the condition, the event, the metric, the log, the report and the runbook. */
export const REASONS = TABLE as Readonly<
  Record<Reason, { readonly status: 'True' | 'False' | 'Unknown'; readonly remedy: string }>
>;
