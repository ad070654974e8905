import assert from 'node:assert/strict';
import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { deployAgent } from '../../cluster/story.ts';
import { REPO } from '../../hack/paths.ts';
import { run, waitFor } from '../../hack/run.ts';
import { markedBlocks } from '../docs/marked-blocks.ts';
import { removeEnforcement } from './agents.ts';
import { useCluster } from './e2e-cluster.ts';
import { evaluate } from './plugin-fleet.ts';
import { type AskOptions, Plugin } from './plugin-run.ts';

const cluster = useCluster();
const NAMESPACE = 'evaluations';
const kubectl = (...args: readonly string[]) => cluster().kubectl(args, undefined, 120_000);
const apply = (object: string) => cluster().kubectl(['apply', '-f', '-'], object);

describe('kubectl gvisor-ready, with less than it wants', () => {
  let plugin: Plugin;
  const shows = (mark: string, words: string, code: number, options: AskOptions = {}) =>
    plugin.shows(mark, words, code, options);

  before(async () => {
    plugin = await Plugin.open(cluster());
    await evaluate(cluster(), plugin);
  });
  after(async () => {
    await removeEnforcement(cluster());
    await kubectl('delete', 'namespace', NAMESPACE, '--ignore-not-found');
    const ours = ['gvisor-ready-viewer', 'gvisor-ready-exec'];
    await kubectl('delete', 'clusterrole,clusterrolebinding', ...ours, '--ignore-not-found');
    await plugin.close();
  });

  it("does with the rights that the page names, and says what is missing without the agents' reports", async () => {
    const [rights] = markedBlocks('docs/kubectl.md').filter(({ kind }) => kind === 'apply');
    await apply(rights?.text ?? '');
    const viewer = await plugin.kubeconfigOf('viewer');
    await kubectl(
      'create',
      'clusterrolebinding',
      'gvisor-ready-viewer',
      '--clusterrole=gvisor-ready-viewer',
      '--user=viewer',
    );
    await kubectl(
      '-n',
      'gvisor-ready',
      'create',
      'rolebinding',
      'gvisor-ready-reports',
      '--role=gvisor-ready-reports',
      '--user=viewer',
    );
    const options = { kubeconfig: viewer };
    await waitFor('the rights to be in force', 20_000, async () =>
      (await plugin.ask(['pods'], options)).code === 1 ? true : undefined,
    );
    for (const [words, code] of [
      ['status', 1],
      ['nodes', 0],
      ['why node-1', 0],
      ['why plain', 1],
      ['pods', 1],
      ['pods -A', 1],
      ['check', 1],
    ] as const) {
      const { code: real, text } = await plugin.ask(words.split(' '), options);
      assert.equal(real, code, `${words}\n${text}`);
      assert.doesNotMatch(text, /may not|forbidden/, words);
    }
    await kubectl('-n', 'gvisor-ready', 'delete', 'rolebinding', 'gvisor-ready-reports');
    await waitFor('the right to be gone', 20_000, async () =>
      (await plugin.ask(['pods'], options)).code === 2 ? true : undefined,
    );
    await shows('no-reports-why', 'why node-3', 1, options);
    await shows('no-reports-pods', 'pods', 2, options);
  });

  it('is one clear line and 2 where it cannot look, and 64 where it is asked wrongly', async () => {
    const nobody = await plugin.kubeconfigOf('newcomer');
    await shows('wrong-context', 'nodes --context production', 2, { kubeconfig: nobody });
    const away = await plugin.kubeconfigOf('away', ({ clusters: [first] }) => {
      if (first !== undefined) first.cluster.server = 'https://127.0.0.1:1';
    });
    await shows('away', 'status', 2, { kubeconfig: away });
    await shows('no-rights', 'nodes', 2, { kubeconfig: nobody });
    await shows('no-node', 'why node-9', 2, { kubeconfig: await plugin.kubeconfigOf('viewer') });
    await shows('bad-flag', 'nodes -o table', 64);
  });

  it('logs in with an exec credential plugin, with Node 20, and completes words', async () => {
    const token = (await kubectl('create', 'token', '-n', NAMESPACE, 'default')).trim();
    await kubectl(
      'create',
      'clusterrolebinding',
      'gvisor-ready-exec',
      '--clusterrole=gvisor-ready-viewer',
      `--serviceaccount=${NAMESPACE}:default`,
    );
    const script = join(plugin.folder, 'credential');
    const credential = {
      apiVersion: 'client.authentication.k8s.io/v1',
      kind: 'ExecCredential',
      status: { token },
    };
    await writeFile(
      script,
      `#!/bin/sh\ntest -n "$KUBERNETES_EXEC_INFO" && echo '${JSON.stringify(credential)}'\n`,
    );
    await chmod(script, 0o755);
    const kubeconfig = await plugin.kubeconfigOf('exec', (config) => {
      config.users = [
        {
          name: 'exec',
          user: {
            exec: {
              apiVersion: 'client.authentication.k8s.io/v1',
              command: script,
              interactiveMode: 'IfAvailable',
            },
          },
        },
      ];
    });
    const text = await waitFor('the rights to be in force', 20_000, async () => {
      const { code, text } = await plugin.ask(['nodes', '-o', 'json'], { kubeconfig });
      assert.equal(code, 0, text);
      return text;
    });
    const node20 = (
      await run('npx', ['-y', '--package=node@20', 'node', '-p', 'process.execPath'], { timeoutMs: 300_000 })
    ).trim();
    const old = await run(node20, ['-p', 'process.version']);
    assert.match(old, /^v20\./);
    assert.equal(
      await run(node20, [join(plugin.folder, 'bin/kubectl-gvisor_ready'), 'nodes', '-o', 'json'], {
        env: plugin.env({ kubeconfig }),
      }),
      text,
    );
    assert.match(
      await run('kubectl', ['__complete', 'gvisor-ready', 'why', 'node-'], {
        env: plugin.env({ kubeconfig }),
      }),
      /^node-1\nnode-2\nnode-3\n:4$/m,
    );
  });

  it('finds labels without agents, and takes them off', async () => {
    await removeEnforcement(cluster());
    await kubectl('-n', 'gvisor-ready', 'delete', 'daemonset', 'gvisor-ready-agent');
    await kubectl(
      '-n',
      'gvisor-ready',
      'wait',
      'pod',
      '--for=delete',
      '-l',
      'app.kubernetes.io/component=agent',
      '--timeout=180s',
    );
    await shows('no-agents', 'status', 1);
    assert.equal((await plugin.ask(['uninstall'])).code, 64, 'asks, and there is nobody to ask');
    await shows('uninstall', 'uninstall --yes', 0);
    const after = await kubectl('get', 'nodes', '-o', 'json');
    assert.doesNotMatch(after, /gvisor\.node-restriction|GVisorReady/);
    await deployAgent(cluster(), join(REPO, 'manifests/base'));
  });
});
