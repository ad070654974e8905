import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import type { Cluster } from '../../cluster/cluster.ts';
import { evaluationPod, runPod } from '../../cluster/pods.ts';
import { waitFor } from '../../hack/run.ts';
import { markedBlock } from '../docs/marked-blocks.ts';
import { nameImageAsInGuides, UserDirectory } from '../docs/user-directory.ts';
import { waitForNode } from '../e2e/agents.ts';
import { runtimeClass, useOwnCluster } from '../e2e/e2e-cluster.ts';
import { runWithKubectl } from '../e2e/installation.ts';

/** Both nodes are labelled by hand; only the first has gVisor. */
const NODES = [{ name: 'node-1' }, { name: 'node-2', gvisor: 'none' }] as const;
const SCHEDULING = { nodeSelector: { 'example.org/gvisor': 'true' } };
const BY_HAND = runtimeClass('gvisor', 'runsc', SCHEDULING);
const PAGE = 'docs/migrate.md';

let cluster: Cluster;
let directory: UserDirectory;

/** Runs a block of the page in the reader's directory. */
function shell(mark: string): Promise<string> {
  return runWithKubectl(cluster, `cd '${directory.path}'\n${markedBlock(PAGE, mark, 'run')}`);
}

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
  await nameImageAsInGuides(cluster);
  directory = await UserDirectory.create();
});
after(() => directory?.remove());

describe('the commands of the page on migrating nodes labelled by hand', () => {
  it('install agents without changing the RuntimeClass, with another handler as well', async () => {
    await directory.reset(PAGE, 'without the RuntimeClass', 'another handler');
    assert.match(await cluster.kubectl(['kustomize', directory.path]), /name: HANDLERS\n +value: gvisor/);
    await directory.reset(PAGE, 'without the RuntimeClass');
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

  it('hand the RuntimeClass to the base without stopping a pod', async () => {
    await directory.reset();
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
