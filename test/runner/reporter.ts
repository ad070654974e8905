import type { TestEvent } from 'node:test/reporters';

/** The outcome of one test file. */
export type Tally = { readonly tests: number; readonly failed: number; readonly skipped: readonly string[] };

/** A reporter of node:test that writes a {@link Tally} as JSON when a file has ended. */
// biome-ignore lint/style/noDefaultExport: node:test loads a reporter from there
export default async function* tally(events: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  let tests = 0;
  let failed = 0;
  const skipped: string[] = [];
  for await (const { type, data } of events) {
    if (type === 'test:fail' && !data.todo) failed += 1;
    if (type === 'test:pass' && data.skip !== undefined && data.skip !== false) skipped.push(data.name);
    if (type === 'test:summary') tests = data.counts.tests;
  }
  yield JSON.stringify({ tests, failed, skipped } satisfies Tally);
}
