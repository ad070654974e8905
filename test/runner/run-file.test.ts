import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { failuresIn, type RunFileOptions, runFile } from './run-file.ts';

const OPTIONS: RunFileOptions = {
  testTimeoutMs: 2_000,
  env: {},
  signal: new AbortController().signal,
};

describe('runFile', () => {
  let directory: string;
  before(() => {
    directory = mkdtempSync(join(tmpdir(), 'run-file-'));
  });
  after(() => rmSync(directory, { recursive: true }));

  /** Runs a file with this text. */
  const run = (text: string, options: Partial<RunFileOptions> = {}) => {
    const file = join(directory, `${process.hrtime.bigint()}.mjs`);
    writeFileSync(file, `import { test } from 'node:test';\n${text}`);
    return runFile(file, { ...OPTIONS, ...options });
  };

  it('counts tests and names skipped ones', async () => {
    const { passed, tests, skipped } = await run("test('a', () => {}); test('b', { skip: 'x' }, () => {});");
    assert.deepEqual({ passed, tests, skipped }, { passed: true, tests: 2, skipped: ['b'] });
  });

  it('fails a file with a test that fails, and ends its output with the failure', async () => {
    const { passed, output } = await run("test('a', () => {}); test('b', () => { throw new Error('no'); });");
    assert.equal(passed, false);
    assert.match(failuresIn(output), /^✖ failing tests:[\s\S]*✖ b[\s\S]*Error: no/);
    assert.doesNotMatch(failuresIn(output), /✔ a/);
  });

  it('fails a file that cannot be loaded', async () => {
    assert.equal((await run("throw new Error('no');")).passed, false);
  });

  it('fails a test that takes longer than the limit for one test', async () => {
    const tests = [1, 2].map((n) => `test('${n}', () => new Promise((end) => setTimeout(end, 1_200)));`);
    assert.equal((await run(tests.join('\n'))).passed, true, 'the limit is for a test, not for the file');
    assert.equal((await run(tests.join('\n'), { testTimeoutMs: 600 })).passed, false);
  });

  it('ends a file when the run is stopped', async () => {
    const signal = AbortSignal.timeout(500);
    const { passed } = await run("test('a', () => new Promise((end) => setTimeout(end, 60_000)));", {
      ...{ testTimeoutMs: 60_000, signal },
    });
    assert.equal(passed, false);
  });
});
