import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmod, truncate } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { Host } from '../../../agent/host/host.ts';
import { tempHost } from './temp-host.ts';

/** Runs `work` without root's right to read everything. */
async function unprivileged(work: () => Promise<void>): Promise<void> {
  if (process.getuid?.() !== 0) return work();
  process.seteuid?.(65534);
  try {
    await work();
  } finally {
    process.seteuid?.(0);
  }
}

describe('Host', () => {
  it('reads a file, and says undefined for what is not there', async (t) => {
    const host = await tempHost(t, { '/etc/a': 'text' });
    assert.equal(await host.readText('/etc/a'), 'text');
    assert.equal(await host.readText('/etc/b'), undefined);
    assert.equal(await host.readText('/etc/a/b'), undefined);
    assert.equal(await host.stat('/etc/b'), undefined);
    assert.equal(await host.list('/var'), undefined);
    assert.equal(await host.realpath('/var/lib'), undefined);
    assert.equal(await host.localPath('/var/lib'), undefined);
  });

  it('resolves links inside the root and never leaves it', async (t) => {
    const host = await tempHost(t, {
      '/etc/passwd': 'inside',
      '/a/absolute': { link: '/etc/passwd' },
      '/a/relative': { link: '../etc/passwd' },
      '/a/escape': { link: '../../../../../../etc/passwd' },
      '/a/directory': { link: '/etc' },
    });
    for (const name of ['absolute', 'relative', 'escape', 'directory/passwd', '../a/./../../etc/passwd']) {
      assert.equal(await host.readText(`/a/${name}`), 'inside', name);
    }
    assert.equal(await host.realpath('/a/directory/passwd'), '/etc/passwd');
    assert.equal(await host.localPath('/a/absolute'), join(host.root, 'etc/passwd'));
    assert.equal(await host.readLink('/a/absolute'), '/etc/passwd');
  });

  it('gives up on links that lead in a circle, and says so', async (t) => {
    const host = await tempHost(t, {
      '/a': { link: 'b' },
      '/b': { link: '/a' },
      '/self': { link: 'self/x' },
    });
    for (const path of ['/a', '/self']) {
      await assert.rejects(host.readText(path), { message: `Cannot read host file "${path}": ELOOP` });
    }
  });

  it('refuses a FIFO, a socket, a device and a directory without waiting', async (t) => {
    const host = await tempHost(t, { '/dir/x': '' });
    execFileSync('mkfifo', [join(host.root, 'fifo')]);
    const server = createServer().listen(join(host.root, 'socket'));
    t.after(() => server.close());
    for (const [path, kind] of [
      ['/fifo', 'fifo'],
      ['/socket', 'socket'],
      ['/dir', 'directory'],
    ] as const) {
      await assert.rejects(host.readText(path), {
        message: `Cannot read host file "${path}": it is a ${kind}, not a regular file`,
      });
      assert.equal((await host.stat(path))?.kind, kind);
    }
    await assert.rejects(new Host('/').readText('/dev/zero'), /"\/dev\/zero": it is a device, not/);
  });

  it('refuses a file of 100 MB, and reads only its start when asked for that', async (t) => {
    const host = await tempHost(t, { '/big': 'start' });
    await truncate(join(host.root, 'big'), 100 * 1024 * 1024);
    await assert.rejects(host.readText('/big'), {
      message: 'Cannot read host file "/big": it is larger than 1048576 bytes',
    });
    assert.equal((await host.readStart('/big', 5))?.toString(), 'start');
  });

  it('takes a file of exactly the limit and no byte more', async (t) => {
    const host = await tempHost(t, { '/four': 'abcd' });
    assert.equal(await host.readText('/four', 4), 'abcd');
    await assert.rejects(host.readText('/four', 3), /larger than 3 bytes/);
  });

  it('reads files of /proc, whose size is 0, within the limit', async () => {
    const host = new Host('/');
    assert.match((await host.readText('/proc/version')) ?? '', /^Linux version /);
    assert.equal((await host.stat('/proc/version'))?.size, 0);
    await assert.rejects(host.readText('/proc/version', 5), /larger than 5 bytes/);
  });

  it('tells a file that it may not read from one that is not there', async (t) => {
    const host = await tempHost(t, { '/secret': 'x', '/closed/x': 'x' });
    await chmod(host.root, 0o755);
    await chmod(join(host.root, 'secret'), 0);
    await chmod(join(host.root, 'closed'), 0);
    await unprivileged(async () => {
      await assert.rejects(host.readText('/secret'), (error: Error) => {
        assert.equal(error.message, 'Cannot read host file "/secret": EACCES');
        assert.equal((error.cause as NodeJS.ErrnoException).code, 'EACCES');
        return true;
      });
      await assert.rejects(host.readText('/closed/x'), /"\/closed\/x": EACCES/);
      await assert.rejects(host.list('/closed'), /"\/closed": EACCES/);
      assert.equal(await host.readText('/absent'), undefined);
    });
  });

  it('lists a directory sorted', async (t) => {
    const host = await tempHost(t, { '/d/b': '', '/d/B': '', '/d/a10': '', '/d/a2': '' });
    assert.deepEqual(await host.list('/d'), ['B', 'a10', 'a2', 'b']);
  });
});
