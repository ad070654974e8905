import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { patient } from '../../hack/run.ts';
import { failuresIn, type RunFileOptions, runFile } from './run-file.ts';

const OPTIONS: RunFileOptions = {
  testTimeoutMs: patient(20_000),
  fileTimeoutMs: patient(60_000),
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

  it('takes limits that a factor has made fractions', async () => {
    const { passed } = await run("test('a', () => {});", {
      testTimeoutMs: (300_000 * 25) / 9,
      fileTimeoutMs: 3_600_000 * (25 / 3),
    });
    assert.equal(passed, true);
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
    const test = "test('a', () => new Promise((end) => setTimeout(end, 600_000)));";
    const { passed, output } = await run(test, { testTimeoutMs: 500 });
    assert.equal(passed, false);
    assert.match(output, /test timed out after 500ms/);
  });

  it('ends a file whose test leaves a handle open', async () => {
    const { passed, tests } = await run("test('a', () => { setInterval(() => {}, 1_000); });");
    assert.deepEqual({ passed, tests }, { passed: true, tests: 1 });
  });

  it('kills a file that does not end, with its children, and names its test', async () => {
    const sleep = `spawn('sleep', ['6001.${process.pid}'], { stdio: 'inherit' });`;
    const text = `import { spawn } from 'node:child_process'; test('a', () => {}); test('b', async () => { ${sleep}
      await new Promise((next) => setTimeout(next));
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0); });`;
    const { passed, output } = await run(text, { fileTimeoutMs: patient(2_500) });
    assert.equal(passed, false);
    assert.match(output, /\.mjs did not end within \d+ s and was killed in the test "b"$/);
    assert.notEqual(spawnSync('pgrep', ['-f', `^sleep 6001.${process.pid}$`]).status, 0, 'its child is gone');
  });
});
