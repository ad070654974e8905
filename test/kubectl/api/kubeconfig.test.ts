import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { configOf, fakeApi } from '../fake-api.ts';
import { fleet, openFleet } from '../fleet.ts';
import { type PluginResult, plugin } from '../run-plugin.ts';

type Config = ReturnType<typeof configOf>;

/** Runs `nodes` with a changed kubeconfig. */
async function withConfig(t: TestContext, change: (config: Config) => object, argv: readonly string[] = []) {
  const fake = await fakeApi(t);
  fleet(fake.api);
  const server = JSON.parse(await readFile(fake.kubeconfig, 'utf8')).clusters[0].cluster.server as string;
  await writeFile(fake.kubeconfig, JSON.stringify(change(configOf(server, fake.directory))));
  return { ...fake, result: await plugin(['nodes', '--kubeconfig', fake.kubeconfig, ...argv]) };
}

/** Asserts one line of error and exit code 2. */
function assertError(ran: PluginResult, pattern: RegExp): void {
  assert.match(ran.err, pattern);
  assert.deepEqual([ran.code, ran.out, ran.err.trim().split('\n').length], [2, '', 1]);
}

const execUser = (exec: object) => (config: Config) => ({
  ...config,
  users: [{ name: 'u', user: { exec } }],
});
const failing = (command: string) => execUser({ command, args: ['-c', 'echo log in first >&2; exit 1'] });
const changeCluster = (change: object) => (config: Config) => ({
  ...config,
  clusters: config.clusters.map(({ name, cluster }) => ({ name, cluster: { ...cluster, ...change } })),
});

type Case = readonly [error: string, argv: string, change?: (config: Config) => object];
const CONTEXTS = 'its contexts: fake, other';
const CREDENTIAL = 'Cannot use the credential of the context "fake"';
const INVALID: Readonly<Record<string, Case>> = {
  'an unknown context': [`The kubeconfig has no context "prod"; ${CONTEXTS}`, '--context prod'],
  'no current context': [
    `The kubeconfig has no current context; name one with --context; ${CONTEXTS}`,
    '',
    (config) => ({ ...config, 'current-context': '' }),
  ],
  'a context without its cluster': [
    'The context "other" names the cluster "gone", which the kubeconfig does not have',
    '--context other',
  ],
  'a credential plugin that fails': [`${CREDENTIAL}: log in first`, '', failing('sh')],
  'a missing credential plugin': [`${CREDENTIAL}: ENOENT`, '', failing('no-such-program')],
  'a server that is down': [
    'Cannot reach the API server https://127.0.0.1:1 (context "fake"): connect ECONNREFUSED 127.0.0.1:1',
    '',
    changeCluster({ server: 'https://127.0.0.1:1' }),
  ],
};

describe('kubeconfig', () => {
  for (const [what, [error, argv, change = (config: Config) => config]] of Object.entries(INVALID))
    it(`reports ${what} in one line`, async (t) => {
      const { result } = await withConfig(t, change, argv.split(' ').filter(Boolean));
      assert.deepEqual(result, { code: 2, out: '', err: `${error}\n` });
    });

  it('reports a file that cannot be read or parsed', async (t) => {
    const { directory } = await fakeApi(t);
    await writeFile(join(directory, 'torn'), 'a: [');
    for (const [name, cause] of [
      ['none', 'ENOENT'],
      ['torn', ''],
    ] as const)
      assertError(
        await plugin(['nodes', '--kubeconfig', join(directory, name)]),
        new RegExp(`^Cannot read the kubeconfig .*${name}: ${cause}`),
      );
  });

  it('runs an exec credential plugin with the environment of kubectl', async (t) => {
    const script =
      'printf \'{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"%s"}}\' "$(echo "$KUBERNETES_EXEC_INFO" | grep -o client.authentication.k8s.io/v1)"';
    const { api, result } = await withConfig(
      t,
      execUser({
        apiVersion: 'client.authentication.k8s.io/v1',
        command: 'sh',
        args: ['-c', script],
        interactiveMode: 'IfAvailable',
      }),
    );
    assert.equal(result.code, 0, result.err);
    assert.deepEqual(new Set(api.authorizations), new Set(['Bearer client.authentication.k8s.io/v1']));
  });

  it('sends nothing to a server with an untrusted certificate', async (t) => {
    const { result, api } = await withConfig(t, changeCluster({ 'certificate-authority': undefined }));
    assertError(result, /^Cannot reach the API server .*certificate/);
    assert.deepEqual(api.requests, []);
  });

  it('merges the files of KUBECONFIG, and takes the current context from the first', async (t) => {
    const { kubeconfig, directory } = await openFleet(t);
    const second = join(directory, 'second');
    const contexts = [{ name: 'x', context: { cluster: 'fake', user: 'u' } }];
    await writeFile(second, JSON.stringify({ 'current-context': 'x', contexts, clusters: [], users: [] }));
    const before = process.env.KUBECONFIG;
    process.env.KUBECONFIG = `${kubeconfig}:${second}`;
    t.after(() => {
      if (before === undefined) delete process.env.KUBECONFIG;
      else process.env.KUBECONFIG = before;
    });
    const { out } = await plugin(['status', '-o', 'json']);
    assert.equal((JSON.parse(out) as { context: string }).context, 'fake');
    assert.equal((await plugin(['nodes', '--context', 'x'])).code, 0);
  });
});
