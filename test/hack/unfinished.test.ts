import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { test } from 'node:test';
import { partial, removeAbandoned } from '../../hack/unfinished.ts';

test('removes partial files of dead processes, and keeps those of this process and finished ones', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'unfinished-'));
  t.after(() => rmSync(dir, { recursive: true }));
  const { pid } = spawnSync('true');
  const own = partial(join(dir, 'etcd-0123'));
  for (const path of [own, join(dir, `etcd-0123.partial-${pid}`), join(dir, 'etcd-0123')]) mkdirSync(path);
  await removeAbandoned(dir);
  assert.deepEqual(readdirSync(dir).sort(), ['etcd-0123', basename(own)]);
});
