import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { test } from 'node:test';
import { partial, removeAbandoned } from '../../hack/abandoned.ts';

test('what an ended process left half made goes; what this process makes, and what is whole, stays', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'abandoned-'));
  t.after(() => rmSync(dir, { recursive: true }));
  const { pid } = spawnSync('true');
  const mine = partial(join(dir, 'etcd-0123'));
  for (const path of [mine, join(dir, `etcd-0123.partial-${pid}`), join(dir, 'etcd-0123')]) mkdirSync(path);
  await removeAbandoned(dir);
  assert.deepEqual(readdirSync(dir).sort(), ['etcd-0123', basename(mine)]);
});
