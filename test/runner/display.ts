import { estimateSeconds, type Seconds } from './history.ts';
import { type FileResult, failuresIn } from './run-file.ts';
import type { TierResult } from './summary.ts';

/** Progress of a tier. */
type Progress = { readonly total: number; readonly left: Set<string>; readonly concurrency: number };

/**
 * Prints the progress of a run. A terminal shows failures and finished tiers, and below them one line with the number of
 * files that are done and an estimate of the time left; elsewhere each file has a line.
 */
export class Display {
  readonly #seconds: Seconds;
  readonly #terminal = process.stdout.isTTY === true;
  readonly #tiers = new Map<string, Progress>();
  /** No status line while a build writes one of its own. */
  building = false;

  /** `seconds` grows while files end. */
  constructor(seconds: Seconds) {
    this.#seconds = seconds;
  }

  begin(tier: string, files: readonly string[], concurrency: number): void {
    this.#tiers.set(tier, { total: files.length, left: new Set(files), concurrency });
    if (!this.#terminal) this.#print(`── ${tier}: ${files.length} files`);
    this.#update();
  }

  end(tier: string, result: FileResult, secondTry: boolean): void {
    const progress = this.#tiers.get(tier);
    progress?.left.delete(result.file);
    const mark = result.passed ? '✓' : '✗';
    const place =
      progress === undefined ? '' : ` (${progress.total - progress.left.size} of ${progress.total})`;
    const note = secondTry ? (result.passed ? ', passed at the 2nd try' : ', failed at the 2nd try too') : '';
    if (!result.passed || secondTry || !this.#terminal)
      this.#print(`${mark} ${tier}${place} ${result.file} ${result.seconds.toFixed(1)} s${note}`);
    if (!result.passed) this.#print(indent(failuresIn(result.output)));
    this.#update();
  }

  endTier({ name, passed, seconds }: TierResult): void {
    this.#tiers.delete(name);
    this.#print(`── ${name}: ${passed ? 'passed' : 'FAILED'}, ${seconds} s`);
    this.#update();
  }

  /** Prints a block of text above the status line. */
  print(text: string): void {
    this.#print(text);
    this.#update();
  }

  #print(text: string): void {
    process.stdout.write(`${this.#terminal ? '\r\x1b[K' : ''}${text}\n`);
  }

  #update(): void {
    if (!this.#terminal || this.building || this.#tiers.size === 0) return;
    const parts = [...this.#tiers].map(([name, { total, left }]) => `${name} ${total - left.size}/${total}`);
    process.stdout.write(`\r\x1b[K${parts.join(' · ')} · ${timeLeft(this.#secondsLeft())} left`);
  }

  #secondsLeft(): number {
    const each = [...this.#tiers.values()].map(({ left, concurrency }) =>
      estimateSeconds([...left], concurrency, this.#seconds),
    );
    return Math.max(0, ...each);
  }
}

/** "about 3 min", "less than 1 min". */
export function timeLeft(seconds: number): string {
  return seconds < 45 ? 'less than 1 min' : `about ${Math.round(seconds / 60)} min`;
}

function indent(text: string): string {
  return text.replaceAll(/^/gm, '    ');
}
