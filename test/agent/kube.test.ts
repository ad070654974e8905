import assert from 'node:assert/strict';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { inClusterKube, KubeError } from '../../agent/kube.ts';
import { openAuthority } from '../../hack/cluster/pki.ts';
import { fakeApiServer, refusal } from './fake-api-server.ts';

const PATH = '/api/v1/nodes/node-1';

describe('inClusterKube', () => {
  it('asks with the token of the moment, and counts each request', async (t) => {
    const { server, kube, folder, counted } = await fakeApiServer(t);
    server.node.metadata.labels.a = 'b';
    assert.deepEqual(await kube.get(PATH), server.node);
    await writeFile(join(folder, 'token'), 'second-token');
    await kube.get(PATH);
    assert.deepEqual(server.tokens, ['Bearer first-token', 'Bearer second-token']);
    assert.deepEqual(counted, ['GET 200', 'GET 200']);
  });

  it('names the format of a patch', async (t) => {
    const { server, kube } = await fakeApiServer(t);
    await kube.patch(PATH, { metadata: { labels: { a: '1' } } }, 'merge');
    await kube.patch(`${PATH}/status`, { status: { conditions: [] } }, 'strategic');
    assert.deepEqual(server.asked, [
      `PATCH ${PATH} application/merge-patch+json`,
      `PATCH ${PATH}/status application/strategic-merge-patch+json`,
    ]);
    assert.deepEqual(server.node.metadata.labels, { a: '1' });
  });

  const refusals: readonly [string, ReturnType<typeof refusal>, Partial<KubeError>][] = [
    [
      'its words',
      refusal(403, 'nodes "node-1" is forbidden'),
      { message: `GET ${PATH}: 403 nodes "node-1" is forbidden`, status: 403, retryAfterMs: undefined },
    ],
    [
      'how long to wait',
      refusal(429, 'too many requests', { 'retry-after': '7' }),
      { message: `GET ${PATH}: 429 too many requests`, status: 429, retryAfterMs: 7_000 },
    ],
    [
      'how long to wait, within reason',
      refusal(503, 'busy', { 'retry-after': '99999999999' }),
      { status: 503, retryAfterMs: 300_000 },
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

  it('gives up when it is told to', async (t) => {
    const { server, kube } = await fakeApiServer(t);
    await assert.rejects(kube.get(PATH, AbortSignal.abort()));
    assert.deepEqual(server.asked, []);
  });

  it('trusts no server of another authority', async (t) => {
    const { server, folder, port } = await fakeApiServer(t);
    await rm(join(folder, 'ca.key'));
    await openAuthority(folder); // a new one in the place of the old
    const kube = await inClusterKube({ host: '127.0.0.1', port }, () => {}, folder);
    await assert.rejects(kube.get(PATH), /certificate|signature/i);
    assert.deepEqual(server.asked, []);
  });

  it('says which file of the service account it could not read', async (t) => {
    const { kube, folder } = await fakeApiServer(t);
    await rm(join(folder, 'token'));
    await assert.rejects(kube.get(PATH), /ENOENT.*token/);
    await assert.rejects(
      inClusterKube({ host: '::1', port: '1' }, () => {}, `${folder}/none`),
      /ca\.crt/,
    );
  });
});
