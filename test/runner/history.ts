import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** Durations of files in whole seconds. */
export type Seconds = Readonly<Record<string, number>>;

type Records = {
  readonly seconds: Record<string, number>;
  /** Files whose last run failed. */
  readonly failed: string[];
};

/** The file in `cache` for the work tree `root`. */
export function historyFile(cache: string, root: string): string {
  return join(cache, 'tests', `${createHash('sha256').update(root).digest('hex').slice(0, 12)}.json`);
}

/** What earlier runs of this work tree have shown; written after each file, since a run may be killed. */
export class History {
  readonly #file: string;
  readonly #records: Records;

  /** `first` are the durations of files that have not run here. */
  constructor(file: string, first: Seconds = {}) {
    this.#file = file;
    const { seconds = {}, failed = [] } = readRecords(file);
    this.#records = { seconds: { ...first, ...seconds }, failed };
  }

  get seconds(): Seconds {
    return this.#records.seconds;
  }

  get failed(): readonly string[] {
    return this.#records.failed;
  }

  add(file: string, { passed, seconds }: { readonly passed: boolean; readonly seconds: number }): void {
    const { failed } = this.#records;
    this.#records.seconds[file] = Math.ceil(seconds);
    if (failed.includes(file) === passed) {
      if (passed) failed.splice(failed.indexOf(file), 1);
      else failed.push(file);
    }
    this.#write();
  }

  #write(): void {
    mkdirSync(dirname(this.#file), { recursive: true });
    writeFileSync(this.#file, JSON.stringify(this.#records));
  }
}

/** An absent or damaged file has no records. */
function readRecords(file: string): Partial<Records> {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as Partial<Records>;
  } catch {
    return {};
  }
}

/** Estimated duration of files with bounded concurrency; one without a record is short, or new. */
export function estimateSeconds(files: readonly string[], concurrency: number, seconds: Seconds): number {
  const each = files.map((file) => seconds[file] ?? 2);
  const sum = each.reduce((total, one) => total + one, 0);
  return Math.max(0, ...each, sum / concurrency);
}
