import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmod, rm, symlink, truncate } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { Host, localSocket } from '../../../lib/host/host.ts';
import { NotVisible } from '../../../lib/host/paths.ts';
import { reasonForError } from '../../../lib/proof/outcome.ts';
import { mountedHost, tempHost } from './temp-host.ts';

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
  it('reads a file, and returns undefined for one that does not exist', async (t) => {
    const host = await tempHost(t, { '/etc/a': 'text' });
    assert.equal(await host.readText('/etc/a'), 'text');
    const absent = [
      host.readText('/etc/b'),
      host.readText('/etc/a/b'),
      host.stat('/etc/b'),
      host.list('/var'),
      host.realpath('/var/lib'),
      host.localPath('/var/lib'),
    ];
    assert.deepEqual(await Promise.all(absent), Array(6).fill(undefined));
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
  });

  it('rejects a loop of links', async (t) => {
    const host = await tempHost(t, {
      '/a': { link: 'b' },
      '/b': { link: '/a' },
      '/self': { link: 'self/x' },
    });
    for (const path of ['/a', '/self']) {
      await assert.rejects(host.readText(path), { message: `Cannot read host file "${path}": ELOOP` });
    }
  });

  it('rejects a FIFO, a socket, a device and a directory without blocking', async (t) => {
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

  it('accepts a file of exactly the limit and not one byte more, but reads the start of any', async (t) => {
    const host = await tempHost(t, { '/four': 'abcd', '/big': 'start' });
    assert.equal(await host.readText('/four', 4), 'abcd');
    await assert.rejects(host.readText('/four', 3), /larger than 3 bytes/);
    await truncate(join(host.root, 'big'), 100 * 1024 * 1024);
    await assert.rejects(host.readText('/big'), {
      message: 'Cannot read host file "/big": it is larger than 1048576 bytes',
    });
    assert.equal((await host.readStart('/big', 5))?.toString(), 'start');
  });

  it('reads files of /proc, whose size is 0, within the limit', async () => {
    const host = new Host('/');
    assert.match((await host.readText('/proc/version')) ?? '', /^Linux version /);
    assert.equal((await host.stat('/proc/version'))?.size, 0);
    await assert.rejects(host.readText('/proc/version', 5), /larger than 5 bytes/);
  });

  it('distinguishes a file without permission from one that does not exist', async (t) => {
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

  it('resolves a link once for a glance, and anew for the next', async (t) => {
    const host = await tempHost(t, { '/a/f': 'a', '/b/f': 'b', '/now': { link: 'a' } });
    const glance = host.glance();
    assert.equal(await glance.readText('/now/f'), 'a');
    await rm(join(host.root, 'now'));
    await symlink('b', join(host.root, 'now'));
    const texts = [glance, host, host.glance()].map((view) => view.readText('/now/f'));
    assert.deepEqual(await Promise.all(texts), ['a', 'b', 'b']);
  });

  it('lists a directory sorted', async (t) => {
    const host = await tempHost(t, { '/d/b': '', '/d/B': '', '/d/a10': '', '/d/a2': '' });
    assert.deepEqual(await host.list('/d'), ['B', 'a10', 'a2', 'b']);
  });
});

describe('Host.pieces', () => {
  const MIB = 1024 * 1024;

  it('returns a file in pieces that overlap by the given length', async (t) => {
    const bytes = Buffer.alloc(2 * MIB + 12_345, 'x');
    for (let at = 0; at < bytes.length; at += 1_000) bytes.writeUInt32LE(at, at);
    const host = await tempHost(t, { '/big': { program: bytes } });
    const pieces: Buffer[] = [];
    for await (const piece of host.pieces('/big', 100)) pieces.push(Buffer.from(piece));
    assert.ok(pieces.length >= 3 && pieces.every(({ length }) => length <= MIB));
    for (const [index, piece] of pieces.entries()) {
      const before = pieces[index - 1];
      if (before !== undefined) assert.deepEqual(piece.subarray(0, 100), before.subarray(-100));
    }
    const whole = pieces.map((piece, index) => (index === 0 ? piece : piece.subarray(100)));
    assert.ok(Buffer.concat(whole).equals(bytes));
  });

  it('returns no piece of an absent or empty file, and rejects a directory', async (t) => {
    const host = await tempHost(t, { '/empty': '', '/directory/x': '' });
    const count = async (path: string) => {
      let pieces = 0;
      for await (const _ of host.pieces(path, 10)) pieces += 1;
      return pieces;
    };
    assert.deepEqual([await count('/absent'), await count('/empty')], [0, 0]);
    await assert.rejects(count('/directory'), /it is a directory, not a regular file/);
  });
});

describe('Host, in a pod that mounts some directories', () => {
  it('reads mounted directories, and names the mount that another path needs', async (t) => {
    const host = await mountedHost(t, ['etc', 'usr'], { '/etc/a': 'text', '/var/of-the-image': '' });
    assert.equal(await host.readText('/etc/a'), 'text');
    assert.equal(await host.readText('/etc/b'), undefined);
    assert.equal((await host.stat('/'))?.kind, 'directory');
    const calls = [
      host.stat('/opt/gvisor/runsc.toml'),
      host.readText('/opt/gvisor/runsc.toml'),
      host.readStart('/opt/gvisor/runsc.toml', 5),
      host.list('/opt/gvisor'),
      host.localPath('/opt/gvisor'),
      host.glance().stat('/opt/gvisor'),
      host.stat('/var/of-the-image'),
    ];
    for (const call of calls) {
      const error = await call.catch((cause: unknown) => cause);
      assert.ok(error instanceof NotVisible, String(error));
      const [, path = '', top = ''] = /"((\/opt|\/var)\/\S+)"/.exec(error.message) ?? [];
      const message = `Cannot see host path "${path}": it is outside of the agent's mounts; mount the host's "${top}" read-only at "${host.root}${top}"`;
      assert.deepEqual([error.message, reasonForError(error)], [message, 'NotVisible']);
    }
  });

  it('finds a socket behind a link, unless the link itself is not mounted', async (t) => {
    const host = await mountedHost(t, ['etc', 'usr'], { '/usr/run': '', '/etc/run': { link: '../usr' } });
    assert.equal(await localSocket(host, '/etc/run/a.sock'), join(host.root, 'usr/a.sock'));
    assert.equal(await localSocket(host, '/etc/absent/a.sock'), join(host.root, 'etc/absent/a.sock'));
    await assert.rejects(localSocket(host, '/var/run/containerd/containerd.sock'), NotVisible);
  });

  it('names the mount for a link that leads out of the mounts', async (t) => {
    const host = await mountedHost(t, ['etc', 'usr'], {
      '/etc/containerd/config.toml': { link: '/opt/containerd/config.toml' },
      '/etc/runsc': { link: '../usr/bin/runsc' },
      '/usr/bin/other': '',
    });
    const stat = host.stat('/etc/containerd/config.toml');
    await assert.rejects(stat, /Cannot see host path "\/opt\/containerd\//);
    assert.equal(await host.stat('/etc/runsc'), undefined);
  });
});
