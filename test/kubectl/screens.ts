import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { it, type TestContext } from 'node:test';
import { isRewriting } from '../runner/rewriting.ts';
import type { PluginResult } from './run-plugin.ts';

/**
 * Compares the screen of each case with that in screens/FILE.txt, exit code included. `SCREENS=write` rewrites the file:
 * its diff is then what a reviewer reads.
 */
export function itShows<Case>(
  file: string,
  cases: Readonly<Record<string, Case>>,
  show: (each: Case, context: TestContext) => Promise<PluginResult>,
): void {
  const path = join(import.meta.dirname, 'screens', `${file}.txt`);
  const isWritten = isRewriting('SCREENS');
  const golden = isWritten ? '' : readFileSync(path, 'utf8');
  const seen: string[] = [];
  for (const [what, each] of Object.entries(cases))
    it(`shows ${what}`, async (context) => {
      const { code, out } = await show(each, context);
      const head = `## ${what}\n`;
      seen.push(`${head}${out}# exit ${code}\n`);
      const [, body = ''] = golden.split(head);
      if (!isWritten) assert.equal(`${out}# exit ${code}\n`, body.split('\n## ')[0]);
    });
  it('shows every screen of the file', () => {
    const text = seen.join('\n');
    if (isWritten) writeFileSync(path, text);
    else assert.equal(golden, text);
  });
}
