import type { Api } from './api.ts';
import type { Screen } from './output.ts';

/** What every command is given. */
export type Context = {
  readonly api: Api;
  readonly screen: Screen;
  /** The namespace of -n, or that of the context. */
  readonly namespace: string;
  /** The wall clock in milliseconds. */
  readonly now: () => number;
  readonly signal: AbortSignal;
};

/** The exit codes. */
export const EXIT = { fine: 0, problem: 1, blind: 2, usage: 64 } as const;

/** A command line that asks for something impossible. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}
