import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { deployAgent } from '../../cluster/labels.ts';
import { evaluationPod } from '../../cluster/pods.ts';
import { REPO } from '../../hack/paths.ts';
import { run, waitFor } from '../../hack/run.ts';
import { markedBlock } from '../docs/marked-blocks.ts';
import { UserDirectory } from '../docs/user-directory.ts';
import { applyOverlay, removeEnforcement, waitForRollout } from './agents.ts';
import { createNamespace, useCluster } from './e2e-cluster.ts';
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
    await kubectl('delete', 'clusterrole,clusterrolebinding', 'gvisor-ready-viewer', '--ignore-not-found');
    await directory.remove();
    await plugin.remove();
  });

  it('passes check --pre before an installation', async () => {
    const { code, text } = await plugin.run('check --pre');
    assert.equal(code, 0, text);
    assert.match(text, /2 passed: it can be installed\.$/m);
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
      /^✗ Pods +1 outside gVisor that must run in it, on node-2: see kubectl gvisor-ready pods -A$/m,
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
      /^✗ Pods: 1 outside gVisor that must run in it, on node-2: see kubectl gvisor-ready pods -A$/m,
    );
    await becomes(
      'check',
      1,
      /^✓ Nodes: proven on 2 of 2 nodes that should run gVisor; not expected: node-3 \(HandlerNotConfigured\)$/m,
    );
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
      // A dry run of a pod takes the right to create it, which a viewer has not.
      const text = result.text.replace(/What pods may do was not tried in [\s\S]*?see docs/, '');
      assert.doesNotMatch(text, /may not|forbidden/, argv);
    }
    await kubectl('-n', 'gvisor-ready', 'delete', 'rolebinding', 'reports');
    await becomes('pods', 2, /you may not read/, viewer);
    const newcomer = await plugin.kubeconfigOf('newcomer');
    await becomes('nodes', 2, /403 nodes is forbidden.* cannot list resource "nodes"/, newcomer);
    await becomes('nodes --as newcomer', 2, /User "newcomer" cannot list resource "nodes"/);
    await becomes('nodes --as newcomer --as-group system:masters', 0, /^node-1 /m);
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
