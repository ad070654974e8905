import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { runVersion } from '../../../agent/host/run-runsc.ts';
import { tempHost } from './temp-host.ts';

const PROGRAMS = {
  '/good': { program: '#!/bin/sh\necho "runsc version x"; echo "$1 $HOME" >&2\n' },
  '/link': { link: '/good' },
  '/sleeps': { program: '#!/bin/sh\necho $$ > "$(dirname "$0")/pid"\nsleep 1000\n' },
  '/floods': { program: '#!/bin/sh\nhead -c 1000000000 /dev/zero\n' },
  '/keeps-pipe': { program: '#!/bin/sh\nsleep 1000 &\nexit 0\n' },
  '/fails': { program: '#!/bin/sh\necho broken >&2\nexit 128\n' },
  '/no-interpreter': { program: '#!/no/such/sh\n' },
  '/not-executable': '#!/bin/sh\n',
  '/garbage': { program: '\0\0\0' },
} as const;

/** The state letter of a process, `undefined` when it is gone. */
async function stateOf(pid: number): Promise<string | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined);
  return stat === undefined ? undefined : /\) (\w)/.exec(stat)?.[1];
}

describe('runVersion', () => {
  it('returns what a program prints, without a shell’s environment', async (t) => {
    const host = await tempHost(t, PROGRAMS);
    for (const path of ['/good', '/link']) {
      assert.deepEqual((await runVersion(host, path)).split('\n').sort(), [
        '',
        '--version ',
        'runsc version x',
      ]);
    }
  });

  const FAILURES: readonly (readonly [string, RegExp])[] = [
    ['/sleeps', /Cannot run "\/sleeps --version": it did not end within 300 ms/],
    ['/keeps-pipe', /it did not end within 300 ms/],
    ['/floods', /it printed more than 65536 bytes/],
    ['/fails', /it ended with code 128: broken/],
    ['/no-interpreter', /ENOENT/],
    ['/not-executable', /EACCES/],
    ['/garbage', /it is no program/],
    ['/absent', /ENOENT/],
  ];
  for (const [path, message] of FAILURES) {
    it(`throws for ${path}`, async (t) => {
      const host = await tempHost(t, PROGRAMS);
      const timeoutMs = path === '/sleeps' || path === '/keeps-pipe' ? 300 : 10_000;
      await assert.rejects(runVersion(host, path, { timeoutMs }), { message });
    });
  }

  it('leaves no process behind', async (t) => {
    const host = await tempHost(t, PROGRAMS);
    await assert.rejects(runVersion(host, '/sleeps', { timeoutMs: 500 }));
    const pid = Number(await readFile(join(host.root, 'pid'), 'utf8'));
    assert.ok(pid > 0);
    // A killed process may stay as a zombie until its parent, whoever that is now, asks for it.
    for (let state = await stateOf(pid); state !== undefined && state !== 'Z'; state = await stateOf(pid)) {
      await setImmediate();
    }
  });

  it('ends with its signal', async (t) => {
    const host = await tempHost(t, PROGRAMS);
    const controller = new AbortController();
    const running = runVersion(host, '/sleeps', { signal: controller.signal });
    controller.abort(new Error('no longer wanted'));
    await assert.rejects(running, /no longer wanted|the check was stopped/);
  });
});
