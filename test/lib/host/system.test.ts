import assert from 'node:assert/strict';
import childProcess from 'node:child_process';
import { describe, it } from 'node:test';
import { readSystemFacts } from '../../../lib/host/system.ts';
import { tempHost } from './temp-host.ts';

const CPUINFO = ['0', '1']
  .map((number) => `processor\t: ${number}\nmodel name\t: Some  CPU @ 2 GHz\nflags\t\t: fpu vmx\n`)
  .join('\n');

describe('readSystemFacts', () => {
  it('reads the host and starts no program', async (t) => {
    const started = (['exec', 'execFile', 'spawn', 'execSync', 'spawnSync'] as const).map(
      (name) => t.mock.method(childProcess, name).mock,
    );
    const host = await tempHost(t, {
      '/proc/cpuinfo': CPUINFO,
      '/etc/os-release': 'PRETTY_NAME="Some Linux 1"\n',
      '/proc/sys/kernel/osrelease': '6.8.0\n',
    });
    const { memoryBytes, ...facts } = await readSystemFacts(host);
    assert.ok(Number(memoryBytes) > 0);
    assert.deepEqual(facts, {
      architecture: process.arch,
      kernel: '6.8.0',
      os: 'Some Linux 1',
      cpu: 'Some CPU @ 2 GHz',
      cores: '2',
      virtualization: 'true',
    });
    assert.ok(started.every((mock) => mock.callCount() === 0));
  });

  it('omits the processor if it is unknown', async (t) => {
    const { cpu, cores } = await readSystemFacts(await tempHost(t, {}));
    assert.deepEqual([cpu, cores], [undefined, undefined]);
  });
});
