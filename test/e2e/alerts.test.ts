import assert from 'node:assert/strict';
import { copyFile, rename, rm } from 'node:fs/promises';
import { describe, it } from 'node:test';
import { breakNode, healNode } from '../../hack/cluster/break-node.ts';
import { startKubeStateMetrics } from '../../hack/cluster/kube-state-metrics.ts';
import { RUNSC, SHIM } from '../../hack/cluster/node.ts';
import { processesIn } from '../../hack/cluster/processes.ts';
import { type Alert, continuePrometheus } from '../../hack/cluster/prometheus.ts';
import { waitFor } from '../../hack/run.ts';
import { breakAndWait, healAndWait } from '../../hack/story.ts';
import {
  applyAgents,
  REQUIRES,
  removeOutside,
  runOutside,
  SHOW_LABELS,
  useMonitoredCluster,
} from './monitored-cluster.ts';

const monitored = useMonitoredCluster();
const cluster = () => monitored().cluster;
const node = (name: string) => cluster().node(name);
const POOL = { 'test-pool': 'gvisor' };

const find = (alert: string, on?: string) => monitored().prometheus.find(alert, on);

/** Waits until Prometheus says that the alert fires, on this node if one is given. */
function fires(alert: string, on?: string): Promise<Alert> {
  return waitFor(`${alert} to fire`, 120_000, () => find(alert, on), 250);
}

/** Waits until it does not any more. */
function resolves(alert: string, on?: string): Promise<true> {
  const gone = async () => ((await find(alert, on)) === undefined ? true : undefined);
  return waitFor(`${alert} to resolve`, 120_000, gone, 250);
}

