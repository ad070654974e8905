import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { breakNode, healNode } from '../../cluster/faults/break-node.ts';
import { READY_PATH, watchLabels } from '../../cluster/labels.ts';
import { RUNSC } from '../../cluster/node/config.ts';
import { evaluationPod, runPod } from '../../cluster/pods.ts';
import { patient, waitFor } from '../../hack/run.ts';
import { readReport, waitForNode } from '../e2e/agents.ts';
import { deletePods, useCluster } from '../e2e/e2e-cluster.ts';
import { BURN } from '../load/under-load.ts';

const cluster = useCluster();
const NODE = 'node-1';
const LONG = { timeout: patient(300_000) };
/** containerd creates a directory here for each sandbox. */
const BUNDLES = '/run/containerd/io.containerd.runtime.v2.task';
const node = () => cluster().node(NODE);

describe('a busy node', () => {
  after(() => deletePods(cluster(), 'throttled'));

  it('loses its label when runsc hangs while a throttled pod raises CPU pressure', LONG, async () => {
    const container = { command: ['sh', '-c', BURN], resources: { limits: { cpu: '10m' } } };
    await runPod(
      cluster(),
      'throttled',
      evaluationPod('throttled', { gvisor: false, container, spec: { nodeName: NODE } }),
    );
    await waitForNode(cluster(), NODE, ({ ready }) => ready === 'true');
    await breakNode(cluster(), node(), 'runsc-hangs');
    const begunMs = performance.now();
    const readiness = await waitForNode(cluster(), NODE, ({ ready }) => ready === 'false', 240_000);
    console.log(
      `label withdrawn ${((performance.now() - begunMs) / 1_000).toFixed(1)} s after runsc began to hang`,
    );
    assert.equal(readiness.condition, 'Unknown SandboxSlow');
    await healNode(cluster(), node());
    await waitForNode(cluster(), NODE, ({ ready }) => ready === 'true', 120_000);
  });

  it('keeps its label through a briefly full disk, and loses it if that lasts', LONG, async () => {
    const labels: string[] = [];
    const watch = watchLabels(cluster(), [NODE], [READY_PATH], ([label = '']) => labels.push(label));
    try {
      await fill();
      await evaluated('NodeExhausted');
      await empty();
      await evaluated('SandboxProven');
      assert.deepEqual([...new Set(labels)], ['true']);
      await fill();
      const readiness = await waitForNode(cluster(), NODE, ({ ready }) => ready === 'false', 180_000);
      assert.equal(readiness.condition, 'Unknown NodeExhausted');
    } finally {
      watch.close();
      await empty();
    }
    await waitForNode(cluster(), NODE, ({ ready }) => ready === 'true', 120_000);
  });
});

/** Waits until an evaluation has this reason. */
async function evaluated(reason: string): Promise<void> {
  await waitFor(`an evaluation with ${reason}`, 60_000, async () => {
    return (await readReport(cluster(), NODE)).evaluation.verdict.reason === reason;
  });
}

/** Mounts a full file system where containerd creates sandboxes, and triggers an evaluation. */
async function fill(): Promise<void> {
  await node().system.run(['mount', '-t', 'tmpfs', '-o', 'size=4k', 'full', BUNDLES]);
  await node().system.run(['sh', '-c', `head -c 4k /dev/zero > ${BUNDLES}/full || true`]);
  await node().system.run(['touch', RUNSC]);
}

async function empty(): Promise<void> {
  await node().system.run(['sh', '-c', `umount ${BUNDLES} 2>/dev/null || true`]);
  await node().system.run(['touch', RUNSC]);
}
