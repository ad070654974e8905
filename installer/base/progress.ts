import type { StepName } from './refusal.ts';

/** A step that is done, was not needed, failed, or goes on (`unknown`). */
export type Progress = {
  readonly step: StepName | 'commit' | 'undo';
  readonly state: 'pass' | 'skipped' | 'fail' | 'unknown';
  readonly text: string;
  /** For people to copy. */
  readonly verbatim?: string;
};

/** A step's own words. */
export type Line = Pick<Progress, 'state' | 'text'>;

export const pass = (text: string): Line => ({ state: 'pass', text });

export const skipped = (text: string): Line => ({ state: 'skipped', text });

export type Reporter = {
  readonly report: (progress: Progress) => void;
  /** Says what is waited for, and in which step if that is another one. */
  readonly because: (cause: string, step?: Progress['step']) => void;
};

const LINE_MS = 15_000;

/** Prints every 15 s the step, and what it waits for. */
export function patientReport(report: Reporter['report']): Disposable & Reporter {
  let [step, cause, sinceMs]: [Progress['step'], string, number] = ['check', 'no answer yet', 0];
  const because: Reporter['because'] = (next, of = step) => {
    if (of !== step) sinceMs = performance.now();
    [step, cause] = [of, next];
  };
  const timer = setInterval(() => {
    const text = `goes on since ${Math.round((performance.now() - sinceMs) / 1_000)} s: ${cause}`;
    report({ step, state: 'unknown', text });
  }, LINE_MS);
  return { report, because, [Symbol.dispose]: () => clearInterval(timer) };
}
