import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { VERSION } from '../../agent/config.ts';
import type { Cluster } from '../../cluster/cluster.ts';
import { type Prometheus, startPrometheus } from '../../cluster/control-plane/prometheus.ts';
import { breakNode, healNode } from '../../cluster/faults/break-node.ts';
import { secondsUntilLabel } from '../../cluster/story.ts';
import { REPO } from '../../hack/paths.ts';
import { waitFor } from '../../hack/run.ts';
import { agentPids, readReport, waitForNode } from '../e2e/agents.ts';
import { GVISOR_NODES, useCluster } from '../e2e/e2e-cluster.ts';
import {
  deployQuickFleet,
  disableAgents,
  enableAgents,
  getFromFleet,
  readFleet,
  readinessOfNodes,
  restoreAgents,
  scaleFleet,
  waitForBreaker,
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

describe('the fleet controller and its alerts, on a real cluster with a real Prometheus', () => {
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

  it('withdraws the label when an agent cannot run, and restores it within 5 s of the next proof', async () => {
    const disable = () => disableAgents(cluster(), 'node-1');
    const seconds = await secondsUntilLabel(cluster(), 'node-1', 'false', disable, { timeoutMs: 150_000 });
    await waitForNode(cluster(), 'node-1', ({ condition }) => condition === 'Unknown AgentLost');
    await waitFor('the page to show it', 20_000, async () => {
      const [first] = (await readFleet(cluster())).nodes;
      assert.deepEqual([first?.name, first?.reason, first?.agent], ['node-1', 'AgentLost', 'not ready']);
      return true;
    });
    await fires('GVisorAgentDown', 'node-1');
    const back = async () => enableAgents(cluster(), 'node-1');
    await secondsUntilLabel(cluster(), 'node-1', 'true', back, { timeoutMs: 150_000 });
    const backMs = Date.now();
    const { provenAt = '' } = await readReport(cluster(), 'node-1');
    const lateS = (backMs - Date.parse(provenAt)) / 1_000;
    assert.ok(lateS >= 0 && lateS <= 5, `the label came ${lateS} s after the proof`);
    console.log(`withdrawn after ${seconds.toFixed(1)} s, back ${lateS.toFixed(1)} s after the proof`);
    // The label may be written before the condition.
    await waitForNode(cluster(), 'node-1', ({ condition }) => condition === 'True SandboxProven');
    await resolves('GVisorAgentDown', 'node-1');
  });

  it('withdraws the label of an agent stopped with SIGSTOP until it continues', async () => {
    await waitForBreaker(cluster());
    const { machine } = cluster().node('node-2');
    const pids = agentPids(machine);
    await secondsUntilLabel(cluster(), 'node-2', 'false', () => machine.kill('STOP', pids), {
      timeoutMs: 120_000,
    });
    await waitForNode(cluster(), 'node-2', ({ condition }) => condition === 'Unknown AgentLost');
    const resume = () => machine.kill('CONT', pids);
    const seconds = await secondsUntilLabel(cluster(), 'node-2', 'true', resume, { timeoutMs: 30_000 });
    assert.ok(seconds < 10, `${seconds} s`);
    await waitForNode(cluster(), 'node-2', ({ condition }) => condition === 'True SandboxProven');
  });

  it('opens the circuit breaker instead of withdrawing labels when several agents are lost', async () => {
    await waitForBreaker(cluster());
    const before = await readinessOfNodes(cluster());
    await disableAgents(cluster(), ...GVISOR_NODES);
    await waitForBreaker(cluster(), 'TooManyLost');
    await waitFor('paused withdrawals', 60_000, async () => {
      const { paused, withoutAgent } = await readFleet(cluster());
      return paused.length === 2 && withoutAgent.length === 2;
    });
    assert.deepEqual(await readinessOfNodes(cluster()), before);
    assert.match(
      await getFromFleet(cluster(), '/metrics'),
      /^gvisor_fleet_circuit_breaker_open\{reason="TooManyLost"\} 1$/m,
    );
    const events = ['get', 'events', '-n', 'gvisor-ready', '--field-selector', 'reason=WithdrawalsPaused'];
    assert.match(await cluster().kubectl([...events, '-o', 'jsonpath={.items[*].message}']), /TooManyLost/);
    await fires('GVisorAgentsSilent');
    await enableAgents(cluster(), ...GVISOR_NODES);
    await waitForBreaker(cluster());
    assert.deepEqual(await readinessOfNodes(cluster()), before);
    await resolves('GVisorAgentsSilent');
  });

  it('fires GVisorLabelOutdated when an agent lacks permission to write its Node', async () => {
    await cluster().kubectl(['delete', 'clusterrolebinding', 'gvisor-ready-agent']);
    await breakNode(cluster(), cluster().node('node-1'), 'shim-missing');
    const { annotations } = await fires('GVisorLabelOutdated', 'node-1');
    assert.match(
      annotations.description ?? '',
      /its agent says ShimNotFound: the agent cannot write its Node\.$/,
    );
    await cluster().kubectl(['apply', '-k', join(REPO, 'manifests/base')]);
    await resolves('GVisorLabelOutdated', 'node-1');
    await healNode(cluster(), cluster().node('node-1'));
  });

  it('is missed by GVisorFleetUnseen', async () => {
    await scaleFleet(cluster(), 0);
    await fires('GVisorFleetUnseen');
    await scaleFleet(cluster(), 1);
    await resolves('GVisorFleetUnseen');
  });
});
