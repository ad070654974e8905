import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { Host } from '../../../lib/host/host.ts';
import { parseCgroups, readProcess } from '../../../lib/host/process.ts';
import { addProcess } from './fake-process.ts';
import { tempHost } from './temp-host.ts';

describe('readProcess', () => {
  it('reads a sandbox from /proc', async (t) => {
    const host = await tempHost(t);
    const process = {
      argv: ['runsc-sandbox', '--root=/x', '', 'boot'],
      parentPid: 166,
      uid: 65534,
      namespacedPids: [189, 1],
      seccomp: 2,
      textPages: 3272,
    };
    addProcess(host.root, 189, { ...process, cgroup: '4:memory:/kubepods/gvisor_ready/1f\n' });
    const expected = { ...process, cgroups: ['/kubepods/gvisor_ready/1f'] };
    assert.deepEqual(await readProcess(host, 189), expected);
  });

  it('reads this very process', async () => {
    const found = await readProcess(new Host('/'), process.pid);
    assert.equal(found?.argv[0], process.argv0);
    assert.equal(found?.parentPid, process.ppid);
    assert.equal(found?.uid, process.getuid?.());
    assert.equal(found?.namespacedPids[0], process.pid);
    assert.ok((found?.textPages ?? 0) > 0 && (found?.cgroups.length ?? 0) > 0);
  });

  it('is undefined for a process that has ended, and for a zombie', async (t) => {
    const host = await tempHost(t, { '/proc/7/cmdline': '', '/proc/7/status': '' });
    assert.equal(await readProcess(host, 6), undefined);
    assert.equal(await readProcess(host, 7), undefined);
  });

  it('is undefined for a process that ends during the read, whose cgroup has changed', async (t) => {
    const host = await tempHost(t);
    addProcess(host.root, 7, { argv: ['runsc-sandbox'], cgroup: '4:memory:/kubepods/gvisor_ready/1f\n' });
    const readText = host.readText.bind(host);
    t.mock.method(host, 'readText', async (path: string, maxBytes?: number) => {
      if (!path.endsWith('/cgroup')) return readText(path, maxBytes);
      await writeFile(join(host.root, 'proc/7/stat'), '7 (runsc-sandbox) S 1 7 7 0 -1 4194564 0\n');
      return '4:memory:/\n';
    });
    assert.equal(await readProcess(host, 7), undefined);
  });

  it('rejects arguments above the limit', async (t) => {
    const host = await tempHost(t);
    addProcess(host.root, 7, { argv: ['x'.repeat(512 * 1024)] });
    await assert.rejects(readProcess(host, 7), /larger than 524288 bytes/);
  });

  it('reads missing numbers as NaN or 0', async (t) => {
    const files = {
      '/proc/7/cmdline': 'a\0',
      '/proc/7/status': 'Name:\ta\n',
      '/proc/7/cgroup': '0::/\n',
      '/proc/7/stat': '7 (a) b) S 1 7 7 0 -1 4194560 0\n',
    };
    const found = await readProcess(await tempHost(t, files), 7);
    assert.ok(Number.isNaN(found?.textPages));
    assert.equal(found?.seccomp, 0);
  });
});

describe('parseCgroups', () => {
  const table: readonly [string, readonly string[]][] = [
    ['0::/kubepods.slice/x\n', ['/kubepods.slice/x']],
    ['9:cpu,cpuacct:/a\n4:memory:/a\n1:name=systemd:/b\n0::/c\n', ['/a']],
    ['9:cpuacct,cpu:/a\n4:memory:/b\n', ['/a', '/b']],
    ['5:cpuset:/x\n0::/unified\n', ['/unified']],
    ['4:memory:/with:colon\n', ['/with:colon']],
    ['5:cpuset:/x\n', []],
    ['', []],
  ];
  for (const [text, expected] of table) {
    it(`finds ${expected.join(' and ') || 'nothing'} in ${JSON.stringify(text)}`, () => {
      assert.deepEqual(parseCgroups(text), expected);
    });
  }
});
