import assert from 'node:assert/strict';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { CriClient } from '../../../agent/containerd/client.ts';
import { boot } from '../../../agent/proof/boot.ts';
import type { Outcome } from '../../../agent/proof/outcome.ts';
import { tempHost } from '../host/temp-host.ts';
import { fakeContainerd } from './fake-containerd.ts';
import { brief, NEVER } from './scene.ts';

async function bootAt(t: TestContext, path: string): Promise<Outcome> {
  const client = new CriClient('/run/containerd/containerd.sock', path);
  t.after(() => client.close());
  return boot({
    client,
    handler: 'runsc',
    host: await tempHost(t),
    now: () => 0,
    signal: NEVER,
    owner: 'me',
  });
}

async function folderOf(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'cri-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

describe('boot, without a containerd', () => {
  it('names a socket that is not there', async (t) => {
    const path = join(await folderOf(t), 'absent.sock');
    const outcome = await bootAt(t, path);
    assert.equal(brief(outcome), 'impossible ContainerdUnreachable');
    assert.equal(outcome.message, `containerd's ListPodSandbox: connect ENOENT ${path}`);
  });

  it('names a socket whose containerd has ended', async (t) => {
    const { containerd } = await fakeContainerd(t);
    await containerd.stop();
    assert.match((await bootAt(t, containerd.socket)).message, /connect ENOENT/);
  });

  it('names a socket that it may not open', async (t) => {
    const { containerd } = await fakeContainerd(t);
    await chmod(containerd.socket, 0);
    const root = process.geteuid?.() === 0;
    // root may open any socket, so for a moment this process is nobody.
    if (root) process.seteuid?.(65534);
    try {
      const client = new CriClient('/run/containerd/containerd.sock', containerd.socket);
      t.after(() => client.close());
      const error = await client.version().catch(String);
      assert.match(String(error), /connect EACCES/);
    } finally {
      if (root) process.seteuid?.(0);
    }
  });

  it('is impossible when whatever listens there speaks another language', async (t) => {
    const path = join(await folderOf(t), 'garbage.sock');
    const server = createServer((socket) => {
      socket.on('error', () => {});
      socket.end(Buffer.alloc(4096, 0xa5));
    });
    const listening = Promise.withResolvers<void>();
    server.listen(path, listening.resolve);
    await listening.promise;
    t.after(() => server.close());
    assert.equal(brief(await bootAt(t, path)), 'impossible ContainerdUnreachable');
  });
});
