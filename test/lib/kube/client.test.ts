import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { openAuthority } from '../../../cluster/control-plane/pki.ts';
import { waitFor } from '../../../hack/run.ts';
import { inClusterAccess } from '../../../lib/kube/access.ts';
import { createKube, type WatchEvent } from '../../../lib/kube/client.ts';
import { KubeError } from '../../../lib/kube/error.ts';
import { FakeApiServer, fakeApiServer, refusedWith, statusObject } from './fake-api-server.ts';

const PATH = '/api/v1/nodes/node-1';
const WATCH = '/api/v1/nodes?watch=1';

describe('createKube', () => {
  it('uses the current token, and counts requests', async (t) => {
    const { server, kube, directory, counted } = await fakeApiServer(t);
    server.node.labels.a = 'b';
    assert.deepEqual(await kube.get(PATH), server.node.whole);
    await writeFile(join(directory, 'token'), 'second-token');
    await kube.get(PATH);
    assert.deepEqual(server.tokens, ['Bearer first-token', 'Bearer second-token']);
    assert.deepEqual(counted, ['GET 200', 'GET 200']);
  });

  it('is not blocked by two hanging requests', async (t) => {
    const { server, kube } = await fakeApiServer(t);
    server.script.push('silence', 'silence');
    const end = new AbortController();
    const hanging = ['a', 'b'].map((name) => kube.get(`/api/v1/namespaces/${name}`, end.signal));
    await waitFor('both requests', 5_000, async () => server.requests.length === 2 || undefined);
    assert.deepEqual(await kube.get(PATH), server.node.whole);
    end.abort();
    await Promise.allSettled(hanging);
  });

  it('retries a 401 once with a fresh token', async (t) => {
    const { server, kube, directory, counted } = await fakeApiServer(t);
    server.script.push(refusedWith(401, 'Unauthorized'));
    const get = kube.get(PATH);
    await writeFile(join(directory, 'token'), 'second-token');
    assert.deepEqual(await get, server.node.whole);
    assert.equal(server.tokens.at(-1), 'Bearer second-token');
    server.script.push(refusedWith(401, 'Unauthorized'), refusedWith(401, 'Unauthorized'));
    await assert.rejects(kube.get(PATH), { status: 401 });
    assert.deepEqual(counted, ['GET 401', 'GET 200', 'GET 401', 'GET 401']);
  });

  const policy = `nodes "node-1" is forbidden: ValidatingAdmissionPolicy 'a' denied request: no`;
  const busy = (retryAfter: string) => refusedWith(503, 'busy', { 'retry-after': retryAfter });
  const slow = refusedWith(429, 'too many requests', { 'retry-after': '7' });
  const page = { status: 502, body: '<html>bad gateway</html>' };
  const moved = { status: 302, headers: { location: 'https://example.com' } };
  // biome-ignore format: one row a line
  const refusals: readonly (readonly [string, ReturnType<typeof refusedWith>, Partial<KubeError>])[] = [
    ['the message', refusedWith(403, policy), { message: `GET ${PATH}: 403 ${policy}` }],
    ['Retry-After', slow, { message: `GET ${PATH}: 429 too many requests`, status: 429, retryAfterMs: 7_000 }],
    ['at most 30 s of Retry-After', busy('99999999999'), { status: 503, retryAfterMs: 30_000 }],
    ['no negative Retry-After', busy('-1'), { retryAfterMs: undefined }],
    ['no invalid Retry-After', busy('soon'), { retryAfterMs: undefined }],
    ['no message if the body is not JSON', page, { message: `GET ${PATH}: 502 no message`, status: 502 }],
    ['no redirect', moved, { status: 302 }],
  ];
  for (const [name, response, expected] of refusals) {
    it(`rejects with the status and ${name}`, async (t) => {
      const { server, kube, counted } = await fakeApiServer(t);
      server.script.push(response);
      await assert.rejects(kube.get(PATH), (error: unknown) => {
        assert.ok(error instanceof KubeError);
        for (const [key, value] of Object.entries(expected))
          assert.equal(error[key as keyof KubeError], value);
        return true;
      });
      assert.deepEqual(counted, [`GET ${response.status}`]);
    });
  }

  it('rejects when aborted, which is not counted', async (t) => {
    const { server, kube, counted } = await fakeApiServer(t);
    await assert.rejects(kube.get(PATH, AbortSignal.abort()));
    assert.deepEqual([server.requests, counted], [[], []]);
  });

  it('counts a request without a response', async (t) => {
    const { server, kube, counted } = await fakeApiServer(t);
    t.mock.method(AbortSignal, 'timeout', () => AbortSignal.abort(new Error('too late')));
    await assert.rejects(kube.get(PATH), /too late/);
    assert.deepEqual([server.requests, counted], [[], ['GET <error>']]);
  });

  it('names the missing file of the service account', async (t) => {
    const { kube, directory } = await fakeApiServer(t);
    await rm(join(directory, 'token'));
    await assert.rejects(kube.get(PATH), /ENOENT.*token/);
    await assert.rejects(inClusterAccess({ host: '::1', port: '1' }, `${directory}/none`), /ca\.crt/);
  });
});

