import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import type { Cluster } from '../../cluster/cluster.ts';
import { imageName } from '../../cluster/images.ts';
import { removeCluster } from '../../cluster/remove.ts';
import { startCluster } from '../../cluster/start.ts';
import { evaluationPod, runPod, viewNodes } from '../../cluster/story.ts';
import { patient, waitFor } from '../../hack/run.ts';
import { substituteSettings } from '../docs/marked-blocks.ts';
import { laneCluster } from '../runner/lane.ts';
import { DOMAIN, readNode, waitForNode } from './agents.ts';
import { createMirrors, followOn, guideBlocks } from './guide-node.ts';
import { runWithKubectl } from './installation.ts';

/** Nodes without gVisor, which the guide installs. */
const NODES = [
  { name: 'node-1', containerd: '2', gvisor: 'none' },
  { name: 'node-2', containerd: '1.7', gvisor: 'none' },
] as const;

let cluster: Cluster;
before(
  async () => {
    cluster = await startCluster({
      name: await laneCluster('guide'),
      nodes: NODES,
      images: ['workload', 'agent'],
    });
    await createMirrors(cluster);
  },
  { timeout: 600_000 },
);
after(async () => removeCluster(await laneCluster('guide')));

/** Runs the guide's commands for kubectl, in the repository. */
function runKubectl(node: string): Promise<string> {
  const script = substituteSettings(guideBlocks('kubectl').join('\n'), {
    AGENT: imageName('agent'),
    NODE: node,
    IMAGE: imageName('workload'),
  });
  return runWithKubectl(cluster, script);
}

async function waitForLabel(node: string, label: string, value: string): Promise<void> {
  await waitFor(`${label} of ${node} to be ${value}`, 60_000, async () => {
    const { metadata } = await readNode(cluster, node);
    return metadata.labels[`${DOMAIN}/${label}`] === value ? true : undefined;
  });
}

describe('the commands of the guide', () => {
  for (const { name, containerd } of NODES) {
    const release = containerd === '2' ? '20260223.0' : '20250203.0';
    it(`make a node with containerd ${containerd} ready`, {
      timeout: patient(400_000),
    }, async () => {
      const node = cluster.node(name);
      const printed = await followOn(node, guideBlocks('node', `node, containerd ${containerd}`), release);
      assert.match(printed, /^gvisor\.tar\.bz2: OK$/m);
      assert.match(printed, new RegExp(`^runsc version release-${release}$`, 'm'));
      assert.match(printed, /runtimes\.runsc\]/);
      const output = await runKubectl(name);
      assert.match(output, /^Linux version 4\.4\.0 #1 SMP Sun Jan 10 15:06:54 PST 2016$/m);
      const view = (await viewNodes(cluster)).find((one) => one.name === name);
      assert.deepEqual([view?.ready, view?.reason], ['true', 'SandboxProven'], view?.message);
    });
  }

  it('upgrade gVisor under a running pod, which accepts commands and can be deleted', async () => {
    const node = cluster.node('node-2');
    const spec = { nodeSelector: { 'kubernetes.io/hostname': 'node-2' } };
    await runPod(cluster, 'before', evaluationPod('before', { gvisor: true, spec }));
    const container = () =>
      cluster.kubectl([
        'get',
        'pod',
        'before',
        '-o',
        'jsonpath={.status.containerStatuses[0].containerID} {.status.containerStatuses[0].restartCount}',
      ]);
    const was = await container();
    await followOn(node, guideBlocks('node').slice(0, 1));
    await waitForLabel('node-2', 'runsc-version', 'release-20260223.0');
    await waitForLabel('node-2', 'ready', 'true');
    assert.equal(await container(), was);
    const inside = await cluster.kubectl(['exec', 'before', '--', 'cat', '/proc/version']);
    assert.match(inside, /^Linux version 4\.4\.0 /);
    await runPod(cluster, 'afterwards', evaluationPod('afterwards', { gvisor: true, spec }));
    await cluster.kubectl(
      ['delete', 'pod', 'before', 'afterwards', '--wait', '--timeout=180s'],
      undefined,
      90_000,
    );
  });

  it('remove gVisor from a node, which loses its label', async () => {
    const node = cluster.node('node-1');
    await followOn(node, guideBlocks('remove'));
    await waitForNode(
      cluster,
      'node-1',
      ({ ready, condition }) => ready === 'false' && condition === 'False HandlerNotConfigured',
    );
    assert.equal(existsSync(node.path('/usr/local/lib/gvisor')), false);
  });
});
