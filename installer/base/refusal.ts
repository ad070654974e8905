/** The steps of an installation, in their order. */
export const STEPS = [
  'check',
  'stage',
  'pre-prove',
  'validate',
  'quiet',
  'write',
  'restart',
  'prove',
] as const;

export type StepName = (typeof STEPS)[number];

type Seen = {
  /** It ends in a line break if it quotes lines. */
  readonly what: string;
  /** What a person does about it. */
  readonly next?: string | undefined;
  /** One of the agent's, if one names the cause. */
  readonly reason?: string | undefined;
  /** Whether it says nothing about the release, which may be tried again at once. */
  readonly isOfNode?: boolean;
  readonly cause?: unknown;
};

/** The message says what was seen and what to do next. */
export class Refusal extends Error {
  override readonly name = 'Refusal';
  readonly step: StepName | 'release' | 'journal';
  readonly what: string;
  readonly next: string | undefined;
  readonly reason: string | undefined;
  readonly isOfNode: boolean;

  constructor(step: Refusal['step'], { what, next, reason, isOfNode = false, cause }: Seen) {
    const told = what.endsWith('\n') ? what : `${what}. `;
    super(next === undefined ? what : `${told}${next}`, { cause });
    this.step = step;
    this.what = what;
    this.next = next;
    this.reason = reason;
    this.isOfNode = isOfNode;
  }
}
