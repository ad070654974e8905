import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { cp } from 'node:fs/promises';
import { after, describe, it } from 'node:test';
import type { Cluster } from '../../cluster/cluster.ts';
import { viewNodes } from '../../cluster/labels.ts';
import { CONTAINERD_CONFIG } from '../../cluster/node/config.ts';
import type { ClusterNode } from '../../cluster/node/node.ts';
import { imageName } from '../../cluster/tools/images.ts';
import { patient, waitFor } from '../../hack/run.ts';
import { substituteSettings } from '../docs/marked-blocks.ts';
import { nameImageAsInGuides, UserDirectory } from '../docs/user-directory.ts';
import { DOMAIN, readinessOf, readNode, waitForNode } from '../e2e/agents.ts';
import { useOwnCluster } from '../e2e/e2e-cluster.ts';
import { runWithKubectl } from '../e2e/installation.ts';
import { NODES } from '../e2e/installer-nodes.ts';
import { containerOf, endContainer, reportOf, runEndable, waitForRestart } from '../e2e/upgraded-pods.ts';
import {
  buildInstaller,
  createMirrors,
  followInstaller,
  followOn,
  guideBlocks,
  INSTALLER,
  type Release,
} from './guide-node.ts';

const LONG = { timeout: patient(400_000) };

let cluster: Cluster;
let directory: UserDirectory;
useOwnCluster('guide', NODES, async (started) => {
  cluster = started;
  await createMirrors(cluster);
  await nameImageAsInGuides(cluster);
  directory = await UserDirectory.create();
});
after(() => directory?.remove());

/** Runs the guide's commands for kubectl, in the reader's directory. */
function runKubectl(node: string): Promise<string> {
  const script = substituteSettings(guideBlocks('kubectl').join('\n'), {
    NODE: node,
    IMAGE: imageName('workload'),
  });
  return runWithKubectl(cluster, `cd '${directory.path}'\n${script}`);
}

async function waitForLabel(node: string, label: string, value: string): Promise<void> {
  await waitFor(`${label} of ${node} to be ${value}`, 60_000, async () => {
    const { metadata } = await readNode(cluster, node);
    return metadata.labels[`${DOMAIN}/${label}`] === value ? true : undefined;
  });
}

/** Runs the commands of an upgrade, and a pod of the new release. */
async function upgrade(node: ClusterNode, release: Release, pod: string): Promise<void> {
  await followOn(node, [...guideBlocks('node').slice(0, 1), ...guideBlocks('node, upgrade')], release);
  await waitForLabel(node.name, 'runsc-version', `release-${release}`);
  await waitForLabel(node.name, 'ready', 'true');
  await runEndable(cluster, node.name, pod);
}

/** Pods of a generation, as the page lists them. */
async function podsOf(node: ClusterNode, release: Release): Promise<readonly string[]> {
  const printed = await followOn(node, guideBlocks('node, pods of a generation'), release);
  return printed.split('\n').filter((line) => line.startsWith('default/'));
}

describe('the commands of the guide', () => {
  // First, on a node where no pod ever used gVisor.
  it('install gVisor with the installer, and take it away again', LONG, async () => {
    const node = cluster.node('node-1');
    const before = await node.system.read(CONTAINERD_CONFIG);
    await cp(await buildInstaller(node, '20260831.0'), node.path(INSTALLER), { recursive: true });
    const printed = await followInstaller(node, guideBlocks('installer'));
    assert.match(printed, /commit +handler "runsc" runs gVisor release-20260831\.0/);
    assert.match(await runKubectl('node-1'), /^Linux version 4\.19\.0-gvisor /m);
    await waitForLabel('node-1', 'runsc-version', 'release-20260831.0');
    await followInstaller(node, guideBlocks('installer, remove'));
    await waitForNode(cluster, 'node-1', ({ condition }) => condition === 'False HandlerNotConfigured');
    assert.equal(await node.system.read(CONTAINERD_CONFIG), before);
    assert.equal(existsSync(node.path('/usr/local/lib/gvisor')), false);
  });

  it('make a machine image, whose containerd has gVisor when it starts', LONG, async () => {
    const node = cluster.node('node-1');
    await followInstaller(node, guideBlocks('image'));
    const { condition } = readinessOf(await readNode(cluster, 'node-1'));
    assert.doesNotMatch(condition, /^True/);
    await node.restart('containerd'); // as the first boot of a machine with that image
    await waitForLabel('node-1', 'ready', 'true');
    await followInstaller(node, guideBlocks('installer, remove'));
    await waitForLabel('node-1', 'ready', 'false');
  });

  for (const { name, containerd } of NODES) {
    it(`make a node with containerd ${containerd} ready`, LONG, async () => {
      const node = cluster.node(name);
      const printed = await followOn(
        node,
        guideBlocks('node', `node, containerd ${containerd}`),
        '20250203.0',
      );
      assert.match(printed, /^gvisor\.tar\.bz2: OK$/m);
      assert.match(printed, /^runsc version release-20250203\.0$/m);
      assert.match(printed, /runtimes\.runsc\]/);
      const output = await runKubectl(name);
      assert.match(output, /^Linux version 4\.4\.0 #1 SMP Sun Jan 10 15:06:54 PST 2016$/m);
      const view = (await viewNodes(cluster)).find((one) => one.name === name);
      assert.deepEqual([view?.ready, view?.reason], ['true', 'SandboxProven'], view?.message);
      const { findings } = await reportOf(cluster, name);
      const notPassed = findings.filter(({ status }) => status !== 'pass' && status !== 'skipped');
      assert.deepEqual(notPassed, []);
    });
  }

  it('upgrade gVisor twice, and pods keep their release', LONG, async () => {
    const [name, oldest, older, newest] = ['node-1', 'oldest', 'older', 'newest'] as const;
    const node = cluster.node(name);
    await runEndable(cluster, name, oldest);
    const { uid, id } = await containerOf(cluster, oldest);
    await upgrade(node, '20260223.0', older);
    assert.equal((await containerOf(cluster, oldest)).id, id);
    await upgrade(node, '20260831.0', newest);
    assert.equal((await containerOf(cluster, oldest)).id, id);
    for (const pod of [oldest, older]) {
      await endContainer(cluster, pod);
      await waitForRestart(cluster, pod, 1);
    }
    assert.equal((await containerOf(cluster, oldest)).uid, uid);
    assert.deepEqual(await podsOf(node, '20250203.0'), [`default/${oldest}`]);
    // Each container has a shim of the generation that was in use when it started.
    assert.deepEqual(
      await podsOf(node, '20260831.0'),
      [newest, older, oldest].map((pod) => `default/${pod}`),
    );
    await cluster.kubectl(['delete', 'pod', oldest, '--timeout=60s'], undefined, 90_000);
    await waitFor('no pod of 20250203.0', 60_000, async () => {
      return (await podsOf(node, '20250203.0')).length === 0 || undefined;
    });
    await node.machine.run(['rm', '-rf', '/usr/local/lib/gvisor/20250203.0']);
    await node.restart('containerd');
    // Its CRI answers a moment after its socket.
    await waitFor('a command in the pod', 60_000, async () => {
      await cluster.kubectl(['exec', older, '--', 'true']);
      return true;
    });
    assert.equal((await containerOf(cluster, older)).restarts, 1);
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
