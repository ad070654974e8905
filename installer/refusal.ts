/** The steps of an installation, in their order. */
export const STEPS = [
  'check',
  'stage',
  'pre-prove',
  'quiet',
  'write',
  'validate',
  'restart',
  'prove',
] as const;
export type Step = (typeof STEPS)[number];

/** A command or a step refused to go on; the message says what was seen and what to do next. */
export class Refusal extends Error {
  override readonly name = 'Refusal';
  readonly step: Step | 'release' | 'journal';
  /** One of the agent's reason codes, where one names the cause. */
  readonly reason: string | undefined;

  constructor(step: Refusal['step'], message: string, options?: ErrorOptions & { readonly reason?: string }) {
    super(message, options);
    this.step = step;
    this.reason = options?.reason;
  }
}
