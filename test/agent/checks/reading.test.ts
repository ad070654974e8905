import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { Sources } from '../../../agent/checks/check.ts';
import { tempHost } from '../host/temp-host.ts';
import { criStatus, fakeCri, readingOf, refused, sourcesOf } from './fake-node.ts';

const PROGRAM = { program: '#!/bin/sh\n' };
const SHIM = '/opt/gvisor/20250203.0/containerd-shim-runsc-v1';
const CONFIG = '/etc/containerd/config.toml';

describe('Reading', () => {
  it('finds runsc beside the shim that was last seen to run', async (t) => {
    const host = await tempHost(t, { '/opt/gvisor/20250203.0/runsc': PROGRAM });
    const reading = readingOf({ ...sourcesOf('', { host }), shim: SHIM });
    assert.equal(await reading.runsc(), '/opt/gvisor/20250203.0/runsc');
  });

  it('prefers the usual directories, since an upgrade leaves the folder of that shim behind', async (t) => {
    const host = await tempHost(t, {
      '/opt/gvisor/20250203.0/runsc': PROGRAM,
      '/usr/local/bin/runsc': PROGRAM,
    });
    const reading = readingOf({ ...sourcesOf('', { host }), shim: SHIM });
    assert.equal(await reading.runsc(), '/usr/local/bin/runsc');
  });

  it('answers as it did first, whatever becomes of the file, and refuses as often as it is asked', async (t) => {
    const host = await tempHost(t, { [CONFIG]: 'version = 3\n' });
    const [first, second] = [sourcesOf('', { host }), sourcesOf('', { host, cri: fakeCri(undefined) })];
    const [reading, silent] = [readingOf(first), readingOf(second)];
    assert.equal((await reading.config()).fault, undefined);
    await writeFile(join(host.root, CONFIG), 'version = "three"\n');
    assert.equal((await reading.config()).fault, undefined);
    assert.equal((await readingOf(first).config()).fault?.line, 1);
    for (const _ of [1, 2]) await assert.rejects(silent.status(), { kind: 'unreachable' });
  });

  it('asks no second question of a containerd that left the first unanswered', async () => {
    let asked = 0;
    const cri: Sources['cri'] = {
      ...fakeCri(criStatus()),
      status: () => Promise.reject(refused('Version')),
      shimInfo: async () => {
        asked += 1;
        return { kind: 'unsupported' };
      },
    };
    await assert.rejects(readingOf(sourcesOf('kubeadm-ready', { cri })).shimInfo(), { name: 'CriError' });
    assert.equal(asked, 0);
  });
});
