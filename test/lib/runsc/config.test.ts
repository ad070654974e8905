import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseRunscConfig, readRunscConfig } from '../../../lib/runsc/config.ts';
import { tempHost } from '../host/temp-host.ts';

describe('parseRunscConfig', () => {
  it('reads the binary, the flags and their lines', () => {
    const config = parseRunscConfig('binary_name = "/opt/runsc"\n[runsc_config]\n\nnetwork = "host"\n', '/x');
    assert.equal(config.binaryName, '/opt/runsc');
    assert.deepEqual([...config.flags], [['network', 'host']]);
    assert.deepEqual([...config.lines], [['network', 4]]);
    assert.equal(config.fault, undefined);
  });

  it('defaults to runsc', () => {
    for (const text of ['', 'binary_name = ""\n'])
      assert.equal(parseRunscConfig(text, '/x').binaryName, 'runsc');
  });

  const FAULTS: readonly (readonly [string, string, number])[] = [
    ['a bare true', '[runsc_config]\n  debug = "true"\n  net-raw = true\n', 3],
    ['a bare number', '[runsc_config]\nnum-network-channels = 4\n', 2],
    ['a binary_name that is no string', 'log_level = "x"\nbinary_name = 1\n', 2],
    ['runsc_config as a string', 'runsc_config = "x"\n', 1],
    ['a text cut short', '[runsc_config]\n  debug = "tr', 2],
    ['a web page', '<html>', 1],
  ];
  for (const [name, text, line] of FAULTS) {
    it(`reports the line of ${name}`, async (t) => {
      const { fault, flags } = await readRunscConfig(await tempHost(t, { '/x': text }), '/x');
      assert.deepEqual([fault?.line, flags.size], [line, 0]);
    });
  }

  it('lists the keys that the shim ignores', () => {
    const { unknownKeys } = parseRunscConfig('binaryname = "x"\n[runsc-config]\nnetwork = "host"\n', '/x');
    assert.deepEqual(Object.fromEntries(unknownKeys), { binaryname: 1, 'runsc-config': 2 });
  });
});

describe('readRunscConfig', () => {
  it('reports a missing file as a fault, and throws for an unreadable one', async (t) => {
    const host = await tempHost(t, { '/d/x': '' });
    assert.equal((await readRunscConfig(host, '/gone')).fault?.problem, '"/gone" does not exist');
    await assert.rejects(readRunscConfig(host, '/d'), /"\/d": it is a directory/);
  });
});
