import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { breakAndWait, deployAgent, evaluationPod, healAndWait } from '../../cluster/story.ts';
import { REPO } from '../../hack/paths.ts';
import { run, waitFor } from '../../hack/run.ts';
import { markedBlocks } from '../docs/marked-blocks.ts';
import { UserDirectory } from '../docs/user-directory.ts';
import { applyOverlay, removeEnforcement, waitForRollout } from './agents.ts';
import { createNamespace, useCluster } from './e2e-cluster.ts';
import { marksOn, remainingObjects } from './installation.ts';
import { RecordedPlugin } from './recorded-plugin.ts';

const cluster = useCluster();
const NAMESPACE = 'evaluations';
const BASE = join(REPO, 'manifests/base');
const kubectl = (...args: readonly string[]) => cluster().kubectl(args, undefined, 180_000);
const createPod = (name: string, gvisor: boolean, node: string) => {
  const spec = { nodeSelector: { 'kubernetes.io/hostname': node } };
  return cluster().kubectl(['apply', '-n', NAMESPACE, '-f', '-'], evaluationPod(name, { gvisor, spec }));
};

describe('kubectl gvisor-ready', () => {
  let plugin: RecordedPlugin;
  /** Waits until the plugin exits with a code and prints a text. */
  const becomes = (argv: string, code: number, pattern: RegExp, kubeconfig?: string) =>
    waitFor(`${argv} to print ${pattern}`, 30_000, async () => {
      const run = await plugin.run(argv, kubeconfig);
      return run.code === code && pattern.test(run.text);
    });

  before(async () => {
    plugin = await RecordedPlugin.install(cluster());
    await kubectl('delete', '-k', BASE, '--ignore-not-found');
  });
  after(async () => {
    await removeEnforcement(cluster());
    await kubectl('delete', 'namespace', NAMESPACE, '--ignore-not-found');
    const ours = ['gvisor-ready-viewer', 'gvisor-ready-exec'];
    await kubectl('delete', 'clusterrole,clusterrolebinding', ...ours, '--ignore-not-found');
    await plugin.remove();
  });

  it('passes check --pre before an installation', async () => {
    const { code, text } = await plugin.run('check --pre');
    assert.equal(code, 0, text);
    assert.match(text, /5 passed: it can be installed\.$/m);
  });

  it('prints the fleet', async () => {
    await deployAgent(cluster(), BASE);
    await applyOverlay(cluster(), ['enforce']);
    await waitForRollout(cluster());
    await createNamespace(cluster(), NAMESPACE);
    await createPod('plain', false, 'node-2');
    await createPod('in', true, 'node-2');
    await kubectl('wait', '-n', NAMESPACE, 'pod/plain', 'pod/in', '--for=condition=Ready', '--timeout=170s');
    await kubectl('label', 'namespace', NAMESPACE, 'require-gvisor=true');
    await plugin.matches('status', 'status', 1);
    await plugin.matches('nodes', 'nodes', 0);
    assert.equal((await plugin.run('why node-1')).code, 0);
  });

  it('prints the pods with their runtime, and explains one outside gVisor', async () => {
    await becomes(`pods -n ${NAMESPACE}`, 1, /^in +yes .*\nplain +no /m);
    // The agent may have read its pods before the namespace required gVisor.
    await becomes(`why plain -n ${NAMESPACE}`, 1, / UnsandboxedPod \S+ ago: /);
    await plugin.matches('pods', `pods -n ${NAMESPACE} -o wide`, 1);
    await plugin.matches('why-plain', `why plain -n ${NAMESPACE}`, 1);
    await plugin.matches('check', 'check', 1);
  });

  it('explains a Deployment whose pods are denied', async () => {
    await kubectl('-n', NAMESPACE, 'create', 'deployment', 'web', '--image=busybox');
    await becomes(`why web -n ${NAMESPACE}`, 1, /denies/);
    await plugin.matches('why-refused', `why web -n ${NAMESPACE}`, 1);
    await kubectl('-n', NAMESPACE, 'delete', 'deployment', 'web');
  });

  it('follows a node that loses and regains its shim, and explains the node and a pending pod', async (t) => {
    const watch = spawn('kubectl', ['gvisor-ready', 'nodes', '-w'], {
      env: plugin.env(),
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    t.after(() => watch.kill());
    let printed = '';
    watch.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      printed += chunk;
    });
    const line = (pattern: RegExp) => waitFor(`a line ${pattern}`, 30_000, async () => pattern.test(printed));
    await line(/^node-3 .*\n/m);
    await breakAndWait(cluster(), 'node-1', 'shim-missing');
    await line(/^node-1 +false +ShimNotFound.*\n/m);
    await plugin.matches('why-broken', 'why node-1', 1);
    await createPod('waits', true, 'node-1');
    await becomes(`why waits -n ${NAMESPACE}`, 1, /nodes are available/);
    await plugin.matches('why-pending', `why waits -n ${NAMESPACE}`, 1);
    printed = printed.replace(/(ShimNotFound[^\n]*\n)[\s\S]*/, '$1');
    await healAndWait(cluster(), 'node-1');
    await line(/ShimNotFound.*\n(.*\n)*node-1 +true +SandboxProven.*\n/m);
    watch.kill('SIGINT');
    await once(watch, 'exit');
    const lines = printed.split('\n').filter((each) => each !== '');
    const changes = lines.filter(
      (each, at) => at < 4 || /(false +ShimNotFound|true +SandboxProven)/.test(each),
    );
    await plugin.assertRecorded('watch', 'nodes -w', 0, { code: 0, text: `${changes.join('\n')}\n` });
  });

  it('needs only the documented permissions, and reports missing ones', async () => {
    const [rights] = markedBlocks('docs/kubectl.md').filter(({ kind }) => kind === 'apply');
    await cluster().kubectl(['apply', '-f', '-'], rights?.text ?? '');
    const viewer = await plugin.kubeconfigOf('viewer');
    const bind = (kind: string, name: string, ...args: readonly string[]) =>
      kubectl('create', kind, name, '--user=viewer', ...args);
    await bind('clusterrolebinding', 'gvisor-ready-viewer', '--clusterrole=gvisor-ready-viewer');
    await bind('rolebinding', 'reports', '-n', 'gvisor-ready', '--role=gvisor-ready-reports');
    await becomes('pods', 1, /plain +no/, viewer);
    for (const [argv, code] of [
      ['status', 1],
      ['nodes', 0],
      ['why node-1', 0],
      ['why plain', 1],
      ['pods -A', 1],
      ['check', 1],
    ] as const) {
      const result = await plugin.run(argv, viewer);
      assert.equal(result.code, code, `${argv}\n${result.text}`);
      assert.doesNotMatch(result.text, /may not|forbidden/, argv);
    }
    await kubectl('-n', 'gvisor-ready', 'delete', 'rolebinding', 'reports');
    await becomes('pods', 2, /you may not read/, viewer);
    await plugin.matches('no-reports-pods', 'pods', 2, viewer);
    await plugin.matches('no-rights', 'nodes', 2, await plugin.kubeconfigOf('newcomer'));
  });

  it('supports exec credential plugins, Node 20 and shell completion', async () => {
    const token = (await kubectl('create', 'token', '-n', NAMESPACE, 'default')).trim();
    await kubectl(
      'create',
      'clusterrolebinding',
      'gvisor-ready-exec',
      '--clusterrole=gvisor-ready-viewer',
      `--serviceaccount=${NAMESPACE}:default`,
    );
    const command = join(plugin.directory, 'credential');
    const apiVersion = 'client.authentication.k8s.io/v1';
    const credential = JSON.stringify({ apiVersion, kind: 'ExecCredential', status: { token } });
    await writeFile(command, `#!/bin/sh\ntest -n "$KUBERNETES_EXEC_INFO" && echo '${credential}'\n`);
    await chmod(command, 0o755);
    const kubeconfig = await plugin.kubeconfigOf('exec', (config) => {
      const exec = { apiVersion, command, interactiveMode: 'IfAvailable' };
      config.users = [{ name: 'exec', user: { exec } }];
    });
    await becomes('nodes -o json', 0, /SandboxProven/, kubeconfig);
    const { text } = await plugin.run('nodes -o json', kubeconfig);
    const env = plugin.env(kubeconfig);
    const npx = ['-y', '--package=node@20', 'node', '-p', 'process.execPath'];
    const node20 = (await run('npx', npx, { timeoutMs: 300_000 })).trim();
    assert.match(await run(node20, ['-p', 'process.version']), /^v20\./);
    const bundle = join(plugin.directory, 'bin/kubectl-gvisor_ready');
    assert.equal(await run(node20, [bundle, 'nodes', '-o', 'json'], { env }), text);
    assert.match(
      await run('kubectl', ['__complete', 'gvisor-ready', 'why', 'node-'], { env }),
      /^node-1\nnode-2\nnode-3\n:4$/m,
    );
  });

  it('reports and removes labels without agents', async () => {
    await removeEnforcement(cluster());
    await kubectl('-n', 'gvisor-ready', 'delete', 'daemonset', 'gvisor-ready-agent');
    const agents = ['pod', '-l', 'app.kubernetes.io/component=agent'];
    await kubectl('-n', 'gvisor-ready', 'wait', ...agents, '--for=delete', '--timeout=170s');
    const { code, text } = await plugin.run('status');
    assert.equal(code, 1);
    assert.match(text, /^label without agent +2 +node-1, node-2$/m);
    assert.equal((await plugin.run('uninstall')).code, 64);
    await plugin.matches('uninstall', 'uninstall --yes', 0);
    assert.doesNotMatch(await kubectl('get', 'nodes', '-o', 'json'), /gvisor\.node-restriction|GVisorReady/);
    await deployAgent(cluster(), BASE);
  });

  // `test/smoke` runs the block of the page that only uses kubectl.
  it('leaves nothing behind after the uninstall of docs/operations.md', async () => {
    const block = markedBlocks('docs/operations.md').find(({ mark }) => mark === 'plugin');
    const directory = await UserDirectory.create();
    const options = { cwd: directory.path, env: plugin.env(), timeoutMs: 240_000 };
    assert.match(
      await run('/bin/sh', ['-euc', block?.text ?? 'exit 1'], options).finally(() => directory.remove()),
      /^3 of 3 nodes to clean$/m,
    );
    for (const { name } of cluster().nodes()) assert.deepEqual(await marksOn(cluster(), name), [], name);
    const remaining = await remainingObjects(cluster());
    assert.deepEqual(
      remaining.filter((name) => /gvisor-ready(?!-(viewer|exec))|\/gvisor$/.test(name)),
      [],
    );
  });
});
