import assert from 'node:assert/strict';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { status } from '@grpc/grpc-js';
import { CriClient } from '../../../agent/host/cri-client.ts';
import type { Outcome } from '../../../agent/proof/outcome.ts';
import { prove } from '../../../agent/proof/proof.ts';
import { tempHost } from '../host/temp-host.ts';
import { GARBAGE, HANGS, refuses } from './containerd-scripts.ts';
import { fakeContainerd } from './fake-containerd.ts';
import { brief, HOST_FILES, NEVER, scene } from './scene.ts';

describe('prove, when containerd breaks', { concurrency: true }, () => {
  it('is impossible when the container’s image is missing, and removes the sandbox', async (t) => {
    const words = 'failed to resolve image "agent": not found';
    const { containerd, run } = await scene(t, { CreateContainer: refuses(words, status.NOT_FOUND) });
    assert.equal(brief(await run()), 'impossible ProbeImageMissing');
    assert.equal(containerd.sandboxes.size, 0);
  });

  for (const method of ['ListPodSandbox', 'RunPodSandbox', 'ExecSync']) {
    it(`is impossible when ${method} is answered with garbage`, async (t) => {
      const { containerd, run } = await scene(t, { [method]: GARBAGE });
      assert.equal(brief(await run()), 'impossible ContainerdUnreachable');
      assert.equal(containerd.sandboxes.size, 0);
    });
  }

  it('is impossible when containerd dies in the middle, and sweeps once it is back', async (t) => {
    const { containerd, client, run } = await scene(t);
    containerd.scripts = {
      ExecSync: async (request) => {
        await containerd.stop();
        return HANGS(request);
      },
    };
    assert.equal(brief(await run()), 'impossible ContainerdUnreachable');
    assert.equal(containerd.sandboxes.size, 1);
    containerd.scripts = {};
    await containerd.start();
    await reachable(client);
    assert.equal(brief(await run()), 'proven 4.4.0');
    assert.deepEqual([containerd.sandboxes.size, containerd.mostProbes], [0, 1]);
  });

  it('does not believe what a containerd says that is gone a moment later', async (t) => {
    const { containerd, run } = await scene(t);
    const words = 'OCI runtime exec failed: cannot execute in container "0e7a" in state stopped: unknown';
    containerd.scripts = { ExecSync: refuses(words) };
    const stopping = containerd.called('ExecSync').then(async () => {
      await containerd.called('PodSandboxStatus');
      await containerd.stop();
    });
    assert.equal(brief(await run()), 'impossible ContainerdUnreachable');
    await stopping;
  });

  for (const method of ['RunPodSandbox', 'StartContainer', 'ExecSync', 'StopPodSandbox']) {
    it(`leaves nothing behind when it is aborted in ${method}`, async (t) => {
      const { containerd, run } = await scene(t);
      const stop = new AbortController();
      containerd.scripts = {
        [method]: (request) => {
          const answer = containerd.usual(method, request);
          if (stop.signal.aborted) return answer;
          stop.abort();
          return method === 'StopPodSandbox' ? answer : HANGS(request);
        },
      };
      await run(stop.signal).catch((error: unknown) => assert.ok(error instanceof Error));
      assert.ok(stop.signal.aborted);
      assert.equal(containerd.sandboxes.size, 0);
    });
  }

  it('does not begin when it is aborted already', async (t) => {
    const { containerd, run } = await scene(t);
    await assert.rejects(run(AbortSignal.abort(new Error('stop'))), /^Error: stop$/);
    assert.deepEqual(containerd.calls, []);
  });
});

/** Resolves when the client has its connection again. */
async function reachable(client: CriClient): Promise<void> {
  for (;;) {
    const changed = client.connectionChange(10_000);
    if (
      await client.call('Version', {}).then(
        () => true,
        () => false,
      )
    )
      return;
    await changed;
  }
}

describe('prove without a containerd', () => {
  async function proofAt(t: TestContext, path: string): Promise<Outcome> {
    const client = new CriClient('/run/containerd/containerd.sock', path);
    t.after(() => client.close());
    const host = await tempHost(t, HOST_FILES);
    return prove({ client, handler: 'runsc', image: 'agent', host, now: () => 0 }, NEVER);
  }

  async function folderOf(t: TestContext): Promise<string> {
    const folder = await mkdtemp(join(tmpdir(), 'cri-'));
    t.after(() => rm(folder, { recursive: true, force: true }));
    return folder;
  }

  it('names a socket that is not there', async (t) => {
    const path = join(await folderOf(t), 'absent.sock');
    const outcome = await proofAt(t, path);
    assert.equal(brief(outcome), 'impossible ContainerdUnreachable');
    assert.equal(outcome.message, `containerd's ListPodSandbox: connect ENOENT ${path}`);
  });

  it('names a socket that nobody listens on', async (t) => {
    const path = join(await folderOf(t), 'dead.sock');
    const { containerd } = await fakeContainerd(t);
    await containerd.stop();
    assert.match((await proofAt(t, containerd.socket)).message, /connect ENOENT/);
    assert.equal(brief(await proofAt(t, path)), 'impossible ContainerdUnreachable');
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
      const error = await client.call('Version', {}).catch(String);
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
    assert.equal(brief(await proofAt(t, path)), 'impossible ContainerdUnreachable');
  });
});
