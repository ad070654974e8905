import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { REPO } from '../../hack/paths.ts';
import { runAll } from '../../hack/run.ts';

/** Work that fails, beside work that takes several frames and prints meanwhile. */
const PROGRAM = `
import { print, progress } from './hack/progress.ts';
const failing = progress('downloading it', () => Promise.reject(new Error('no network'))).catch(() => {});
await progress('building it', async (tell) => {
  tell('1 of 2 packages');
  print('a line of the program');
  await failing;
  await new Promise((wake) => setTimeout(wake, 350));
}, { next: () => 'another' });
`;
const NODE = [process.execPath, '--input-type=module', '-e', PROGRAM] as const;

describe('progress', () => {
  it('in a log: a line when work begins, and one how it ended', async () => {
    const [node, ...args] = NODE;
    const { stdout, stderr } = await runAll(node, args, { cwd: REPO });
    assert.equal(stdout, 'a line of the program\n');
    assert.deepEqual(stderr.replaceAll(/\d+ s/g, 'N s').split('\n'), [
      '… downloading it',
      '… building it',
      '✗ downloading it: N s',
      '✓ building it: N s',
      '',
    ]);
  });

  it('on a terminal: how far it is and what waits for it, drawn in place, below what is printed', async () => {
    const command = NODE.map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(' ');
    const sized = `stty cols 80 rows 24; ${command}`;
    const { stdout } = await runAll('script', ['-qec', sized, '/dev/null'], { cwd: REPO });
    assert.match(stdout, /[⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏] building it: 1 of 2 packages, \d+ s; next: another/);
    assert.match(stdout, /^a line of the program\r$/m);
    assert.match(stdout, /✓ building it: \d+ s\r\n/);
    assert.doesNotMatch(stdout, /^… /m);
  });
});
