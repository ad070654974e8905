import assert from 'node:assert/strict';
import { chmod } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { runsc } from '../../../agent/checks/runsc.ts';
import { tempHost } from '../host/temp-host.ts';
import { criStatus, fakeCri, loadedRuntime, outcome, sourcesOf } from './fake-node.ts';

const { signal } = new AbortController();
const options = { ConfigPath: '/etc/runsc.toml' };
const cri = fakeCri(criStatus('v2.4.2', { runsc: loadedRuntime({ options }) }));

describe('runsc', () => {
  for (const [mode, expected] of [
    [0o755, 'pass'],
    [0o555, 'pass'],
    [0o750, 'explains RunscNotExecutable'],
    [0o711, 'explains RunscNotExecutable'],
    [0o644, 'explains RunscNotExecutable'],
  ] as const) {
    it(`says ${expected} of mode ${mode.toString(8)}`, async (t) => {
      const host = await tempHost(t, { '/usr/bin/runsc': { program: '#!/bin/sh\n' } });
      await chmod(join(host.root, 'usr/bin/runsc'), mode);
      assert.equal(outcome(await runsc.look(sourcesOf('', { host }), signal)), expected);
    });
  }

  it('looks where binary_name says', async (t) => {
    const files = { '/usr/bin/runsc': { program: '#!/bin/sh\n' }, '/opt/r': { program: '#!/bin/sh\n' } };
    for (const [name, expected] of [
      ['/opt/r', 'pass'],
      ['/opt/gone', 'explains RunscNotFound'],
      ['gone', 'explains RunscNotFound'],
      ['runsc', 'pass'],
    ] as const) {
      const host = await tempHost(t, { ...files, '/etc/runsc.toml': `binary_name = "${name}"\n` });
      assert.equal(outcome(await runsc.look(sourcesOf('', { host, cri }), signal)), expected, name);
    }
  });

  it('does not claim that runsc is nowhere while containerd’s own PATH cannot be read', async (t) => {
    const running = { '/proc/7/comm': 'containerd\n' };
    const unread = await tempHost(t, running);
    const seen = await runsc.look(sourcesOf('', { host: unread }), signal);
    assert.equal(outcome(seen), 'unknown CheckFailed');
    assert.equal(
      seen.message,
      '"runsc" is not there in the standard PATH, because its process cannot be looked into',
    );
    const named = await tempHost(t, { ...running, '/etc/runsc.toml': 'binary_name = "/opt/gone"\n' });
    assert.equal(
      outcome(await runsc.look(sourcesOf('', { host: named, cri }), signal)),
      'explains RunscNotFound',
    );
  });

  it('refuses a download that is a page, one that is empty, and a program of another architecture', async (t) => {
    const other = Buffer.alloc(64);
    other.write('\x7fELF\x02\x01', 'latin1');
    other.writeUInt16LE(22, 18);
    for (const program of ['<html>404</html>', '', other.toString('latin1')]) {
      const host = await tempHost(t, { '/usr/bin/runsc': { program } });
      assert.equal(outcome(await runsc.look(sourcesOf('', { host }), signal)), 'explains RunscNotExecutable');
    }
  });
});
