import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { it } from 'node:test';
import { REPO } from '../../../hack/paths.ts';
import { REASONS } from '../../../lib/base/reasons.ts';

it('the dispatcher takes no reason for evidence with which a sandbox can have booted', async () => {
  const text = await readFile(join(REPO, 'dispatcher/gvisor_dispatch/availability.py'), 'utf8');
  const [, list = ''] = /^WITHHELD = \(\n(.*?)^\)$/ms.exec(text) ?? [];
  const boots = Object.entries(REASONS).filter(([, reason]) => reason.boots);
  assert.deepEqual(
    [...list.matchAll(/"(.*?)"/g)].map(([, reason]) => reason).sort(),
    boots.map(([reason]) => reason).sort(),
  );
});
