import { print } from '../../hack/progress.ts';
import { type FileResult, failuresIn } from './run-file.ts';
import type { TierResult } from './summary.ts';

/** Prints a line for each tier that begins or ends and each file, and failures. */
export class Display {
  readonly #tiers = new Map<string, { readonly total: number; readonly left: Set<string> }>();

  begin(tier: string, files: readonly string[]): void {
    this.#tiers.set(tier, { total: files.length, left: new Set(files) });
    print(`── ${tier}: ${files.length} files`);
  }

  /** Its programs and images are being made. */
  waits(tier: string): void {
    print(`── ${tier}: waits until its programs are built; tiers that need none run meanwhile`);
  }

  end(tier: string, result: FileResult, secondTry: boolean): void {
    const { total = 0, left = new Set() } = this.#tiers.get(tier) ?? {};
    left.delete(result.file);
    const mark = result.passed ? '✓' : '✗';
    const outcome = result.passed ? ', passed at the 2nd try' : ', failed at the 2nd try too';
    const note = secondTry ? outcome : '';
    const place = `${total - left.size} of ${total}`;
    print(`${mark} ${tier} (${place}) ${result.file} ${result.seconds.toFixed(1)} s${note}`);
    if (!result.passed) print(failuresIn(result.output).replaceAll(/^/gm, '    '));
  }

  endTier({ name, passed, seconds }: TierResult): void {
    print(`── ${name}: ${passed ? 'passed' : 'FAILED'}, ${seconds} s`);
  }
}
