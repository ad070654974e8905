import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { breakNode, healNode } from '../../cluster/faults/break-node.ts';
import { evaluationPod, runPod } from '../../cluster/pods.ts';
import { ensureImage } from '../../cluster/tools/images.ts';
import { waitFor } from '../../hack/run.ts';
import { deployImage, deployWith, readinessOf, readNode, waitForNode } from '../e2e/agents.ts';
import { provenAgain, replaceAgent, upgradeInPlace } from '../e2e/disturb.ts';
import { deletePods, useCluster } from '../e2e/e2e-cluster.ts';

const cluster = useCluster();
const TIMES = 3;
const NODES = ['node-1', 'node-2'] as const;
const PODS = ['load-1', 'load-2', 'load-3', 'load-4'];

type Readiness = ReturnType<typeof readinessOf>;
const initial = new Map<string, Readiness>();
let initialPods = '';

/** Node, phase, start time and restarts of each pod. */
function podsNow(): Promise<string> {
  const path =
    'jsonpath={range .items[*]}{.metadata.uid} {.spec.nodeName} {.status.phase} {.status.startTime} {.status.containerStatuses[0].restartCount}{"\\n"}{end}';
  return cluster().kubectl(['get', 'pods', ...PODS, '-o', path]);
}

/** Asserts that nothing was withdrawn, even briefly, by the condition's `lastTransitionTime`. */
async function assertSteady(node: string): Promise<void> {
  const now = readinessOf(await readNode(cluster(), node));
  const { since, condition } = initial.get(node) ?? {};
  assert.deepEqual([now.ready, now.condition, now.since], ['true', condition, since]);
}

describe('the label of a proven node with running gVisor pods does not flap', () => {
  before(async () => {
    for (const node of NODES)
      initial.set(node, await waitForNode(cluster(), node, ({ ready }) => ready === 'true'));
    for (const [index, pod] of PODS.entries()) {
      const spec = { nodeName: NODES[index % NODES.length] };
      await runPod(cluster(), pod, evaluationPod(pod, { gvisor: true, spec }));
    }
    initialPods = await podsNow();
  });
  after(async () => {
    await deletePods(cluster(), ...PODS);
    await deployWith(cluster());
  });

  it(`while the agent is replaced ${TIMES} times`, async () => {
    for (let time = 0; time < TIMES; time++) {
      await replaceAgent(cluster(), 'node-1', time % 2 ? 'force' : 'graceful');
      await assertSteady('node-1');
    }
  });

  it(`while runsc and the shim are upgraded in place ${TIMES} times`, async () => {
    for (let time = 0; time < TIMES; time++) {
      await upgradeInPlace(cluster().node('node-1'));
      await assertSteady('node-1');
    }
    await provenAgain(cluster(), 'node-1');
    await assertSteady('node-1');
  });

  it('while a node breaks and recovers during an outage of the API server', async () => {
    const [one, two] = [cluster().node('node-1'), cluster().node('node-2')];
    await breakNode(cluster(), one, 'api-down');
    await breakNode(cluster(), two, 'shim-missing');
    await healNode(cluster(), two, 'shim-missing');
    await one.restart('containerd');
    await healNode(cluster(), one, 'api-down');
    await cluster().waitForNodes();
    for (const node of NODES) {
      await provenAgain(cluster(), node);
      await assertSteady(node);
    }
  });

  it('while the agent is upgraded to another image under pod churn', async () => {
    const next = await ensureImage('agent-next');
    const upgrade = new AbortController();
    const work = runPods(upgrade.signal);
    await deployImage(cluster(), next);
    upgrade.abort();
    assert.ok((await work) > 0);
    for (const node of NODES) {
      await assertSteady(node);
      await waitForNode(cluster(), node, ({ provenBy }) => provenBy.startsWith('0.2.0+'));
    }
  });

  it('and no gVisor pod was restarted by any of this', async () => {
    for (const node of NODES) await cluster().node(node).restart('kubelet');
    await cluster().waitForNodes([...NODES]);
    for (const pod of PODS)
      await waitFor(
        `the kubelet to exec in ${pod}`,
        30_000,
        async () => (await cluster().kubectl(['exec', pod, '--', 'echo', 'here'])) === 'here\n',
      );
    assert.equal(await podsNow(), initialPods);
  });
});

/** Runs gVisor pods one by one until aborted; returns their number. */
async function runPods(until: AbortSignal): Promise<number> {
  let ran = 0;
  for (; !until.aborted; ran++) {
    const name = `passing-${ran}`;
    await runPod(cluster(), name, evaluationPod(name, { gvisor: true }), 30_000);
    await deletePods(cluster(), name);
  }
  return ran;
}
