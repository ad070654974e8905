import { setTimeout } from 'node:timers/promises';
import type { Tone } from '../../lib/report/format.ts';
import type { Output } from '../text/output.ts';
import type { Api } from './api.ts';

export type Context = {
  readonly api: Api;
  readonly output: Output;
  /** From -n, else from the kubeconfig's context. */
  readonly namespace: string;
  /** Wall clock, milliseconds. */
  readonly now: () => number;
  readonly signal: AbortSignal;
  /** Milliseconds between two looks of a command that goes on looking. */
  readonly pollMs: number;
};

/** Waits until it is time for another look; rejects if the command is interrupted. */
export async function untilNextLook({ pollMs, signal }: Context): Promise<void> {
  await setTimeout(pollMs, undefined, { signal });
}

/** Exit codes; 130 is a shell's for SIGINT. */
export const EXIT = { ok: 0, problem: 1, incomplete: 2, usage: 64, interrupted: 130 } as const;

/** Tones of results, the worst first. */
const TONES = ['fail', 'unknown', 'warning', 'skipped', 'pass'] as const satisfies readonly Tone[];

/** 0 is the worst. */
export function rankOf(tone: Tone): number {
  return TONES.indexOf(tone);
}

/** The worst of some tones; "pass" for none. */
export function worstOf(tones: readonly Tone[]): Tone {
  return TONES.find((tone) => tones.includes(tone)) ?? 'pass';
}

export function exitCodeOf(tone: Tone): number {
  if (tone === 'fail') return EXIT.problem;
  return tone === 'unknown' ? EXIT.incomplete : EXIT.ok;
}
