import assert from 'node:assert/strict';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { inClusterAccess } from '../../../agent/kube/access.ts';
import { createKube, type WatchEvent } from '../../../agent/kube/client.ts';
import { KubeError } from '../../../agent/kube/error.ts';
import { openAuthority } from '../../../cluster/control-plane/pki.ts';
import { waitFor } from '../../../hack/run.ts';
import { fakeApiServer, refusal, statusOf } from '../fake-api-server.ts';

const PATH = '/api/v1/nodes/node-1';
const WATCH = '/api/v1/nodes?watch=1';

describe('createKube', () => {
  it('asks with the token of the moment, and counts each request', async (t) => {
    const { server, kube, folder, counted } = await fakeApiServer(t);
    server.node.labels.a = 'b';
    assert.deepEqual(await kube.get(PATH), server.node.whole);
    await writeFile(join(folder, 'token'), 'second-token');
    await kube.get(PATH);
    assert.deepEqual(server.tokens, ['Bearer first-token', 'Bearer second-token']);
    assert.deepEqual(counted, ['GET 200', 'GET 200']);
  });

  it('answers a request while two others hang', async (t) => {
    const { server, kube } = await fakeApiServer(t);
    server.script.push('silence', 'silence');
    const end = new AbortController();
    const hanging = ['a', 'b'].map((name) => kube.get(`/api/v1/namespaces/${name}`, end.signal));
    await waitFor('both to be asked', 5_000, async () => server.asked.length === 2 || undefined);
    assert.deepEqual(await kube.get(PATH), server.node.whole);
    end.abort();
    await Promise.allSettled(hanging);
  });

  it('names the format of a patch', async (t) => {
    const { server, kube } = await fakeApiServer(t);
    await kube.patch(PATH, { metadata: { labels: { a: '1' } } }, 'merge');
    await kube.patch(`${PATH}/status`, { status: { conditions: [] } }, 'strategic');
    await kube.post('/api/v1/namespaces/default/events', { reason: 'Known' });
    assert.deepEqual(server.asked, [
      `PATCH ${PATH} application/merge-patch+json`,
      `PATCH ${PATH}/status application/strategic-merge-patch+json`,
      'POST /api/v1/namespaces/default/events application/json',
    ]);
    assert.deepEqual(server.node.labels, { a: '1' });
  });

  it('reads the token anew when it is refused, and asks once more and no more', async (t) => {
    const { server, kube, folder, counted } = await fakeApiServer(t);
    server.script.push(refusal(401, 'Unauthorized'));
    const get = kube.get(PATH);
    await writeFile(join(folder, 'token'), 'second-token');
    assert.deepEqual(await get, server.node.whole);
    assert.equal(server.tokens.at(-1), 'Bearer second-token');
    server.script.push(refusal(401, 'Unauthorized'), refusal(401, 'Unauthorized'));
    await assert.rejects(kube.get(PATH), { status: 401 });
    assert.deepEqual(counted, ['GET 401', 'GET 200', 'GET 401', 'GET 401']);
  });

  const forbidden = (words: string) => refusal(403, `nodes "node-1" is forbidden: ${words}`);
  const user = 'User "system:serviceaccount:a:b" cannot';
  const refusals: readonly [string, ReturnType<typeof refusal>, Partial<KubeError>][] = [
    [
      'the rule that is missing',
      forbidden(`${user} get resource "nodes/status" in API group "" at the cluster scope`),
      {
        status: 403,
        message: `GET ${PATH}: 403 nodes "node-1" is forbidden: ${user} get resource "nodes/status" in API group "" at the cluster scope; add a rule with verb "get" on "nodes/status" to its role, then: kubectl auth can-i get nodes/status --as=system:serviceaccount:a:b`,
      },
    ],
    [
      'nothing of rules when a policy refused',
      forbidden("ValidatingAdmissionPolicy 'a' denied request: no"),
      {
        message: `GET ${PATH}: 403 nodes "node-1" is forbidden: ValidatingAdmissionPolicy 'a' denied request: no`,
      },
    ],
    [
      'how long to wait',
      refusal(429, 'too many requests', { 'retry-after': '7' }),
      { message: `GET ${PATH}: 429 too many requests`, status: 429, retryAfterMs: 7_000 },
    ],
    [
      'how long to wait, within reason',
      refusal(503, 'busy', { 'retry-after': '99999999999' }),
      { status: 503, retryAfterMs: 30_000 },
    ],
    ['no negative wait', refusal(503, 'busy', { 'retry-after': '-1' }), { retryAfterMs: undefined }],
    ['no date to wait for', refusal(503, 'busy', { 'retry-after': 'soon' }), { retryAfterMs: undefined }],
    [
      'nothing in JSON',
      { status: 502, body: '<html>bad gateway</html>' },
      { message: `GET ${PATH}: 502 no message`, status: 502 },
    ],
    ['where to go instead', { status: 302, headers: { location: 'https://example.com' } }, { status: 302 }],
  ];
  for (const [name, answer, expected] of refusals) {
    it(`rejects with the status and ${name}`, async (t) => {
      const { server, kube, counted } = await fakeApiServer(t);
      server.script.push(answer);
      await assert.rejects(kube.get(PATH), (error: unknown) => {
        assert.ok(error instanceof KubeError);
        for (const [key, value] of Object.entries(expected))
          assert.equal(error[key as keyof KubeError], value);
        return true;
      });
      assert.deepEqual(counted, [`GET ${answer.status}`]);
    });
  }

  it('names the namespace of a rule that is missing there', async (t) => {
    const { server, kube } = await fakeApiServer(t);
    const words =
      'events is forbidden: User "u" cannot create resource "events" in API group "" in the namespace "default"';
    server.script.push(refusal(403, words));
    const can = 'kubectl auth can-i create events --namespace=default --as=u';
    await assert.rejects(kube.post('/events', {}), ({ message }: Error) => message.endsWith(can));
  });

  it('gives up when it is told to', async (t) => {
    const { server, kube } = await fakeApiServer(t);
    await assert.rejects(kube.get(PATH, AbortSignal.abort()));
    assert.deepEqual(server.asked, []);
  });

  it('trusts no server of another authority', async (t) => {
    const { server, folder, port } = await fakeApiServer(t);
    await rm(join(folder, 'ca.key'));
    await openAuthority(folder); // a new one in the place of the old
    const access = await inClusterAccess({ host: '127.0.0.1', port }, folder);
    const kube = createKube(access, { agent: 'test', count: () => {} });
    await assert.rejects(kube.get(PATH), /certificate|signature/i);
    assert.deepEqual(server.asked, []);
  });

  it('says which file of the service account it could not read', async (t) => {
    const { kube, folder } = await fakeApiServer(t);
    await rm(join(folder, 'token'));
    await assert.rejects(kube.get(PATH), /ENOENT.*token/);
    await assert.rejects(inClusterAccess({ host: '::1', port: '1' }, `${folder}/none`), /ca\.crt/);
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

  it('tells what is there, what changes and what goes, metadata alone, and ends with the server', async (t) => {
    const { server, next, counted } = await watchOf(t);
    const seen = async () => {
      const event = await next();
      const { metadata } = (event?.object ?? {}) as { metadata?: { labels?: object } };
      return [event?.type, metadata?.labels];
    };
    assert.deepEqual(await seen(), ['ADDED', {}]);
    server.node.change((node) => {
      node.labels.a = 'ü'.repeat(50_000);
    });
    assert.deepEqual(await seen(), ['MODIFIED', { a: 'ü'.repeat(50_000) }]);
    server.node.delete();
    assert.deepEqual((await seen())[0], 'DELETED');
    server.endWatches();
    assert.equal(await next(), undefined);
    assert.deepEqual(server.accepted, ['application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1']);
    assert.deepEqual(counted, ['WATCH 200']);
  });

  it('holds up no other request', async (t) => {
    const { server, next, kube } = await watchOf(t);
    await next();
    assert.deepEqual(await kube.get(PATH), server.node.whole);
  });

  it('rejects when it is refused, also in the middle', async (t) => {
    const refused = await watchOf(t);
    refused.server.watchScript.push(refusal(429, 'slow down', { 'retry-after': '3' }));
    await assert.rejects(refused.next(), { status: 429, retryAfterMs: 3_000 });
    const broken = await watchOf(t);
    await broken.next();
    broken.server.endWatches(`${JSON.stringify({ type: 'ERROR', object: statusOf(410, 'too old') })}\n`);
    await assert.rejects(broken.next(), { status: 410, message: `GET ${WATCH}: 410 too old` });
  });

  it('rejects on a line that is no JSON, and on a server that goes away', async (t) => {
    const nonsense = await watchOf(t);
    await nonsense.next();
    nonsense.server.endWatches('nonsense\n');
    await assert.rejects(nonsense.next(), SyntaxError);
    const gone = await watchOf(t);
    await gone.next();
    gone.server.close();
    await assert.rejects(gone.next());
  });

  it('ends when it is told to', async (t) => {
    const { next, stop } = await watchOf(t);
    await next();
    stop.abort();
    await assert.rejects(next(), { name: 'AbortError' });
  });
});
