import assert from 'node:assert/strict';
import { test } from 'node:test';
import { REPO } from '../../hack/paths.ts';
import { runAll } from '../../hack/run.ts';

test('a Node that is too old says so in one line', async () => {
  for (const [version, result] of [
    ['23.11.1', [2, 'Node 23.11.1 is too old: install Node 24 or newer. On Linux `npm ci` brings it.\n']],
    ['24.0.0', [0, '']],
  ] as const) {
    const older = `data:text/javascript,Object.defineProperty(process.versions, 'node', { value: '${version}' })`;
    const args = ['--import', older, '--import', './hack/require-node.js', '-e', '0'];
    const { code, stderr } = await runAll(process.execPath, args, { cwd: REPO });
    assert.deepEqual([code, stderr], result);
  }
});
