import { screenOf } from '../lib/base/print.ts';
import { errorLine } from '../lib/base/sanitize.ts';
import { markedLines } from '../lib/report/table.ts';
import type { Progress } from './base/progress.ts';
import { Refusal } from './base/refusal.ts';

/** After `refused` the node works as before. */
export const EXIT = { done: 0, refused: 1, unknown: 2, usage: 64 } as const;

/** Returns the exit code. */
export function printRefusal(error: unknown, json: boolean): number {
  const isRefusal = error instanceof Refusal;
  const message = isRefusal ? error.message : errorLine(error);
  const unknown = { step: 'unknown', what: message, next: undefined, reason: undefined };
  const { step, what, next, reason } = isRefusal ? error : unknown;
  const text = json
    ? JSON.stringify({ at: new Date().toISOString(), state: 'refused', step, reason, what, next, message })
    : `gvisor-ready-install: ${step}: ${message}${reason === undefined ? '' : ` (${reason})`}`;
  process.stderr.write(`${text}\n`);
  return isRefusal ? EXIT.refused : EXIT.unknown;
}

export function print(progress: Progress, json: boolean): void {
  const { step, state, text, verbatim = '' } = progress;
  const lines = json
    ? [JSON.stringify({ at: new Date().toISOString(), ...progress })]
    : [...markedLines(state, text, { label: step.padEnd(10), ...screenOf() }), ...(verbatim && [verbatim])];
  process.stdout.write(`${lines.join('\n')}\n`);
}
