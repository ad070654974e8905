import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { Cluster } from '../../cluster/cluster.ts';
import {
  CONTAINERD_CONFIG,
  containerdConfig,
  handlerTable,
  PREWARMER_SCRIPT,
  RUNSC_CONFIG,
  RUNSC_TOML,
} from '../../cluster/node/config.ts';
import { type ClusterNode, RUNSC, SHIM } from '../../cluster/node/node.ts';
import { removeCluster } from '../../cluster/remove.ts';
import { startCluster } from '../../cluster/start.ts';
import { deployAgent } from '../../cluster/story.ts';
import { ensureTools } from '../../cluster/tools.ts';
import { REPO } from '../../hack/paths.ts';
import { patient, waitFor } from '../../hack/run.ts';
import { DOMAIN, readNode } from '../e2e/agents.ts';
import {
  containerOf,
  endContainer,
  runEndable,
  waitForOutdated,
  waitForRestart,
} from '../e2e/upgraded-pods.ts';
import { laneCluster } from '../runner/lane.ts';

const NODES = [
  { name: 'node-1', containerd: '2', gvisor: 'none' },
  { name: 'node-2', containerd: '1.7', gvisor: 'none' },
] as const;
const RELEASES = '/usr/local/lib/gvisor';
/** In PATH: a link to the shim and one to runsc, both through the link that moves. */
const LINK = `
ln -sfn "$1" ${RELEASES}/next
mv -T ${RELEASES}/next ${RELEASES}/current
ln -sfn ${RELEASES}/current/runsc ${RUNSC}
ln -sfn ${RELEASES}/current/containerd-shim-runsc-v1 ${SHIM}`;

/** A file of the shim that names runsc of 2025-02 itself. */
const KEPT_CONFIG = `${RELEASES}/20250203.0/runsc.toml`;

let cluster: Cluster;
before(
  async () => {
    const name = await laneCluster('links');
    cluster = await startCluster({ name, nodes: NODES, images: ['workload', 'agent'] });
    await onEach(async (node) => {
      await node.write(RUNSC_CONFIG, RUNSC_TOML);
      await node.write(KEPT_CONFIG, `binary_name = "${RELEASES}/20250203.0/runsc"\n${RUNSC_TOML}`);
      await moveLink(node, '20250203.0');
      await useConfig(node, RUNSC_CONFIG);
    });
    await deployAgent(cluster, join(REPO, 'manifests/base'));
    await onEach((node) => waitForRelease(node, '20250203.0'));
  },
  { timeout: patient(600_000) },
);
after(async () => removeCluster(await laneCluster('links')));

async function onEach(act: (node: ClusterNode) => Promise<void>): Promise<void> {
  await Promise.all(cluster.nodes().map(act));
}

/** Names of a node's pods, oldest first. */
function podsOf({ name }: ClusterNode) {
  return [`kept-${name}`, `old-${name}`, `newer-${name}`] as const;
}

/** Restarts containerd with this file as the handler's ConfigPath. */
async function useConfig(node: ClusterNode, file: string): Promise<void> {
  const handler = handlerTable(node.spec).replace(RUNSC_CONFIG, file);
  await node.write(CONTAINERD_CONFIG, containerdConfig(node.spec, handler));
  await node.restart('containerd');
}

/** Installs a release in a directory of its own, and moves the link to it. */
async function moveLink(node: ClusterNode, release: string): Promise<void> {
  const tools = await ensureTools(['gvisor-2025', 'gvisor', 'gvisor-2026-09']);
  const group = { '20250203.0': 'gvisor-2025', '20260223.0': 'gvisor' }[release] ?? 'gvisor-2026-09';
  const programs = tools[group as keyof typeof tools];
  const directory = `${RELEASES}/${release}`;
  await node.system.run(['mkdir', '-p', directory]);
  await node.system.install(join(programs, 'runsc'), `${directory}/runsc`);
  await node.system.install(join(programs, 'shim'), `${directory}/containerd-shim-runsc-v1`);
  if (group === 'gvisor-2026-09') {
    await node.write(`${directory}/gvisor-bin/gvisor-sentry-prewarmer`, PREWARMER_SCRIPT, 0o755);
    await node.system.install(join(programs, 'runsc'), `${directory}/gvisor-bin/gvisor_sentry`);
  }
  await node.system.run(['sh', '-euc', LINK, 'sh', release]);
}

/** Waits until the agent has proven this release. */
async function waitForRelease(node: ClusterNode, release: string): Promise<void> {
  await waitFor(`the agent of ${node.name} to prove ${release}`, 90_000, async () => {
    const { labels } = (await readNode(cluster, node.name)).metadata;
    const isProven = labels[`${DOMAIN}/ready`] === 'true';
    return (isProven && labels[`${DOMAIN}/runsc-version`] === `release-${release}`) || undefined;
  });
}

describe('a link that moves under running pods', () => {
  it('to 2026-02 leaves a pod of 2025-02 running, but its container never starts again', {
    timeout: patient(500_000),
  }, async () => {
    await onEach(async (node) => {
      const [kept, old, newer] = podsOf(node);
      await useConfig(node, KEPT_CONFIG);
      await runEndable(cluster, node.name, kept);
      await useConfig(node, RUNSC_CONFIG);
      await runEndable(cluster, node.name, old);
      await moveLink(node, '20260223.0');
      await waitForRelease(node, '20260223.0');
      await runEndable(cluster, node.name, newer);
      await cluster.kubectl(['exec', old, '--', 'true']);
      await waitForOutdated(cluster, node.name, [old]);
      await endContainer(cluster, old);
      await waitFor(`the container of ${old} to fail`, 60_000, async () => {
        const { message } = await containerOf(cluster, old);
        return /cannot unmarshal .*WatchdogAction/.test(message) || undefined;
      });
    });
  });

  it('to 2026-09 lets a container of 2026-02 start again, and one whose ConfigPath names 2025-02', {
    timeout: patient(500_000),
  }, async () => {
    await onEach(async (node) => {
      const [kept, old, newer] = podsOf(node);
      await moveLink(node, '20260831.0');
      await waitForRelease(node, '20260831.0');
      await waitForOutdated(cluster, node.name, [old, newer]);
      for (const pod of [newer, kept]) {
        await endContainer(cluster, pod);
        await waitForRestart(cluster, pod, 1);
      }
      assert.equal((await containerOf(cluster, old)).running, false);
    });
  });

  it('is reported until its pods are gone', { timeout: patient(300_000) }, async () => {
    await onEach(async (node) => {
      const [, ...outdated] = podsOf(node);
      await cluster.kubectl(['delete', 'pod', ...outdated, '--timeout=60s'], undefined, 90_000);
      await waitForOutdated(cluster, node.name, []);
    });
  });
});
