import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { configOf, fakeApi, forbidden, refusal } from './fake-api.ts';
import { fleet } from './fleet.ts';
import { plugin } from './run-plugin.ts';

/** Runs `nodes` with a changed kubeconfig. */
async function withConfig(
  t: TestContext,
  change: (config: ReturnType<typeof configOf>) => object,
  words: readonly string[] = [],
) {
  const fake = await fakeApi(t);
  fleet(fake.api);
  const server = JSON.parse(await readFile(fake.kubeconfig, 'utf8')).clusters[0].cluster.server as string;
  await writeFile(fake.kubeconfig, JSON.stringify(change(configOf(server, fake.folder))));
  return { ...fake, ran: await plugin(['nodes', '--kubeconfig', fake.kubeconfig, ...words]) };
}

/** One line and nothing else, and the code for that nothing could be looked at. */
function isOneLine(ran: Awaited<ReturnType<typeof plugin>>, pattern: RegExp): void {
  assert.match(ran.err, pattern);
  assert.deepEqual([ran.code, ran.out, ran.err.trim().split('\n').length], [2, '', 1]);
}

describe('access', () => {
  it('says which contexts there are when it is asked for another', async (t) => {
    const { ran } = await withConfig(t, (config) => config, ['--context', 'prod']);
    isOneLine(ran, /^The kubeconfig has no context "prod"; its contexts: fake, other\n$/);
  });

  it('says what a context lacks', async (t) => {
    isOneLine(
      (await withConfig(t, (config) => config, ['--context', 'other'])).ran,
      /names the cluster "gone", which the kubeconfig does not have/,
    );
    isOneLine(
      (await withConfig(t, (config) => ({ ...config, 'current-context': '' }))).ran,
      /^The kubeconfig has no current context; name one with --context; its contexts: fake, other/,
    );
    isOneLine(
      (await withConfig(t, (config) => ({ ...config, users: [] }))).ran,
      /names the user "u", which the kubeconfig does not have/,
    );
  });

  it('says what is wrong with the file', async (t) => {
    const { folder } = await fakeApi(t);
    isOneLine(
      await plugin(['nodes', '--kubeconfig', join(folder, 'none')]),
      /^Cannot read the kubeconfig .*none: ENOENT/,
    );
    await writeFile(join(folder, 'torn'), 'a: [');
    isOneLine(
      await plugin(['nodes', '--kubeconfig', join(folder, 'torn')]),
      /^Cannot read the kubeconfig .*torn: /,
    );
  });

  it('runs an exec credential plugin, and tells it what kubectl tells it', async (t) => {
    const { api, ran } = await withConfig(t, (config) => {
      const script =
        'printf \'{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"%s"}}\' "$(echo "$KUBERNETES_EXEC_INFO" | grep -o client.authentication.k8s.io/v1)"';
      return {
        ...config,
        users: [
          {
            name: 'u',
            user: {
              exec: {
                apiVersion: 'client.authentication.k8s.io/v1',
                command: 'sh',
                args: ['-c', script],
                interactiveMode: 'IfAvailable',
              },
            },
          },
        ],
      };
    });
    assert.equal(ran.code, 0, ran.err);
    assert.deepEqual(new Set(api.authorizations), new Set(['Bearer client.authentication.k8s.io/v1']));
  });

  it('says why an exec credential plugin gave nothing', async (t) => {
    const failing = (command: string) => (config: object) => ({
      ...config,
      users: [{ name: 'u', user: { exec: { command, args: ['-c', 'echo log in first >&2; exit 1'] } } }],
    });
    isOneLine(
      (await withConfig(t, failing('sh'))).ran,
      /^Cannot use the credential of the context "fake": log in first$/m,
    );
    isOneLine(
      (await withConfig(t, failing('no-such-program'))).ran,
      /^Cannot use the credential of the context "fake": .*ENOENT/,
    );
  });

  it('reads the first file of several for its context, and takes what the others add', async (t) => {
    const { kubeconfig, folder, api } = await fakeApi(t);
    fleet(api);
    const second = join(folder, 'second');
    await writeFile(
      second,
      JSON.stringify({
        'current-context': 'x',
        contexts: [{ name: 'x', context: { cluster: 'fake', user: 'u' } }],
        clusters: [],
        users: [],
      }),
    );
    const before = process.env.KUBECONFIG;
    process.env.KUBECONFIG = `${kubeconfig}:${second}`;
    t.after(() => {
      if (before === undefined) delete process.env.KUBECONFIG;
      else process.env.KUBECONFIG = before;
    });
    assert.equal((await plugin(['nodes'])).code, 0);
    const { out } = await plugin(['status', '-o', 'json']);
    assert.equal((JSON.parse(out) as { context: string }).context, 'fake');
    assert.equal((await plugin(['nodes', '--context', 'x'])).code, 0);
  });
});

