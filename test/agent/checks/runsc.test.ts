import assert from 'node:assert/strict';
import { chmod } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { checkRunsc } from '../../../agent/checks/runsc.ts';
import { criWith, outcomeOf, refuseStats, sourcesWith } from './fake-node.ts';

const SCRIPT = { program: '#!/bin/sh\n' };
const cri = criWith({ options: { ConfigPath: '/etc/runsc.toml' } });

describe('runsc', () => {
  for (const [mode, expected] of [
    [0o755, 'pass'],
    [0o555, 'pass'],
    [0o750, 'error RunscNotExecutable'],
    [0o711, 'error RunscNotExecutable'],
    [0o644, 'error RunscNotExecutable'],
  ] as const) {
    it(`judges mode ${mode.toString(8)}: ${expected}`, async (t) => {
      const sources = await sourcesWith(t, { '/usr/bin/runsc': SCRIPT });
      await chmod(join(sources.host.root, 'usr/bin/runsc'), mode);
      assert.equal(await outcomeOf(checkRunsc, sources), expected);
    });
  }

  for (const [name, expected] of [
    ['/opt/r', 'pass'],
    ['/opt/gone', 'error RunscNotFound'],
    ['gone', 'unknown CheckFailed'],
    ['runsc', 'pass'],
  ] as const) {
    it(`judges the binary_name ${name}: ${expected}`, async (t) => {
      const toml = `binary_name = "${name}"\n`;
      const files = { '/usr/bin/runsc': SCRIPT, '/opt/r': SCRIPT, '/etc/runsc.toml': toml };
      assert.equal(await outcomeOf(checkRunsc, await sourcesWith(t, files, { cri })), expected);
    });
  }

  it('skips an unreadable directory', async (t) => {
    const sources = await sourcesWith(t, { '/usr/bin/runsc': SCRIPT });
    refuseStats(t, (path) => (path.startsWith('/usr/local/') ? new Error('EACCES') : undefined));
    assert.equal(await outcomeOf(checkRunsc, sources), 'pass');
  });

  it('fails for a program of another architecture', async (t) => {
    const other = Buffer.alloc(64);
    other.write('\x7fELF\x02\x01', 'latin1');
    other.writeUInt16LE(22, 18);
    const sources = await sourcesWith(t, { '/usr/bin/runsc': { program: other.toString('latin1') } });
    assert.equal(await outcomeOf(checkRunsc, sources), 'error RunscNotExecutable');
  });
});
