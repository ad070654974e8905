import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { run } from '../../hack/run.ts';
import { writeEdits } from '../../installer/config/edits.ts';
import { tempHost } from '../lib/host/temp-host.ts';
import { refusal } from './scene.ts';

const FILE = '/containerd.toml';

describe('writeEdits', () => {
  for (const [what, before, after] of [
    ['was edited', 'old', 'new'],
    ['was made', undefined, 'new'],
    ['would be removed', 'old', ''],
  ] as const)
    it(`keeps what another program wrote since the plan, to a file that ${what}`, async (t) => {
      const { root } = await tempHost(t);
      writeFileSync(join(root, FILE), 'of Ansible');
      const said = await refusal(writeEdits(root, [{ file: FILE, before, after }]));
      assert.match(said, /^write: "\/containerd.toml" changed meanwhile: nothing was written to it/);
      assert.equal(readFileSync(join(root, FILE), 'utf8'), 'of Ansible');
    });

  it('writes to a file that is as it was planned', async (t) => {
    const { root } = await tempHost(t, { [FILE]: 'old' });
    await writeEdits(root, [{ file: FILE, before: 'old', after: 'new' }]);
    assert.equal(readFileSync(join(root, FILE), 'utf8'), 'new');
  });

  it('keeps the extended attributes of a file', async (t) => {
    const { root } = await tempHost(t, { [FILE]: 'old' });
    const python = (call: string) => run('python3', ['-c', `import os, sys; ${call}`, join(root, FILE)]);
    await python('os.setxattr(sys.argv[1], "user.owner", b"ops")');
    await writeEdits(root, [{ file: FILE, before: 'old', after: 'new' }]);
    assert.equal(await python('print(os.getxattr(sys.argv[1], "user.owner"))'), "b'ops'\n");
    assert.deepEqual(readdirSync(root), [FILE.slice(1)]);
  });

  it('writes nothing if they cannot be kept', async (t) => {
    const { root } = await tempHost(t, { [FILE]: 'old', '/bin/cp': { program: '#!/bin/sh\nexit 1\n' } });
    const path = process.env.PATH;
    t.after(() => {
      process.env.PATH = path;
    });
    process.env.PATH = join(root, 'bin');
    await assert.rejects(
      writeEdits(root, [{ file: FILE, before: 'old', after: 'new' }]),
      /^Error: Cannot write "\/containerd.toml"/,
    );
    assert.equal(readFileSync(join(root, FILE), 'utf8'), 'old');
  });
});
