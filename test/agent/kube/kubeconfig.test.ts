import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { openAccess } from '../../../agent/kube/access.ts';
import { createKube } from '../../../agent/kube/client.ts';
import { kubeconfigAccess } from '../../../agent/kube/kubeconfig.ts';
import { openAuthority } from '../../../cluster/control-plane/pki.ts';
import { FakeApiServer } from '../fake-api-server.ts';

const PATH = '/api/v1/nodes/node-1';
const data = (text: string) => Buffer.from(text).toString('base64');

async function folderOf(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'kubeconfig-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

type Parts = { readonly cluster?: object; readonly user?: object; readonly config?: object };

/** A kubeconfig of one context, with these fields in its cluster, its user or beside them. */
function kubeconfigOf({ cluster = {}, user = { token: 'a-token' }, config = {} }: Parts): string {
  return JSON.stringify({
    'current-context': 'here',
    contexts: [{ name: 'here', context: { cluster: 'a-cluster', user: 'a-user' } }],
    clusters: [{ name: 'a-cluster', cluster: { server: 'https://127.0.0.1:1/', ...cluster } }],
    users: [{ name: 'a-user', user }],
    ...config,
  });
}

/** An API server that asks its clients for certificates, and the texts of its authority. */
async function serverOf(t: TestContext, folder: string) {
  const authority = await openAuthority(folder);
  const credential = await authority.issue('kube-apiserver', [], ['127.0.0.1', 'api.example']);
  const server = new FakeApiServer({ ...credential, ca: authority.cert });
  const port = await server.listen();
  t.after(() => server.close());
  return { server, authority, url: `https://127.0.0.1:${port}` };
}

async function ask(t: TestContext, path: string): Promise<unknown> {
  const kube = createKube(await openAccess({ kubeconfig: path }), { agent: 'test', count: () => {} });
  t.after(() => kube.close());
  return kube.get(PATH);
}

describe('kubeconfigAccess', () => {
  it('reaches a server with the data of a client certificate, written as YAML', async (t) => {
    const folder = await folderOf(t);
    const { server, authority, url } = await serverOf(t, folder);
    const { cert, key } = await authority.issue('somebody');
    const path = join(folder, 'config');
    await writeFile(
      path,
      `current-context: here
contexts: [{name: here, context: {cluster: c, user: u}}]
clusters:
- name: c
  cluster:
    server: ${url}
    certificate-authority-data: ${data(authority.cert)}
users:
- name: u
  user: {client-certificate-data: ${data(cert)}, client-key-data: ${data(key)}}
`,
    );
    assert.deepEqual(await ask(t, path), server.node.whole);
    assert.deepEqual([server.tokens, server.clients], [[''], ['somebody']]);
  });

  it('reads files relative to the kubeconfig, and the file of a token each time', async (t) => {
    const folder = await folderOf(t);
    const { server, authority, url } = await serverOf(t, folder);
    await mkdir(join(folder, 'own'));
    await writeFile(join(folder, 'own/ca.crt'), authority.cert);
    await writeFile(join(folder, 'own/token'), 'first\n');
    const cluster = { server: url, 'certificate-authority': 'own/ca.crt' };
    const path = join(folder, 'config');
    await writeFile(path, kubeconfigOf({ cluster, user: { tokenFile: 'own/token' } }));
    const kube = createKube(await kubeconfigAccess(path), { agent: 'test', count: () => {} });
    t.after(() => kube.close());
    await kube.get(PATH);
    await writeFile(join(folder, 'own/token'), 'second\n');
    await kube.get(PATH);
    assert.deepEqual(server.tokens, ['Bearer first', 'Bearer second']);
  });

  it("checks the server's certificate for the name that it is told", async (t) => {
    const folder = await folderOf(t);
    const { server, authority, url } = await serverOf(t, folder);
    const path = join(folder, 'config');
    const named = (name: string) =>
      kubeconfigOf({
        cluster: {
          server: url,
          'certificate-authority-data': data(authority.cert),
          'tls-server-name': name,
        },
      });
    await writeFile(path, named('other.example'));
    await assert.rejects(ask(t, path), /other\.example/);
    await writeFile(path, named('api.example'));
    assert.deepEqual(await ask(t, path), server.node.whole);
  });

  it('believes any server when it is told to, and warns', async (t) => {
    const folder = await folderOf(t);
    const { server, url } = await serverOf(t, folder);
    const path = join(folder, 'config');
    await writeFile(path, kubeconfigOf({ cluster: { server: url } }));
    await assert.rejects(ask(t, path), /certificate/);
    await writeFile(path, kubeconfigOf({ cluster: { server: url, 'insecure-skip-tls-verify': true } }));
    assert.deepEqual(await ask(t, path), server.node.whole);
    const { warnings } = await kubeconfigAccess(path);
    assert.deepEqual(warnings, [
      `The cluster "a-cluster" of kubeconfig "${path}" skips the check of the server's certificate: whoever answers is believed`,
    ]);
  });

  it('warns of a server without TLS', async (t) => {
    const path = join(await folderOf(t), 'config');
    await writeFile(path, kubeconfigOf({ cluster: { server: 'http://127.0.0.1:8080' } }));
    const { server, warnings } = await kubeconfigAccess(path);
    assert.equal(server, 'http://127.0.0.1:8080');
    assert.match(warnings.join(), /without TLS/);
  });

  const user = (fields: object) => kubeconfigOf({ user: fields });
  const refused: readonly [name: string, text: string, why: RegExp][] = [
    [
      'a program for credentials',
      user({ exec: { command: 'aws' } }),
      /^Error: The user "a-user" of kubeconfig "\S+" gets its credential from a program .*kubectl create token/,
    ],
    [
      'an auth-provider',
      user({ 'auth-provider': { name: 'gcp' } }),
      /^Error: The user "a-user" .* auth-provider/,
    ],
    [
      'a name and a password',
      user({ username: 'a', password: 'b' }),
      /^Error: The user "a-user" .* password/,
    ],
    ['impersonation', user({ token: 'a', as: 'b' }), /^Error: The user "a-user" .* impersonates/],
    ['a user without anything', user({}), /has no credential: make a token/],
    ['a certificate without its key', user({ 'client-certificate-data': data('c') }), /has no credential/],
    [
      'a file that is not there',
      user({ 'client-certificate': 'none.crt', 'client-key': 'none.key' }),
      /^Error: Cannot read "none\.crt", which kubeconfig "\S+" names as client-certificate$/,
    ],
    [
      'a proxy',
      kubeconfigOf({ cluster: { 'proxy-url': 'http://a' } }),
      /^Error: The cluster "a-cluster" .* proxy-url/,
    ],
    ['no server', kubeconfigOf({ cluster: { server: '' } }), /has no server with https/],
    ['a server of another kind', kubeconfigOf({ cluster: { server: 'unix:///a' } }), /has no server with/],
    [
      'no current context',
      kubeconfigOf({ config: { 'current-context': '' } }),
      /has no current-context: set/,
    ],
    ['a context that is not there', kubeconfigOf({ config: { contexts: [] } }), /has no context "here"$/],
    [
      'a cluster that is not there',
      kubeconfigOf({ config: { clusters: [] } }),
      /has no cluster "a-cluster"$/,
    ],
    ['a user that is not there', kubeconfigOf({ config: { users: null } }), /has no user "a-user"$/],
    ['nothing', '', /holds no clusters, users and contexts$/],
    ['a list', '- a', /holds no clusters, users and contexts$/],
    ['no YAML', 'a: [', /^Error: kubeconfig "\S+" is not YAML$/],
  ];
  for (const [name, text, why] of refused) {
    it(`refuses ${name}, and says what to do`, async (t) => {
      const path = join(await folderOf(t), 'config');
      await writeFile(path, text);
      await assert.rejects(kubeconfigAccess(path), why);
    });
  }

  it('refuses a file that is not there', async () => {
    await assert.rejects(
      kubeconfigAccess('/none/config'),
      /^Error: Cannot read kubeconfig "\/none\/config"$/,
    );
  });
});
