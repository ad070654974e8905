import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { checkRunscConfig } from '../../../agent/checks/runsc-config.ts';
import { criWith, fakeCri, inspect, outcomeOf, sourcesOf, sourcesWith } from './fake-node.ts';

const TypeUrl = 'io.containerd.runsc.v1.options';

describe('runsc-config', () => {
  const FILE = '[runsc_config]\ndebug = "true"\n';
  const GIVEN = { TypeUrl, ConfigPath: '/r.toml' };
  const OPTIONS: readonly (readonly [string, Record<string, unknown>, file: string, expected: string])[] = [
    ['no options', {}, '', 'pass'],
    ['a good file', GIVEN, FILE, 'pass'],
    ['options in lower case', { typeurl: TypeUrl, configpath: '/r.toml' }, FILE, 'pass'],
    ['a missing file', { TypeUrl, ConfigPath: '/gone.toml' }, FILE, 'error RunscConfigInvalid'],
    ['a relative path', { TypeUrl, ConfigPath: 'r.toml' }, FILE, 'error RunscConfigInvalid'],
    ['no TypeUrl', { ConfigPath: '/r.toml' }, FILE, 'error RunscConfigInvalid'],
    ['a bare value', GIVEN, '[runsc_config]\na = 1\n', 'error RunscConfigInvalid'],
    ['a misspelt table', GIVEN, '[runsc-config]\na = "1"\n', 'warning OptionIgnored'],
    ['a misspelt ConfigPath', { TypeUrl, Config_Path: '/r.toml' }, FILE, 'warning OptionIgnored'],
    ['an option of runc', { ...GIVEN, BinaryName: '/x' }, FILE, 'warning OptionIgnored'],
  ];
  for (const [name, options, text, expected] of OPTIONS) {
    it(`judges ${name}: ${expected}`, async (t) => {
      const sources = await sourcesWith(t, { '/r.toml': text }, { cri: criWith({ options }) });
      assert.equal(await outcomeOf(checkRunscConfig, sources), expected);
    });
  }

  it('reports the line of a value that is not a string', async () => {
    const sources = sourcesOf('debian-bare-bool', { cri: fakeCri(undefined) });
    const result = await inspect(checkRunscConfig, sources);
    const { file, line } = result.evidence?.[0] ?? {};
    assert.deepEqual([file, line], ['/etc/containerd/runsc.toml', 3]);
  });
});
