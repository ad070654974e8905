import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { inClusterAccess } from '../../../agent/kube/access.ts';
import { createKube, type WatchEvent } from '../../../agent/kube/client.ts';
import { openAuthority } from '../../../cluster/control-plane/pki.ts';
import { FakeApiServer, fakeApiServer } from '../fake-api-server.ts';

const PATH = '/api/v1/nodes/node-1';
const WATCH = '/api/v1/nodes?watch=1';

/** An API server with a certificate of an authority of its own, on this port or any. */
async function serverOfAnother(t: TestContext, port?: string) {
  const folder = await mkdtemp(join(tmpdir(), 'authority-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const authority = await openAuthority(folder);
  const server = new FakeApiServer(await authority.issue('kube-apiserver', [], ['127.0.0.1']));
  await server.listen(port);
  t.after(() => server.close());
  return { server, ca: authority.cert };
}

describe('an API server whose authority is replaced', () => {
  it('is trusted once the file of the service account has the new one, and not before', async (t) => {
    const { server: old, kube, folder, port } = await fakeApiServer(t);
    await kube.get(PATH);
    old.close();
    const { server, ca } = await serverOfAnother(t, port);
    await assert.rejects(kube.get(PATH), /certificate|signature/i);
    assert.deepEqual(server.asked, []);
    await writeFile(join(folder, 'ca.crt'), ca);
    assert.deepEqual(await kube.get(PATH), server.node.whole);
    await kube.patch(PATH, { metadata: { labels: { a: '1' } } }, 'merge');
    assert.deepEqual(server.node.labels, { a: '1' });
  });

  it('is watched anew with it, while a watch that began before goes on', async (t) => {
    const { server: old, kube, folder, port } = await fakeApiServer(t);
    const stop = new AbortController();
    const begin = () => kube.watch(WATCH, stop.signal)[Symbol.asyncIterator]();
    const typeOf = async (events: AsyncIterator<WatchEvent>) => {
      const { value } = (await events.next()) as { value?: WatchEvent };
      return value?.type;
    };
    const before = begin();
    assert.equal(await typeOf(before), 'ADDED');
    const { ca } = await serverOfAnother(t);
    await writeFile(join(folder, 'ca.crt'), ca);
    await assert.rejects(kube.get(PATH), /certificate|signature/i, 'a new connection wants the new one');
    old.node.change(({ labels }) => {
      labels.a = '1';
    });
    assert.equal(await typeOf(before), 'MODIFIED');
    old.endWatches();
    assert.equal(await typeOf(before), undefined);
    old.close();
    const { server } = await serverOfAnother(t, port);
    await assert.rejects(typeOf(begin()), /certificate|signature/i, 'of a third authority');
    assert.deepEqual(server.watched, []);
  });

  it('is asked with connections that are kept, as long as the file stays the same', async (t) => {
    const { server, kube, folder } = await fakeApiServer(t);
    const { cert } = await openAuthority(folder);
    for (let time = 0; time < 3; time++) {
      await writeFile(join(folder, 'ca.crt'), cert);
      await kube.get(PATH);
    }
    assert.equal(server.connections, 1);
  });

  it('lets the client end while a watch of before goes on', async (t) => {
    const { kube, folder } = await fakeApiServer(t);
    const events = kube.watch(WATCH, new AbortController().signal)[Symbol.asyncIterator]();
    await events.next();
    const { ca } = await serverOfAnother(t);
    await writeFile(join(folder, 'ca.crt'), ca);
    await assert.rejects(kube.get(PATH));
    const ends = assert.rejects(events.next());
    await kube.close();
    await ends;
  });
});

describe('a watch that is accepted and not answered', () => {
  it('is given up', { timeout: 10_000 }, async (t) => {
    const { server, folder, port } = await fakeApiServer(t);
    server.watchScript.push('silence');
    const access = await inClusterAccess({ host: '127.0.0.1', port }, folder);
    const kube = createKube(access, { agent: 'test', count: () => {}, watchTimeoutMs: 100 });
    t.after(() => kube.close());
    const events = kube.watch(WATCH, AbortSignal.timeout(8_000))[Symbol.asyncIterator]();
    await assert.rejects(events.next(), { code: 'UND_ERR_HEADERS_TIMEOUT' });
    assert.equal(server.watched.length, 1);
  });
});