describe('the alerts, on real agents that a real Prometheus scrapes', () => {
  it('know every agent by its node', async () => {
    const up = () => monitored().prometheus.query('up{job="gvisor-ready-agent"} == 1');
    await waitFor('three agents to answer', 60_000, async () =>
      (await up()).length === 3 ? true : undefined,
    );
    const nodes = (await up()).map(({ metric }) => metric.node);
    assert.deepEqual(nodes.sort(), ['node-1', 'node-2', 'node-3']);
  });

  it('GVisorLabelsHidden fires while kube-state-metrics shows no labels', async () => {
    await startKubeStateMetrics(cluster(), []);
    assert.match((await fires('GVisorLabelsHidden')).annotations.description ?? '', /tells of 3 nodes/);
    await startKubeStateMetrics(cluster(), [SHOW_LABELS]);
    await resolves('GVisorLabelsHidden');
  });

  it('GVisorSandboxBootSlow fires when runsc takes its time, and resolves after faster boots', async () => {
    const real = '/usr/local/bin/runsc-behind';
    await rename(node('node-2').path(RUNSC), node('node-2').path(real));
    const slow = `#!/bin/sh\ncase " $* " in *" create "*) sleep 1.5 ;; esac\nexec ${real} "$@"\n`;
    await node('node-2').write(RUNSC, slow, 0o755);
    const { annotations } = await fires('GVisorSandboxBootSlow', 'node-2');
    assert.match(annotations.summary ?? '', /^Sandboxes on node-2 take \d+\.\d+s to boot\.$/);
    await healNode(cluster(), node('node-2'));
    await resolves('GVisorSandboxBootSlow', 'node-2');
    await rm(node('node-2').path(real));
  });

  it('GVisorReadyShareLow and GVisorNodeNotReady fire for a node without gVisor, until agents are kept off it', async () => {
    assert.match(
      (await fires('GVisorReadyShareLow')).annotations.description ?? '',
      /^66\.67% of 3 nodes .* node-3$/,
    );
    await fires('GVisorNodeNotReady', 'node-3');
    await cluster().kubectl(['label', 'node', 'node-1', 'node-2', 'test-pool=gvisor']);
    await applyAgents(cluster(), POOL);
    await resolves('GVisorReadyShareLow');
    await resolves('GVisorNodeNotReady', 'node-3');
  });

  it('GVisorMixedReleases fires for two releases, and resolves when the older node is upgraded', async () => {
    const { annotations } = await fires('GVisorMixedReleases');
    assert.match(annotations.description ?? '', /release-20250203\.0 on 1; release-20260223\.0 on 1;$/);
    for (const program of [RUNSC, SHIM]) {
      const target = node('node-2').path(program);
      await copyFile(node('node-1').path(program), `${target}.new`);
      await rename(`${target}.new`, target);
    }
    await resolves('GVisorMixedReleases');
    await healNode(cluster(), node('node-2'));
  });

  it('GVisorUnsandboxedPods fires for a plain pod where gVisor is required, and resolves when it is gone', async () => {
    await runOutside(cluster());
    const { labels, annotations } = await fires('GVisorUnsandboxedPods', 'node-1');
    assert.deepEqual([labels.severity, labels.namespace], ['critical', REQUIRES]);
    assert.match(annotations.description ?? '', /node-1: 1 of the pods of namespace requires-gvisor,/);
    await removeOutside(cluster());
    await resolves('GVisorUnsandboxedPods', 'node-1');
  });

  it('GVisorNodeNotReady fires with the reason, and resolves when the node is mended', async () => {
    await breakAndWait(cluster(), 'node-1', 'shim-missing');
    const { labels, annotations } = await fires('GVisorNodeNotReady', 'node-1');
    assert.equal(labels.severity, 'warning');
    assert.match(annotations.description ?? '', /^Node node-1 is not ready for gVisor: ShimNotFound\./);
    await healAndWait(cluster(), 'node-1');
    await resolves('GVisorNodeNotReady', 'node-1');
  });

  it('GVisorNoNodeReady fires when the last node breaks, and resolves with the first that is mended', async () => {
    await breakAndWait(cluster(), 'node-1', 'handler-removed');
    assert.equal(await find('GVisorNoNodeReady'), undefined);
    await breakAndWait(cluster(), 'node-2', 'runsc-missing');
    const { labels, annotations } = await fires('GVisorNoNodeReady');
    assert.equal(labels.severity, 'critical');
    assert.match(
      annotations.description ?? '',
      /^None of 2 nodes .* HandlerNotConfigured on 1; RunscNotFound on 1;$/,
    );
    await healAndWait(cluster(), 'node-2');
    await resolves('GVisorNoNodeReady');
    await healAndWait(cluster(), 'node-1');
  });

  it('GVisorVerificationStale and GVisorPodsUnseen fire while containerd hangs and the node counts as ready', async () => {
    await breakNode(cluster(), node('node-1'), 'containerd-hung');
    const { annotations } = await fires('GVisorVerificationStale', 'node-1');
    assert.match(annotations.description ?? '', /every 10s\.$/);
    const unseen = await fires('GVisorPodsUnseen', 'node-1');
    assert.match(unseen.annotations.description ?? '', /^The agent on node node-1 last read its pods 1m /);
    await healNode(cluster(), node('node-1'));
    await resolves('GVisorVerificationStale', 'node-1');
    await resolves('GVisorPodsUnseen', 'node-1');
  });

  it('GVisorAgentDown fires for an agent that does not answer', async () => {
    const { machine } = node('node-1');
    const agents = processesIn(machine).filter(({ argv }) => argv.includes('/app/agent.mjs'));
    const pids = agents.map(({ pid }) => pid);
    assert.equal(pids.length, 1);
    await machine.kill('STOP', pids);
    await fires('GVisorAgentDown', 'node-1');
    await machine.kill('CONT', pids);
    await resolves('GVisorAgentDown', 'node-1');
  });

  it('GVisorLabelOutdated fires when the agent may not write its Node', async () => {
    await cluster().kubectl(['delete', 'clusterrolebinding', 'gvisor-ready-agent']);
    await breakNode(cluster(), node('node-1'), 'shim-missing');
    const { annotations } = await fires('GVisorLabelOutdated', 'node-1');
    assert.match(
      annotations.description ?? '',
      /its agent says ShimNotFound: the agent cannot write its Node\.$/,
    );
    await applyAgents(cluster(), POOL);
    await resolves('GVisorLabelOutdated', 'node-1');
    await healAndWait(cluster(), 'node-1');
  });

  it('GVisorAgentsMissing and GVisorLabelWithoutAgent fire when the agents are deleted', async () => {
    await cluster().kubectl(['delete', 'daemonset', 'gvisor-ready-agent', '-n', 'gvisor-ready']);
    await fires('GVisorAgentsMissing');
    await fires('GVisorLabelWithoutAgent', 'node-1');
    await applyAgents(cluster(), POOL);
    await resolves('GVisorAgentsMissing');
    await resolves('GVisorLabelWithoutAgent', 'node-1');
  });

  it('fire after all when Prometheus was away while the node broke', async () => {
    await cluster().hub.stopDaemon('prometheus', 'KILL');
    await breakAndWait(cluster(), 'node-1', 'runsc-missing');
    await continuePrometheus(cluster(), monitored().prometheus.url);
    const { annotations } = await fires('GVisorNodeNotReady', 'node-1');
    assert.match(annotations.description ?? '', /RunscNotFound/);
    await healAndWait(cluster(), 'node-1');
    await resolves('GVisorNodeNotReady', 'node-1');
  });

  it('GVisorNodeFlapping fires for a node that breaks and is mended again and again, and resolves in peace', async () => {
    for (const fault of ['shim-missing', 'runsc-missing', 'config-missing'] as const) {
      await breakAndWait(cluster(), 'node-2', fault);
      await monitoredAs('node-2', 0);
      await healAndWait(cluster(), 'node-2');
      await monitoredAs('node-2', 1);
    }
    await fires('GVisorNodeFlapping', 'node-2');
    await resolves('GVisorNodeFlapping', 'node-2');
  });
});

/** Waits until Prometheus has seen whether a node is ready (1) or not (0). */
async function monitoredAs(name: string, ready: 0 | 1): Promise<void> {
  const query = `gvisor_node_status{node="${name}", status="True"} == ${ready}`;
  await waitFor(`Prometheus to see that ${name} is ${ready}`, 30_000, async () =>
    (await monitored().prometheus.query(query)).length > 0 ? true : undefined,
  );
}
