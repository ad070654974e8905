import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { readConfigPath } from '../../../agent/host/containerd-arguments.ts';
import { readDistribution } from '../../../agent/host/distribution.ts';
import { tempHost } from './temp-host.ts';

const DEFAULT = '/etc/containerd/config.toml';
const CASES: readonly [string, expected: string, ...commands: string[]][] = [
  ['no containerd', DEFAULT],
  ['one that names no file', DEFAULT, '/usr/bin/containerd'],
  ['--config', '/usr/share/c.toml', '/usr/bin/containerd --config /usr/share/c.toml'],
  ['--config=', '/usr/share/c.toml', '/usr/bin/containerd --log-level info --config=/usr/share/c.toml'],
  ['-c', '/var/c.toml', 'containerd -c /var/c.toml -a /run/containerd/containerd.sock'],
  ['a relative path', DEFAULT, 'containerd -c c.toml'],
  ['a flag without its value', DEFAULT, 'containerd --config'],
  [
    'another socket',
    '/etc/cri/c.toml',
    '/bin/containerd --address /system/run/containerd/containerd.sock --config /etc/system.toml',
    '/bin/containerd --address=/run/containerd/containerd.sock --config /etc/cri/c.toml',
  ],
  ['two that agree', '/x.toml', 'containerd -c /x.toml', 'containerd --config /x.toml'],
  [
    'two that do not',
    DEFAULT,
    'containerd --config /var/run/docker/containerd/containerd.toml',
    'containerd',
  ],
];

describe('readConfigPath', () => {
  for (const [name, expected, ...commands] of CASES) {
    it(`is ${expected} for ${name}`, async (t) => {
      const files = commands.flatMap((command, index) => [
        [`/proc/${7 + index}/comm`, 'containerd\n'],
        [`/proc/${7 + index}/cmdline`, `${command.split(' ').join('\0')}\0`],
      ]);
      const others = { '/proc/1/comm': 'systemd\n', '/proc/1/cmdline': 'init\0--config\0/no.toml\0' };
      const host = await tempHost(t, { ...others, ...Object.fromEntries(files) });
      assert.equal(await readConfigPath(host, await readDistribution(host)), expected);
    });
  }
});
