import { appendFileSync } from 'node:fs';
import type { TestEvent } from 'node:test/reporters';

/** What a test file has done so far. */
export type Tally = {
  readonly tests: number;
  readonly failed: number;
  readonly skipped: readonly string[];
  /** Tests that have begun and not ended, the innermost last. */
  readonly running: readonly string[];
};

/**
 * A reporter of node:test that appends a tally a line to the file `TALLIES`, so that a file that is killed has said what it did:
 * at once, since a stream would wait while a test blocks the thread.
 */
// biome-ignore lint/style/noDefaultExport: node:test loads a reporter from there
// biome-ignore lint/correctness/useYield: node:test takes generators
export default async function* tallies(events: AsyncIterable<TestEvent>): AsyncGenerator<never> {
  let tests = 0;
  let failed = 0;
  const skipped: string[] = [];
  const running: string[] = [];
  for await (const { type, data } of events) {
    if (type === 'test:dequeue') running.push(data.name);
    else if (type === 'test:complete') running.splice(running.lastIndexOf(data.name), 1);
    else if (type === 'test:fail' && !data.todo) failed += 1;
    else if (type === 'test:pass' && data.skip !== undefined && data.skip !== false) skipped.push(data.name);
    else if (type === 'test:summary') tests = data.counts.tests;
    else continue;
    const tally: Tally = { tests, failed, skipped, running };
    appendFileSync(process.env.TALLIES ?? '', `${JSON.stringify(tally)}\n`);
  }
}
