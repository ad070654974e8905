import assert from 'node:assert/strict';
import { chmod } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { runsc } from '../../../agent/checks/runsc.ts';
import { Host } from '../../../agent/host/host.ts';
import { tempHost } from '../host/temp-host.ts';
import { criStatus, fakeCri, inspect, loadedRuntime, outcome, outcomeOf, sourcesOf } from './fake-node.ts';

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
    it(`judges mode ${mode.toString(8)}: ${expected}`, async (t) => {
      const host = await tempHost(t, { '/usr/bin/runsc': { program: '#!/bin/sh\n' } });
      await chmod(join(host.root, 'usr/bin/runsc'), mode);
      assert.equal(await outcomeOf(runsc, sourcesOf('', { host })), expected);
    });
  }

  it('follows binary_name', async (t) => {
    const files = { '/usr/bin/runsc': { program: '#!/bin/sh\n' }, '/opt/r': { program: '#!/bin/sh\n' } };
    for (const [name, expected] of [
      ['/opt/r', 'pass'],
      ['/opt/gone', 'error RunscNotFound'],
      ['gone', 'unknown CheckFailed'],
      ['runsc', 'pass'],
    ] as const) {
      const host = await tempHost(t, { ...files, '/etc/runsc.toml': `binary_name = "${name}"\n` });
      assert.equal(await outcomeOf(runsc, sourcesOf('', { host, cri })), expected, name);
    }
  });

  it("is unknown when runsc is not found, because containerd's PATH is unknown", async (t) => {
    const seen = await inspect(runsc, sourcesOf('', { host: await tempHost(t) }));
    assert.equal(outcome(seen), 'unknown CheckFailed');
    assert.equal(
      seen.message,
      '"runsc" is in none of the usual directories, and containerd\'s PATH is not known',
    );
  });

  it('searches beside the shim that containerd last ran', async (t) => {
    const host = await tempHost(t, { '/opt/odd/runsc': { program: '#!/bin/sh\n' } });
    const seen = await inspect(runsc, sourcesOf('', { host, shim: '/opt/odd/containerd-shim-runsc-v1' }));
    assert.equal(seen.message, 'runsc is "/opt/odd/runsc"');
  });

  it('skips an unreadable directory', async (t) => {
    const blind = await tempHost(t, { '/usr/bin/runsc': { program: '#!/bin/sh\n' } });
    class Blind extends Host {
      override stat(path: string) {
        return path.startsWith('/usr/local/') ? Promise.reject(new Error('EACCES')) : super.stat(path);
      }
    }
    const host = new Blind(blind.root);
    assert.equal(await outcomeOf(runsc, sourcesOf('', { host })), 'pass');
  });

  it('fails for a web page, an empty file, and a program of another architecture', async (t) => {
    const other = Buffer.alloc(64);
    other.write('\x7fELF\x02\x01', 'latin1');
    other.writeUInt16LE(22, 18);
    for (const program of ['<html>404</html>', '', other.toString('latin1')]) {
      const host = await tempHost(t, { '/usr/bin/runsc': { program } });
      assert.equal(await outcomeOf(runsc, sourcesOf('', { host })), 'error RunscNotExecutable');
    }
  });
});
