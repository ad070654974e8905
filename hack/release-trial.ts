import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { VERSION } from '../agent/version.ts';
import type { Cluster } from '../cluster/cluster.ts';
import { removeCluster } from '../cluster/remove.ts';
import { startCluster } from '../cluster/start.ts';
import { viewNodes } from '../cluster/story.ts';
import { ensureTools } from '../cluster/tools.ts';
import { CLUSTERS } from './paths.ts';
import { run, waitFor } from './run.ts';

const NAMESPACE = ['-n', 'gvisor-ready'] as const;

/** A node of each containerd, with a release of gVisor of its own. */
const NODES = [
  { name: 'node-1', containerd: '2' },
  { name: 'node-2', containerd: '1.7', gvisor: '2025' },
] as const;

/**
 * Loads the archive of the image, whose name is without a tag here, into the nodes of a cluster of its own, and installs
 * from the release's files in `folder`: with kubectl, then with Helm. Fails unless the agents, of whom the nodes have no other
 * image, make each node ready, and the uninstall takes the label off.
 */
export async function tryRelease(folder: string, image: string): Promise<void> {
  const name = 'release-trial';
  const file = (of: string) => join(folder, of);
  const digest = (await readFile(file(`gvisor-ready-${VERSION}-image.digest`), 'utf8')).trim();
  const { helm: tools } = await ensureTools(['helm']);
  const helm = (...words: readonly string[]) =>
    run(join(tools, 'helm'), [...words, ...NAMESPACE], {
      timeoutMs: 300_000,
      env: { ...process.env, KUBECONFIG: join(CLUSTERS, name, 'kubeconfig') },
    });
  await removeCluster(name);
  try {
    const cluster = await startCluster({ name, nodes: NODES, images: [] });
    for (const node of cluster.nodes()) {
      await node.load({ name: `${image}:${VERSION}`, archive: file(`gvisor-ready-${VERSION}-image.tar`) });
      const loaded = await node.ctr(['images', 'list', `name==${image}:${VERSION}`]);
      if (!loaded.includes(digest))
        throw new Error(`${node.name} has another image than ${digest}: ${loaded}`);
      await node.ctr(['images', 'tag', `${image}:${VERSION}`, `${image}@${digest}`]);
    }
    await cluster.kubectl(['apply', '-f', file('install.yaml')]);
    await waitForLabel(cluster, 'true');
    const daemonSet = ['daemonset', 'gvisor-ready-agent', ...NAMESPACE];
    await cluster.kubectl(['delete', ...daemonSet, '--cascade=foreground']);
    await cluster.kubectl(['apply', '-f', file('uninstall.yaml')]);
    await waitForLabel(cluster, '');
    for (const of of ['uninstall.yaml', 'install.yaml'])
      await cluster.kubectl(['delete', '--ignore-not-found', '-f', file(of)], undefined, 120_000);
    const chart = file(`gvisor-ready-${VERSION}.tgz`);
    const values = `image.repository=${image},image.digest=${digest}`;
    await helm('install', 'gvisor-ready', chart, '--create-namespace', '--set', values);
    await waitForLabel(cluster, 'true');
    await helm('test', 'gvisor-ready');
  } finally {
    await removeCluster(name);
  }
}

async function waitForLabel(cluster: Cluster, value: string): Promise<void> {
  await waitFor(`the label "${value}" on each node`, 120_000, async () => {
    const nodes = await viewNodes(cluster);
    return nodes.every(({ ready }) => ready === value) || undefined;
  });
}
