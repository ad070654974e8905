import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { VERSION } from '../../agent/config.ts';
import type { Cluster } from '../../cluster/cluster.ts';
import { type Prometheus, startPrometheus } from '../../cluster/control-plane/prometheus.ts';
import { REPO } from '../../hack/paths.ts';
import { waitFor } from '../../hack/run.ts';
import { agentPids, type readinessOf, waitForNode } from '../e2e/agents.ts';
import { useCluster } from '../e2e/e2e-cluster.ts';
import {
  deployQuickFleet,
  disableAgents,
  enableAgents,
  getFromFleet,
  readFleet,
  restoreAgents,
  scaleFleet,
} from '../e2e/fleet-cluster.ts';
import { shortenRules, stopMonitoring, watchAlerts } from '../e2e/monitored-cluster.ts';
import { readRules } from '../monitoring/alerts.ts';

let prometheus: Prometheus;
const cluster = useCluster(prepare, async (opened) => {
  await restoreAgents(opened);
  await stopMonitoring(opened);
});
const { fires, resolves } = watchAlerts(() => prometheus);

/** Deploys the controller, and a Prometheus without kube-state-metrics. */
async function prepare(opened: Cluster): Promise<void> {
  await deployQuickFleet(opened);
  const components = join(REPO, 'manifests/components');
  const read = (file: string) => readFile(join(components, file), 'utf8');
  await opened.kubectl(['apply', '-f', join(components, 'monitoring/scrape-rbac.yaml')]);
  prometheus = await startPrometheus(opened, {
    scrapeConfigs: [await read('monitoring/scrape-config.yaml')],
    rules: [JSON.stringify(shortenRules(await readRules()))],
  });
}

type Readiness = ReturnType<typeof readinessOf>;
const isLost = ({ ready, condition }: Readiness) => ready === 'false' && condition === 'Unknown AgentLost';
const isProven = ({ ready, condition }: Readiness) => ready === 'true' && condition === 'True SandboxProven';

describe('the fleet controller and the alert that misses it, on a real cluster with a real Prometheus', () => {
  it('reports the releases and last proof of a node, and renders its page', async () => {
    const node = await waitFor('a proof', 30_000, async () => {
      const { nodes } = await readFleet(cluster());
      return nodes.find(({ name, provenAt }) => name === 'node-1' && provenAt !== '');
    });
    assert.deepEqual([node.state, node.agent, node.version], ['proven', 'ready', VERSION]);
    assert.match(node.gvisor, /^release-/);
    const page = await getFromFleet(cluster(), '/nodes/node-1/');
    assert.match(page, /<h1 id="verdict">gVisor works here<\/h1>/);
    assert.match(page, /A sandbox of handler "|A sandbox of handler &quot;runsc&quot; booted in gVisor/);
  });

  it('withdraws the label when an agent cannot run, and the next agent restores it', async () => {
    await disableAgents(cluster(), 'node-1');
    await waitForNode(cluster(), 'node-1', isLost, 150_000);
    await waitFor('the page to show it', 20_000, async () => {
      const [first] = (await readFleet(cluster())).nodes;
      assert.deepEqual([first?.name, first?.reason, first?.agent], ['node-1', 'AgentLost', 'not ready']);
      return true;
    });
    await enableAgents(cluster(), 'node-1');
    await waitForNode(cluster(), 'node-1', isProven, 150_000);
  });

  it('withdraws the label of an agent stopped with SIGSTOP until it continues', async () => {
    const { machine } = cluster().node('node-2');
    const pids = agentPids(machine);
    await machine.kill('STOP', pids);
    await waitForNode(cluster(), 'node-2', isLost, 120_000);
    await machine.kill('CONT', pids);
    await waitForNode(cluster(), 'node-2', isProven);
  });

  it('is missed by GVisorFleetUnseen', async () => {
    await scaleFleet(cluster(), 0);
    await fires('GVisorFleetUnseen');
    await scaleFleet(cluster(), 1);
    await resolves('GVisorFleetUnseen');
  });
});
