import { relative } from 'node:path';
import type { TestEvent } from 'node:test/reporters';
import { REPO } from '../hack/paths.ts';

/** What a run of test files came to: how many tests there were, and the files with one that failed, from the root. */
export type Tally = { readonly tests: number; readonly failed: readonly string[] };

/** A reporter of node:test that writes nothing but a {@link Tally}, as JSON, at the end. */
// biome-ignore lint/style/noDefaultExport: node:test takes a reporter from there
export default async function* tally(events: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  let tests = 0;
  const failed = new Set<string>();
  for await (const { type, data } of events) {
    if (type === 'test:fail' && !data.todo && data.file !== undefined) failed.add(relative(REPO, data.file));
    if (type === 'test:summary' && data.file === undefined) tests = data.counts.tests;
  }
  yield JSON.stringify({ tests, failed: [...failed].sort() } satisfies Tally);
}
