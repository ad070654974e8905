import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { breakAndWait, deployAgent, evaluationPod, healAndWait } from '../../cluster/story.ts';
import { REPO } from '../../hack/paths.ts';
import { run, waitFor } from '../../hack/run.ts';
import { markedBlock } from '../docs/marked-blocks.ts';
import { UserDirectory } from '../docs/user-directory.ts';
import { applyOverlay, removeEnforcement, waitForRollout } from './agents.ts';
import { createNamespace, useCluster } from './e2e-cluster.ts';
import { marksOn } from './installation.ts';
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
  let directory: UserDirectory;
  /** Waits until the plugin exits with a code and prints a text. */
  const becomes = (argv: string, code: number, pattern: RegExp, kubeconfig?: string) =>
    waitFor(`${argv} to print ${pattern}`, 30_000, async () => {
      const run = await plugin.run(argv, kubeconfig);
      return run.code === code && pattern.test(run.text);
    });

  /** Runs a script of the guides in the reader's directory. */
  const shell = (script: string) =>
    run('/bin/sh', ['-euc', script], { cwd: directory.path, env: plugin.env(), timeoutMs: 240_000 });

  before(async () => {
    plugin = await RecordedPlugin.install(cluster());
    directory = await UserDirectory.create();
    await kubectl('delete', '-k', BASE, '--ignore-not-found');
  });
  after(async () => {
    await removeEnforcement(cluster());
    await kubectl('delete', 'namespace', NAMESPACE, '--ignore-not-found');
    const ours = ['gvisor-ready-viewer', 'gvisor-ready-exec'];
    await kubectl('delete', 'clusterrole,clusterrolebinding', ...ours, '--ignore-not-found');
    await directory.remove();
    await plugin.remove();
  });

  it('passes check --pre before an installation', async () => {
    const { code, text } = await plugin.run('check --pre');
    assert.equal(code, 0, text);
    assert.match(text, /4 passed: it can be installed\.$/m);
  });

  it('prints the fleet', async () => {
    await deployAgent(cluster(), BASE);
    await applyOverlay(cluster(), ['enforce']);
    await waitForRollout(cluster());
    await createNamespace(cluster(), NAMESPACE);
    await createPod('plain', false, 'node-2');
    await createPod('in', true, 'node-2');
    await kubectl('wait', '-n', NAMESPACE, 'pod/plain', 'pod/in', '--for=condition=Ready', '--timeout=170s');
    await kubectl('label', 'namespace', NAMESPACE, 'gvisor-ready.dev/require=true');
    await becomes(
      'status',
      1,
      /^✗ Pods +1 outside gVisor where it is required, on node-2: see kubectl gvisor-ready pods -A$/m,
    );
    await plugin.matches('status', 'status', 1);
    const { text } = await plugin.run('nodes');
    assert.match(text, /^NAME +STATUS +EXPECTED +READY +REASON +SINCE +AGENT +RUNSC$/m);
    assert.match(text, /^node-1 +Ready +yes +true +SandboxProven +\w+ +Ready +release-20260223\.0$/m);
    assert.match(text, /^node-3 +Ready +no +false +HandlerNotConfigured +\w+ +Ready +-$/m);
    assert.equal((await plugin.run('why node-1')).code, 0);
  });

  it('prints the pods with their runtime, and explains one outside gVisor', async () => {
    await becomes(`pods -n ${NAMESPACE}`, 1, /^in +yes .*\nplain +no /m);
    // The agent may have read its pods before the namespace required gVisor.
    await becomes(`why plain -n ${NAMESPACE}`, 1, / UnsandboxedPod \S+ ago: /);
    await plugin.matches('pods', `pods -n ${NAMESPACE} -o wide`, 1);
    await becomes(
      'check',
      1,
      /^✗ Pods: 1 outside gVisor where it is required, on node-2: see kubectl gvisor-ready pods -A$/m,
    );
    await becomes(
      'check',
      1,
      /^✓ Nodes: 2 of 2 nodes that should run gVisor; not expected: node-3 \(HandlerNotConfigured\)$/m,
    );
  });

  it('explains a Deployment whose pods are denied', async () => {
    await kubectl('-n', NAMESPACE, 'create', 'deployment', 'web', '--image=busybox');
    await becomes(
      `why web -n ${NAMESPACE}`,
      1,
      /the API server denies the pods of web-[\s\S]*runtimeClassName: gvisor/,
    );
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
    await line(/^node-1 +Ready +yes +false +ShimNotFound.*\n/m);
    await becomes(
      'why node-1',
      1,
      /^✗ node-1: gVisor does not work here \(ShimNotFound, for \w+\)\n[\s\S]* {2}ShimNotFound: Install/,
    );
    await createPod('waits', true, 'node-1');
    await becomes(`why waits -n ${NAMESPACE}`, 1, /nodes are available/);
    printed = printed.replace(/(ShimNotFound[^\n]*\n)[\s\S]*/, '$1');
    await healAndWait(cluster(), 'node-1');
    await line(/ShimNotFound.*\n(.*\n)*node-1 +Ready +yes +true +SandboxProven.*\n/m);
    watch.kill('SIGINT');
    const [code] = await once(watch, 'exit');
    assert.equal(code, 0);
  });

  it('needs only the documented permissions, and reports missing ones', async () => {
    await cluster().kubectl(['apply', '-f', '-'], markedBlock('docs/kubectl.md', 'rights', 'apply'));
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
    const newcomer = await plugin.kubeconfigOf('newcomer');
    await becomes(
      'nodes',
      2,
      /403 nodes is forbidden.*kubectl auth can-i list nodes --as=newcomer$/m,
      newcomer,
    );
    await becomes('nodes --as newcomer', 2, /User "newcomer" cannot list resource "nodes"/);
    await becomes('nodes --as newcomer --as-group system:masters', 0, /^node-1 /m);
    await becomes(
      'version',
      0,
      /^Agent Version: \S+ on 3 nodes\nFleet Controller Version: \S+\nServer Version: v1/m,
    );
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

  it('alarms while the fleet controller is scaled to 0', async () => {
    const scale = (replicas: number) =>
      kubectl('-n', 'gvisor-ready', 'scale', 'deployment/gvisor-ready-fleet', `--replicas=${replicas}`);
    await scale(0);
    await becomes('status', 1, /^✗ Fleet +the controller withdraws no labels: it is scaled to 0/m);
    await scale(1);
    await becomes('status', 1, /^✓ Fleet +controller Ready/m);
  });

  it('is green in a mixed cluster once nothing is wrong', async () => {
    await kubectl('-n', NAMESPACE, 'delete', 'pod', 'plain', 'waits', '--ignore-not-found');
    const { code, text } = await plugin.run('status --wait --timeout 60s');
    assert.equal(code, 0, text);
    assert.match(text, /^✓ Nodes +2 of 2 nodes that should run gVisor$/m);
    assert.match(text, /^NOT EXPECTED +NODES +WHICH\nHandlerNotConfigured +1 +node-3$/m);
  });

  it('writes a support bundle of real logs and reports', async () => {
    const file = join(plugin.directory, 'bundle.tar.gz');
    const { code, text } = await plugin.run(`support-bundle -o ${file}`);
    assert.equal(code, 0, text);
    const names = await run('tar', ['-tzf', file]);
    for (const name of ['reports/node-1.json', 'objects/deployment.json', 'events/nodes.json', 'about.json'])
      assert.ok(names.includes(`gvisor-ready/${name}\n`), names);
    const logs = names.split('\n').filter((name) => /logs\/gvisor-ready-(agent|fleet)-\S+\.log$/.test(name));
    assert.ok(logs.length >= 4, names);
    assert.match(await run('tar', ['-xzOf', file, ...logs]), /"level":/);
  });

  it('cleans a node that left the DaemonSet, and no other', async () => {
    const remains = await plugin.run('clean node-2 --yes');
    assert.equal(remains.code, 1);
    assert.match(remains.text, /^An agent is still on node-2 and would write again/);
    const expressions = [{ key: 'kubernetes.io/hostname', operator: 'NotIn', values: ['node-2'] }];
    const terms = { nodeSelectorTerms: [{ matchExpressions: expressions }] };
    const affinity = { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: terms } };
    const setAffinity = (value: object | null) => {
      const patch = JSON.stringify({ spec: { template: { spec: { affinity: value } } } });
      return kubectl('-n', 'gvisor-ready', 'patch', 'daemonset', 'gvisor-ready-agent', '-p', patch);
    };
    await setAffinity(affinity);
    await becomes('clean node-2 --yes', 0, /^1 of 1 node to clean\nnode-2: cleaned$/m);
    assert.deepEqual(await marksOn(cluster(), 'node-2'), []);
    assert.notDeepEqual(await marksOn(cluster(), 'node-1'), []);
    await setAffinity(null);
    await becomes('status --wait --timeout 60s', 0, /^✓ Nodes +2 of 2 nodes that should run gVisor$/m);
  });

  // `test/smoke` runs the block of the page that only uses kubectl.
  it('reports labels without agents, which the uninstall of docs/operations.md removes', async () => {
    await removeEnforcement(cluster());
    const [stop = '', ...rest] = markedBlock('docs/operations.md', 'plugin').split('\n');
    await shell(stop);
    const { code, text } = await plugin.run('status');
    assert.equal(code, 1);
    assert.match(text, /^LabelWithoutAgent +2 +node-1, node-2$/m);
    assert.equal((await plugin.run('uninstall')).code, 64);
    assert.match(await shell(rest.join('\n')), /^3 of 3 nodes to clean\n(node-\d: cleaned\n){3}/m);
    assert.doesNotMatch(await kubectl('get', 'nodes', '-o', 'json'), /gvisor\.node-restriction|GVisorReady/);
  });
});
