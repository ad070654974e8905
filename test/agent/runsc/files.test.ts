import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { TimeoutError } from '../../../agent/async.ts';
import { findProgram, PROGRAM_DIRECTORIES } from '../../../agent/runsc/program.ts';
import { tempHost } from '../host/temp-host.ts';

describe('findProgram', () => {
  it('takes no later program for the first where a disk is late', async (t) => {
    const host = await tempHost(t, { '/usr/bin/runsc': '', '/usr/local/bin/runsc': '' });
    const stat = host.stat.bind(host);
    t.mock.method(host, 'stat', async (path: string) => {
      if (path === '/usr/local/bin/runsc') throw new TimeoutError('no answer within 5 s');
      return stat(path);
    });
    await assert.rejects(findProgram(host, PROGRAM_DIRECTORIES, 'runsc'), /no answer within 5 s/);
  });
});