describe('a watch', () => {
  /** The events of a watch, one by one. */
  async function watchOf(t: Parameters<typeof fakeApiServer>[0]) {
    const { server, kube, counted } = await fakeApiServer(t);
    const stop = new AbortController();
    const events = kube.watch(WATCH, stop.signal)[Symbol.asyncIterator]();
    const next = async () => {
      const { value } = (await events.next()) as { value?: WatchEvent };
      return value;
    };
    return { server, stop, next, counted, kube };
  }

  it('yields ADDED, MODIFIED and DELETED with metadata only, and ends with the server', async (t) => {
    const { server, next, counted } = await watchOf(t);
    const nextLabels = async () => {
      const event = await next();
      const { metadata } = (event?.object ?? {}) as { metadata?: { labels?: object } };
      return [event?.type, metadata?.labels];
    };
    assert.deepEqual(await nextLabels(), ['ADDED', {}]);
    server.node.change((node) => {
      node.labels.a = 'ü'.repeat(50_000);
    });
    assert.deepEqual(await nextLabels(), ['MODIFIED', { a: 'ü'.repeat(50_000) }]);
    server.node.delete();
    assert.deepEqual((await nextLabels())[0], 'DELETED');
    server.endWatches();
    assert.equal(await next(), undefined);
    assert.deepEqual(server.accepted, ['application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1']);
    assert.deepEqual(counted, ['WATCH 200']);
  });

  it('does not block other requests', async (t) => {
    const { server, next, kube } = await watchOf(t);
    await next();
    assert.deepEqual(await kube.get(PATH), server.node.whole);
  });

  it('rejects when refused, also midway', async (t) => {
    const refused = await watchOf(t);
    refused.server.watchScript.push(refusedWith(429, 'slow down', { 'retry-after': '3' }));
    await assert.rejects(refused.next(), { status: 429, retryAfterMs: 3_000 });
    const broken = await watchOf(t);
    await broken.next();
    broken.server.endWatches(`${JSON.stringify({ type: 'ERROR', object: statusObject(410, 'too old') })}\n`);
    await assert.rejects(broken.next(), { status: 410, message: `GET ${WATCH}: 410 too old` });
  });

  it('rejects on invalid JSON and on a lost connection', async (t) => {
    const nonsense = await watchOf(t);
    await nonsense.next();
    nonsense.server.endWatches('nonsense\n');
    await assert.rejects(nonsense.next(), SyntaxError);
    const gone = await watchOf(t);
    await gone.next();
    gone.server.close();
    await assert.rejects(gone.next());
  });

  it('rejects when aborted', async (t) => {
    const { next, stop } = await watchOf(t);
    await next();
    stop.abort();
    await assert.rejects(next(), { name: 'AbortError' });
  });
});

/** An API server with a certificate of an authority of its own, on this port or any. */
async function serverOfAnother(t: TestContext, port?: string) {
  const directory = await mkdtemp(join(tmpdir(), 'authority-'));
  t.after(() => rm(directory, { recursive: true, force: true }));
  const authority = await openAuthority(directory);
  const server = new FakeApiServer(await authority.issue('kube-apiserver', [], ['127.0.0.1']));
  await server.listen(port);
  t.after(() => server.close());
  return { server, ca: authority.cert };
}

describe('an API server whose CA is rotated', () => {
  it('is trusted once the service account has the new CA', async (t) => {
    const { server: old, kube, directory, port } = await fakeApiServer(t);
    await kube.get(PATH);
    old.close();
    const { server, ca } = await serverOfAnother(t, port);
    await assert.rejects(kube.get(PATH), /certificate|signature/i);
    assert.deepEqual(server.requests, []);
    await writeFile(join(directory, 'ca.crt'), ca);
    assert.deepEqual(await kube.get(PATH), server.node.whole);
    await kube.patch(PATH, { metadata: { labels: { a: '1' } } }, 'merge');
    assert.deepEqual(server.node.labels, { a: '1' });
  });

  it('is watched with the new CA, while an older watch continues', async (t) => {
    const { server: old, kube, directory, port } = await fakeApiServer(t);
    const stop = new AbortController();
    const begin = () => kube.watch(WATCH, stop.signal)[Symbol.asyncIterator]();
    const typeOf = async (events: AsyncIterator<WatchEvent>) => {
      const { value } = (await events.next()) as { value?: WatchEvent };
      return value?.type;
    };
    const before = begin();
    assert.equal(await typeOf(before), 'ADDED');
    const { ca } = await serverOfAnother(t);
    await writeFile(join(directory, 'ca.crt'), ca);
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

  it('keeps its connections while the CA is the same', async (t) => {
    const { server, kube, directory } = await fakeApiServer(t);
    const { cert } = await openAuthority(directory);
    for (let time = 0; time < 3; time++) {
      await writeFile(join(directory, 'ca.crt'), cert);
      await kube.get(PATH);
    }
    assert.equal(server.connections, 1);
  });

  it('lets the client close while an older watch is open', async (t) => {
    const { kube, directory } = await fakeApiServer(t);
    const events = kube.watch(WATCH, new AbortController().signal)[Symbol.asyncIterator]();
    await events.next();
    const { ca } = await serverOfAnother(t);
    await writeFile(join(directory, 'ca.crt'), ca);
    await assert.rejects(kube.get(PATH));
    const ends = assert.rejects(events.next());
    await kube.close();
    await ends;
  });
});

describe('a watch without response headers', () => {
  it('times out', async (t) => {
    const { server, directory, port } = await fakeApiServer(t);
    server.watchScript.push('silence');
    const access = await inClusterAccess({ host: '127.0.0.1', port }, directory);
    const kube = createKube(access, { agent: 'test', count: () => {}, watchTimeoutMs: 100 });
    t.after(() => kube.close());
    const events = kube.watch(WATCH, new AbortController().signal)[Symbol.asyncIterator]();
    await assert.rejects(events.next(), { code: 'UND_ERR_HEADERS_TIMEOUT' });
    assert.equal(server.watched.length, 1);
  });
});
