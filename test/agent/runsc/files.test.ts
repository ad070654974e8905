import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { readGvisorFiles } from '../../../agent/runsc/files.ts';
import { sourcesOf } from '../checks/fake-node.ts';
import { tempHost } from '../host/temp-host.ts';

const PROGRAM = { program: '#!/bin/sh\n' };
const SHIM = '/opt/gvisor/20250203.0/containerd-shim-runsc-v1';

describe('readGvisorFiles', () => {
  it('finds runsc beside the shim that was last seen to run', async (t) => {
    const host = await tempHost(t, { '/opt/gvisor/20250203.0/runsc': PROGRAM });
    const files = await readGvisorFiles(
      { ...sourcesOf('', { host }), shim: SHIM },
      new AbortController().signal,
    );
    assert.equal(files.runsc, '/opt/gvisor/20250203.0/runsc');
  });

  it('prefers the usual folders, since an upgrade leaves the folder of that shim behind', async (t) => {
    const host = await tempHost(t, {
      '/opt/gvisor/20250203.0/runsc': PROGRAM,
      '/usr/local/bin/runsc': PROGRAM,
    });
    const files = await readGvisorFiles(
      { ...sourcesOf('', { host }), shim: SHIM },
      new AbortController().signal,
    );
    assert.equal(files.runsc, '/usr/local/bin/runsc');
  });
});
