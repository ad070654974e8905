import type { Api } from './api.ts';
import type { Output } from './output.ts';

/** What every command gets. */
export type Context = {
  readonly api: Api;
  readonly output: Output;
  /** The namespace of -n, else that of the kubeconfig's context. */
  readonly namespace: string;
  /** Wall clock, milliseconds. */
  readonly now: () => number;
  readonly signal: AbortSignal;
};

/** Exit codes. */
export const EXIT = { ok: 0, problem: 1, incomplete: 2, usage: 64 } as const;
