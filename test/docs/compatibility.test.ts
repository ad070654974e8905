import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { it } from 'node:test';
import { compatibilityTables } from '../../hack/compatibility.ts';
import { REPO } from '../../hack/paths.ts';
import { COMPATIBILITY, FEATURES } from '../../kubectl/pods/features.ts';

it('docs/compatibility.md shows the table of the code', async () => {
  const tables = (await readFile(join(REPO, COMPATIBILITY), 'utf8')).match(/^\| a pod with .*\n(^\|.*\n)+/gm);
  assert.deepEqual(
    tables?.map((table) => table.trim()),
    compatibilityTables(),
  );
});

it('the dispatcher refuses the rows with which no pod starts', async () => {
  const text = await readFile(join(REPO, 'dispatcher/gvisor_dispatch/pods.py'), 'utf8');
  const [, list = ''] = /^NEVER_START = \((.*)\)$/m.exec(text) ?? [];
  const rows = FEATURES.filter(({ starts }) => starts === false);
  assert.deepEqual(
    [...list.matchAll(/"(.*?)"/g)].map(([, field]) => field),
    rows.map(({ field }) => field),
  );
});
