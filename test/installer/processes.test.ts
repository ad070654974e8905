import assert from 'node:assert/strict';
import { link, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, it } from 'node:test';
import { usersOf } from '../../installer/processes.ts';
import { generationAt } from '../../installer/release.ts';

let directory: string;

before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'generations-'));
});
after(() => rm(directory, { recursive: true }));

it('a generation is used by its own programs, and not by another program at its path in a container', async () => {
  const root = join(directory, 'host');
  const generation = generationAt(join(directory, 'release-20260223.0-0123456789ab'));
  const [shim, other] = [generation.shim, generation.runsc];
  for (const each of [generation.directory, join(root, generation.directory), join(root, 'proc')])
    await mkdir(each, { recursive: true });
  for (const program of [shim, other]) await writeFile(program, '');
  await link(shim, join(root, shim));
  await writeFile(join(root, other), '');
  for (const [pid, program] of Object.entries({ 11: shim, 12: other, 13: '/bin/sleep' })) {
    await mkdir(join(root, 'proc', pid));
    await symlink(program, join(root, 'proc', pid, 'exe'));
  }
  assert.deepEqual(await usersOf(root, [generation]), [{ pid: 11, directory: generation.directory }]);
});
