import assert from 'node:assert/strict';
import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, describe, it } from 'node:test';
import type { Cluster } from '../../cluster/cluster.ts';
import { evaluationPod, runPod } from '../../cluster/story.ts';
import { REPO } from '../../hack/paths.ts';
import { run, runAll, waitFor } from '../../hack/run.ts';
import { markedBlocks } from '../docs/marked-blocks.ts';
import { waitForNode } from './agents.ts';
import { runtimeClass, useOwnCluster } from './e2e-cluster.ts';

/** Both nodes are labelled by hand; only the first has gVisor. */
const NODES = [{ name: 'node-1' }, { name: 'node-2', gvisor: 'none' }] as const;
const SCHEDULING = { nodeSelector: { 'example.org/gvisor': 'true' } };
const BY_HAND = runtimeClass('gvisor', 'runsc', SCHEDULING);
const BLOCKS = markedBlocks('docs/migrate.md');

let cluster: Cluster;
let directory = '';

function block(kind: string, mark: string): string {
  const found = BLOCKS.find((one) => one.kind === kind && one.mark === mark);
  assert.ok(found !== undefined, `docs/migrate.md has no block "${kind}: ${mark}"`);
  return found.text;
}

/** Runs a block of the page in the reader's directory. */
function shell(mark: string): Promise<string> {
  const path = `${dirname(cluster.kubectlCommand([]).command)}:${process.env.PATH}`;
  const env = { ...process.env, PATH: path, KUBECONFIG: cluster.kubeconfig };
  return run('/bin/sh', ['-euc', block('run', mark)], { cwd: directory, env, timeoutMs: 400_000 });
}

const kustomize = (text: string) => writeFile(join(directory, 'kustomization.yaml'), text);

/** Waits until new gVisor pods have this number of node selector labels, runs one, and returns selector and node. */
async function placed(name: string, labels: number): Promise<{ node: string; selector: readonly string[] }> {
  const pod = evaluationPod(name, { gvisor: true });
  const selector = await waitFor(
    `new pods with ${labels} labels in their node selector`,
    20_000,
    async () => {
      const dry = ['create', '--dry-run=server', '-o', 'json', '-f', '-'];
      const { spec } = JSON.parse(await cluster.kubectl(dry, pod)) as {
        readonly spec: { readonly nodeSelector: object };
      };
      const keys = Object.keys(spec.nodeSelector);
      return keys.length === labels ? keys : undefined;
    },
  );
  return { node: await runPod(cluster, name, pod, 120_000), selector };
}

useOwnCluster('migrate', NODES, async (started) => {
  cluster = started;
  await cluster.kubectl(['label', 'nodes', '--all', 'example.org/gvisor=true']);
  await cluster.kubectl(['create', '-f', '-'], BY_HAND);
  const older = evaluationPod('older', { gvisor: true, spec: { nodeName: 'node-1' } });
  await runPod(cluster, 'older', older, 120_000);
  directory = await mkdtemp(join(tmpdir(), 'migrate-'));
  await symlink(REPO, join(directory, 'gvisor-ready'));
});
after(() => rm(directory, { recursive: true, force: true }));

describe('the commands of the page on migrating nodes labelled by hand', () => {
  it('are needed: applying the base over a RuntimeClass with another handler fails', async () => {
    assert.equal(await shell('look'), 'runsc {"example.org/gvisor":"true"}\n');
    await cluster.kubectl(['create', '-f', '-'], runtimeClass('other', 'other', SCHEDULING));
    const changed = runtimeClass('other', 'runsc', SCHEDULING);
    const { command, args } = cluster.kubectlCommand(['apply', '-f', '-']);
    assert.match((await runAll(command, args, { input: changed })).stderr, /field is immutable/);
  });

  it('install agents without changing the RuntimeClass, with another handler as well', async () => {
    const text = block('file', 'without the RuntimeClass');
    await kustomize(text + block('file', 'another handler'));
    assert.match(await cluster.kubectl(['kustomize', directory]), /name: HANDLER\n +value: gvisor/);
    await kustomize(text);
    await shell('install');
    await waitForNode(cluster, 'node-1', ({ ready }) => ready === 'true', 120_000);
    await waitForNode(cluster, 'node-2', ({ ready }) => ready === 'false', 120_000);
    assert.equal(await shell('look'), 'runsc {"example.org/gvisor":"true"}\n');
  });

  it('list labelled nodes without gVisor', async () => {
    assert.match(await shell('compare'), /\nNODE +WHY\nnode-2 +HandlerNotConfigured\n$/);
  });

  it('move new pods to proven nodes, and can be reverted', async () => {
    await shell('select');
    assert.equal((await placed('both', 2)).node, 'node-1');
  });

  it('remove the old label, and list the pods that still need it', async () => {
    await shell('forget');
    const { node, selector } = await placed('proven', 1);
    assert.deepEqual([node, selector], ['node-1', ['gvisor.node-restriction.kubernetes.io/ready']]);
    assert.equal(await shell('older'), 'default/both\ndefault/older\n');
    await cluster.kubectl(['delete', 'pod', 'older', 'both', '--grace-period=0', '--force']);
    assert.equal(await shell('older'), '');
    assert.match(await shell('labels'), /^node\/node-1 unlabeled$/m);
  });

  const others = [
    ...markedBlocks('docs/gitops.md').filter(({ mark }) => mark === 'kustomization'),
    ...markedBlocks('docs/distributions.md').filter(({ mark }) => mark === 'k3s'),
  ];
  it('dry-run the kustomizations of docs/gitops.md and for k3s', async () => {
    assert.equal(others.length, 2);
    for (const { text } of others) await assertAccepted(text);
  });
  async function assertAccepted(text: string): Promise<void> {
    await kustomize(text.replace(/https:.*gvisor-ready\/\//g, 'gvisor-ready/').replace(/\?ref=.*/g, ''));
    const printed = await cluster.kubectl(['apply', '--dry-run=server', '-k', directory]);
    assert.match(printed, /^daemonset\.apps\/gvisor-ready-agent \w+ \(server dry run\)$/m);
    assert.match(
      await cluster.kubectl(['kustomize', directory]),
      /image: registry\.example\.org\/gvisor-ready:/,
    );
  }

  it('hand the RuntimeClass to the base without stopping a pod', async () => {
    const [resources = ''] = block('file', 'without the RuntimeClass').split('patches:');
    await kustomize(resources);
    await shell('install again');
    assert.equal(await shell('look'), 'runsc {"gvisor.node-restriction.kubernetes.io/ready":"true"}\n');
    const { items } = JSON.parse(await cluster.get('/api/v1/namespaces/default/pods')) as {
      items: { metadata: { name: string }; status: { phase: string } }[];
    };
    assert.deepEqual(
      items.map(({ metadata, status }) => `${metadata.name} ${status.phase}`),
      ['proven Running'],
    );
  });
});