describe('an API server', () => {
  it('that is away is named', async (t) => {
    const { ran } = await withConfig(t, ({ clusters: [first], ...config }) => ({
      ...config,
      clusters: [{ name: first?.name, cluster: { ...first?.cluster, server: 'https://127.0.0.1:1' } }],
    }));
    isOneLine(
      ran,
      /^Cannot reach the API server https:\/\/127\.0\.0\.1:1 \(context "fake"\): connect ECONNREFUSED 127\.0\.0\.1:1$/m,
    );
  });

  it('whose certificate is not of the authority is not spoken to', async (t) => {
    const { ran, api } = await withConfig(t, ({ clusters: [first], ...config }) => ({
      ...config,
      clusters: [{ name: first?.name, cluster: { server: first?.cluster.server } }],
    }));
    isOneLine(ran, /^Cannot reach the API server .*certificate/);
    assert.deepEqual(api.asked, []);
  });

  it('that does not answer is not waited for longer than told', async (t) => {
    const { api, kubeconfig } = await fakeApi(t);
    fleet(api);
    api.behind.set('/api/v1/nodes', null);
    const ran = await plugin(['nodes', '--kubeconfig', kubeconfig, '--request-timeout', '300ms']);
    isOneLine(ran, /^Cannot reach the API server .*: no answer within 0\.3 s \(--request-timeout\)$/m);
  });

  it('is not waited for by a person who has stopped it', async (t) => {
    const { api, kubeconfig } = await fakeApi(t);
    fleet(api);
    api.behind.set('/api/v1/nodes', null);
    isOneLine(
      await plugin(['nodes', '--kubeconfig', kubeconfig], { signal: AbortSignal.timeout(200) }),
      /^Interrupted\.$/m,
    );
  });

  it('that refuses is quoted, with the rule that is missing', async (t) => {
    const { api, kubeconfig } = await fakeApi(t);
    fleet(api);
    api.behind.set('/api/v1/nodes', forbidden('list', 'nodes'));
    isOneLine(
      await plugin(['nodes', '--kubeconfig', kubeconfig]),
      /User "u" cannot list resource "nodes" .*kubectl auth can-i list nodes --as=u$/m,
    );
    api.behind.set('/api/v1/nodes', refusal(401, 'Unauthorized'));
    isOneLine(
      await plugin(['nodes', '--kubeconfig', kubeconfig]),
      /^The API server does not accept your credential/,
    );
  });

  it('that is none is told from one', async (t) => {
    const { api, kubeconfig } = await fakeApi(t);
    api.behind.set('/api/v1/nodes', { status: 200, body: '<html>', type: 'text/html' });
    isOneLine(await plugin(['nodes', '--kubeconfig', kubeconfig]), /with no JSON: is it an API server\?/);
    api.behind.set('/api/v1/nodes', { status: 502, body: '<html>\u001b[31mBad gateway', type: 'text/html' });
    isOneLine(await plugin(['nodes', '--kubeconfig', kubeconfig]), /502 <html>Bad gateway$/m);
  });
});
