import assert from 'node:assert/strict';
import { copyFile, rename, rm } from 'node:fs/promises';
import { describe, it } from 'node:test';
import { startKubeStateMetrics } from '../../cluster/control-plane/kube-state-metrics.ts';
import { continuePrometheus } from '../../cluster/control-plane/prometheus.ts';
import { healNode } from '../../cluster/faults/break-node.ts';
import { RUNSC, SHIM } from '../../cluster/node/node.ts';
import { breakAndWait, healAndWait } from '../../cluster/story.ts';
import { waitFor } from '../../hack/run.ts';
import { DOMAIN } from '../e2e/agents.ts';
import {
  applyAgents,
  removeOutside,
  runOutside,
  SHOW_LABELS,
  useMonitoredCluster,
  usePool,
} from '../e2e/monitored-cluster.ts';
import { watchAlerts } from '../e2e/watch-alerts.ts';

const monitored = useMonitoredCluster();
const cluster = () => monitored().cluster;
const node = (name: string) => cluster().node(name);
const { find, fires, resolves, queried } = watchAlerts(() => monitored().prometheus);

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
    const slow = `#!/bin/sh\ncase " $* " in *" create "*) sleep 3 ;; esac\nexec ${real} "$@"\n`;
    await node('node-2').write(RUNSC, slow, 0o755);
    const { annotations } = await fires('GVisorSandboxBootSlow', 'node-2');
    assert.match(annotations.summary ?? '', /^Sandboxes on node-2 take \d+\.\d+s to boot\.$/);
    await healNode(cluster(), node('node-2'));
    await resolves('GVisorSandboxBootSlow', 'node-2');
    await rm(node('node-2').path(real));
  });

  it('a node without gVisor is quiet; GVisorReadyShareLow and GVisorNodeNotReady fire once it is expected there', async () => {
    // A test before this one may have proven it.
    await cluster().kubectl(['annotate', 'node', 'node-3', `${DOMAIN}/proven-by-`]);
    await queried(
      'gvisor_node_expected{node="node-3"} == 0 and on (node) gvisor_node_status{status="True"} == 0',
    );
    await resolves('GVisorNodeNotReady', 'node-3');
    await resolves('GVisorReadyShareLow');
    await applyAgents(cluster(), {}, { EXPECT_GVISOR: 'on' });
    // The agents that were just started tell one after the other.
    await waitFor('two thirds of three nodes', 60_000, async () => {
      const { description = '' } = (await find('GVisorReadyShareLow'))?.annotations ?? {};
      return /^66\.67% of .* node-3$/.test(description) || undefined;
    });
    await fires('GVisorNodeNotReady', 'node-3');
    await usePool(cluster());
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
    assert.equal(labels.severity, 'critical');
    assert.match(annotations.description ?? '', /node-1: 1 of the pods of namespaces labelled /);
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
      /works on none whose agent answers\. Reasons: HandlerNotConfigured on 1; RunscNotFound on 1;$/,
    );
    await healAndWait(cluster(), 'node-2');
    await resolves('GVisorNoNodeReady');
    await healAndWait(cluster(), 'node-1');
  });

  it('fire after all when Prometheus was away while the node broke', async () => {
    await monitoredAs('node-1', 1);
    await cluster().controlPlane.stopDaemon('prometheus', 'KILL');
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
      await healAndWait(cluster(), 'node-2', fault);
      await monitoredAs('node-2', 1);
    }
    await fires('GVisorNodeFlapping', 'node-2');
    await resolves('GVisorNodeFlapping', 'node-2');
  });
});

/** Waits until Prometheus has seen whether a node is ready (1) or not (0). */
async function monitoredAs(name: string, ready: 0 | 1): Promise<void> {
  await queried(`gvisor_node_status{node="${name}", status="True"} == ${ready}`);
}
