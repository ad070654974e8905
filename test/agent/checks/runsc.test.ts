import assert from 'node:assert/strict';
import { chmod } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { runsc } from '../../../agent/checks/runsc.ts';
import { Host } from '../../../agent/host/host.ts';
import { tempHost } from '../host/temp-host.ts';
import { criStatus, fakeCri, inspect, loadedRuntime, outcome, sourcesOf } from './fake-node.ts';

const options = { ConfigPath: '/etc/runsc.toml' };
const cri = fakeCri(criStatus('v2.4.2', { runsc: loadedRuntime({ options }) }));

describe('runsc', () => {
  for (const [mode, expected] of [
    [0o755, 'pass'],
    [0o555, 'pass'],
    [0o750, 'error RunscNotExecutable'],
    [0o711, 'error RunscNotExecutable'],
    [0o644, 'error RunscNotExecutable'],
  ] as const) {
    it(`says ${expected} of mode ${mode.toString(8)}`, async (t) => {
      const host = await tempHost(t, { '/usr/bin/runsc': { program: '#!/bin/sh\n' } });
      await chmod(join(host.root, 'usr/bin/runsc'), mode);
      assert.equal(outcome(await inspect(runsc, sourcesOf('', { host }))), expected);
    });
  }

  it('looks where binary_name says', async (t) => {
    const files = { '/usr/bin/runsc': { program: '#!/bin/sh\n' }, '/opt/r': { program: '#!/bin/sh\n' } };
    for (const [name, expected] of [
      ['/opt/r', 'pass'],
      ['/opt/gone', 'error RunscNotFound'],
      ['gone', 'unknown CheckFailed'],
      ['runsc', 'pass'],
    ] as const) {
      const host = await tempHost(t, { ...files, '/etc/runsc.toml': `binary_name = "${name}"\n` });
      assert.equal(outcome(await inspect(runsc, sourcesOf('', { host, cri }))), expected, name);
    }
  });

  it("does not claim that runsc is nowhere, since containerd's own PATH is not known", async (t) => {
    const seen = await inspect(runsc, sourcesOf('', { host: await tempHost(t) }));
    assert.equal(outcome(seen), 'unknown CheckFailed');
    assert.equal(
      seen.message,
      '"runsc" is in none of the usual directories, and containerd\'s PATH is not known',
    );
  });

  it('looks beside the shim that containerd was last seen to run', async (t) => {
    const host = await tempHost(t, { '/opt/odd/runsc': { program: '#!/bin/sh\n' } });
    const seen = await inspect(runsc, sourcesOf('', { host, shim: '/opt/odd/containerd-shim-runsc-v1' }));
    assert.equal(seen.message, 'runsc is "/opt/odd/runsc"');
  });

  it('passes over a folder that it may not see into', async (t) => {
    const blind = await tempHost(t, { '/usr/bin/runsc': { program: '#!/bin/sh\n' } });
    class Blind extends Host {
      override stat(path: string) {
        return path.startsWith('/usr/local/') ? Promise.reject(new Error('EACCES')) : super.stat(path);
      }
    }
    const host = new Blind(blind.root);
    assert.equal(outcome(await inspect(runsc, sourcesOf('', { host }))), 'pass');
  });

  it('refuses a download that is a page, one that is empty, and a program of another architecture', async (t) => {
    const other = Buffer.alloc(64);
    other.write('\x7fELF\x02\x01', 'latin1');
    other.writeUInt16LE(22, 18);
    for (const program of ['<html>404</html>', '', other.toString('latin1')]) {
      const host = await tempHost(t, { '/usr/bin/runsc': { program } });
      assert.equal(outcome(await inspect(runsc, sourcesOf('', { host }))), 'error RunscNotExecutable');
    }
  });
});
