import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { findInPath, kubeletPids, readSearchPath } from '../../../agent/host/containerd-process.ts';
import { tempHost } from './temp-host.ts';

const process1 = {
  '/proc/7/comm': 'containerd\n',
  '/proc/7/environ': 'A=b\0PATH=/opt/bin:relative:/usr/bin\0',
  '/proc/7/exe': { link: '/opt/containerd/bin/containerd' },
  '/proc/7/cwd': { link: '/var' },
} as const;
const others = { '/proc/1/comm': 'systemd\n', '/proc/8/comm': 'containerd-shim\n', '/proc/version': 'Linux' };

describe('readSearchPath', () => {
  it('is the working directory, the PATH and the directory of the program, of the process named containerd', async (t) => {
    const { directories, path, isGuess, source } = await readSearchPath(
      await tempHost(t, { ...others, ...process1 }),
    );
    assert.deepEqual(directories, ['/var', '/opt/bin', '/usr/bin', '/opt/containerd/bin']);
    assert.deepEqual(path, ['/opt/bin', '/usr/bin']);
    assert.equal(isGuess, false);
    assert.equal(source, 'the PATH of containerd, process 7');
  });

  it('is the standard PATH, and says so, when no containerd is seen or it has no environment', async (t) => {
    for (const [files, why, guess] of [
      [others, /no process named containerd was seen/, false],
      [{ '/proc/7/comm': 'containerd\n' }, /its process cannot be looked into/, true],
      [{}, /no process named containerd/, false],
    ] as const) {
      const { directories, isGuess, source } = await readSearchPath(await tempHost(t, files));
      assert.ok(directories.includes('/usr/local/bin'));
      assert.equal(isGuess, guess);
      assert.match(source, why);
    }
  });

  it('looks in the PATHs of all when several run', async (t) => {
    const second = { '/proc/9/comm': 'containerd\n', '/proc/9/environ': 'PATH=/snap/bin\0' };
    const { directories, isGuess, source } = await readSearchPath(
      await tempHost(t, { ...process1, ...second }),
    );
    assert.ok(directories.includes('/opt/bin') && directories.includes('/snap/bin'));
    assert.equal(isGuess, false);
    assert.match(source, /2 processes named containerd/);
  });
});

describe('findInPath', () => {
  it('finds the first executable file, else one that is not executable', async (t) => {
    const host = await tempHost(t, {
      '/a/x': 'not executable',
      '/b/x': { program: '' },
      '/a/y': 'not executable',
      '/a/z/file': '',
    });
    assert.equal(await findInPath(host, ['/a', '/b'], 'x'), '/b/x');
    assert.equal(await findInPath(host, ['/a', '/b'], 'y'), '/a/y');
    assert.equal(await findInPath(host, ['/a', '/b', '/c'], 'z'), undefined);
  });
});

describe('kubeletPids', () => {
  it('knows a kubelet, k3s and kubelite by their processes, and nothing else', async (t) => {
    for (const name of ['kubelet', 'kubelite', 'k3s-server', 'k3s-agent'])
      assert.deepEqual(await kubeletPids(await tempHost(t, { ...others, '/proc/42/comm': `${name}\n` })), [
        '42',
      ]);
    assert.deepEqual(await kubeletPids(await tempHost(t, { ...others, '/proc/42/comm': 'k3s-etcd\n' })), []);
    assert.deepEqual(await kubeletPids(await tempHost(t, {})), []);
  });
});
