import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { Cluster } from '../../cluster/cluster.ts';
import { deployAgent } from '../../cluster/labels.ts';
import { REPO } from '../../hack/paths.ts';
import { patient, waitFor } from '../../hack/run.ts';
import { DOMAIN, readNode, waitForNode } from '../e2e/agents.ts';
import { useOwnCluster } from '../e2e/e2e-cluster.ts';
import { containerOf, endContainer, reportOf, runEndable } from '../e2e/upgraded-pods.ts';

const NODE = 'node-1';
const POD = 'old';

let cluster: Cluster;
useOwnCluster('changed', [{ name: NODE, gvisor: '2025' }], async (started) => {
  cluster = started;
  await deployAgent(cluster, join(REPO, 'manifests/base'));
  await waitForNode(cluster, NODE, ({ ready }) => ready === 'true', 90_000);
});

/** Waits until these are the pods that the agent reports as SandboxOutdated. */
async function waitForOutdated(...pods: readonly string[]): Promise<void> {
  await waitFor(`the outdated sandboxes to be "${pods}"`, 300_000, async () => {
    const { problems = [], stale = true } = (await reportOf(cluster, NODE)).sandboxes ?? {};
    const outdated = problems.filter(({ reason }) => reason === 'SandboxOutdated');
    return (!stale && `${outdated.map(({ name }) => name)}` === `${pods}`) || undefined;
  });
}

describe('programs of gVisor that are replaced under a running pod, by a copy or a link that moves', () => {
  it('leave it running, but its container never starts again, which is reported until it is gone', {
    timeout: patient(500_000),
  }, async () => {
    const node = cluster.node(NODE);
    await runEndable(cluster, NODE, POD);
    const old = await node.gvisor();
    if (old === undefined) throw new Error('The node has no gVisor');
    for (const program of ['runsc', 'shim'] as const)
      await node.installProgram({ ...old, name: 'current' }, program);
    await waitFor('a proof of the new release', 90_000, async () => {
      const { labels } = (await readNode(cluster, NODE)).metadata;
      return labels[`${DOMAIN}/runsc-version`] === 'release-20260223.0' || undefined;
    });
    await cluster.kubectl(['exec', POD, '--', 'true']);
    await waitForOutdated(POD);
    await endContainer(cluster, POD);
    await waitFor(`the container of ${POD} to fail`, 60_000, async () => {
      const { message } = await containerOf(cluster, POD);
      return /cannot unmarshal .*WatchdogAction/.test(message) || undefined;
    });
    await cluster.kubectl(['delete', 'pod', POD, '--timeout=60s'], undefined, 90_000);
    await waitForOutdated();
  });
});
