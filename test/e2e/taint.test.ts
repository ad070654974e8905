import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, describe, it } from 'node:test';
import { KUBELET_CONFIG } from '../../cluster/node/config.ts';
import { evaluationPod } from '../../cluster/story.ts';
import { waitFor } from '../../hack/run.ts';
import { agentPids, DOMAIN, deployWith, podEvents, readNode } from './agents.ts';
import { deletePods, runtimeClass, useCluster } from './e2e-cluster.ts';

const cluster = useCluster();

describe('the taint', () => {
  after(async () => {
    await deployWith(cluster());
    await cluster()
      .kubectl(['taint', 'node', 'node-3', `${DOMAIN}/not-ready:NoSchedule-`])
      .catch(() => '');
    await deletePods(cluster(), 'waiting');
    await cluster().kubectl(['delete', 'runtimeclass', 'gvisor-pool', '--ignore-not-found']);
  });

  it('keeps pods off a node that registers again with it until gVisor is proven', async () => {
    await deployWith(cluster(), {}, ['taint']);
    await waitFor('the taint of node-3, which has no gVisor', 30_000, async () => {
      const { spec } = await readNode(cluster(), 'node-3');
      return spec.taints?.some(({ key }) => key === `${DOMAIN}/not-ready`);
    });
    const node = cluster().node('node-1');
    const config = await readFile(node.path(KUBELET_CONFIG), 'utf8');
    const registerWithTaints = [{ key: `${DOMAIN}/not-ready`, effect: 'NoSchedule' }];
    const scheduling = { nodeSelector: { 'example.org/gvisor': 'true' } };
    await cluster().kubectl(['apply', '-f', '-'], runtimeClass('gvisor-pool', 'runsc', scheduling));
    await node.write(KUBELET_CONFIG, JSON.stringify({ ...JSON.parse(config), registerWithTaints }));
    const pids = agentPids(node.machine);
    await node.machine.kill('STOP', pids); // keeps the node in its state before the first evaluation
    try {
      await cluster().kubectl(['delete', 'node', 'node-1']);
      await node.restart('kubelet');
      await cluster().waitForNodes(['node-1']);
      const { spec, metadata } = await readNode(cluster(), 'node-1');
      assert.deepEqual(
        spec.taints?.map(({ key, effect }) => ({ key, effect })).filter(({ key }) => key.startsWith(DOMAIN)),
        registerWithTaints,
      );
      assert.equal(metadata.labels[`${DOMAIN}/ready`], undefined);
      await cluster().kubectl(['label', 'node', 'node-1', 'example.org/gvisor=true']);
      const podSpec = { runtimeClassName: 'gvisor-pool' };
      await cluster().kubectl(
        ['apply', '-f', '-'],
        evaluationPod('waiting', { gvisor: false, spec: podSpec }),
      );
      await waitFor('the scheduler to name the taint', 30_000, async () => {
        const events = await podEvents(cluster(), 'default', 'waiting', 'FailedScheduling');
        return events.some((event) => event.includes('had untolerated taint'));
      });
    } finally {
      await node.machine.kill('CONT', pids);
      await node.write(KUBELET_CONFIG, config);
    }
    await waitFor('the taint to go', 30_000, async () => {
      const { spec, metadata } = await readNode(cluster(), 'node-1');
      const isTainted = spec.taints?.some(({ key }) => key.startsWith(DOMAIN)) ?? false;
      return !isTainted && metadata.labels[`${DOMAIN}/ready`] === 'true';
    });
    await waitFor('the pod to run', 30_000, async () => {
      const path = 'jsonpath={.status.phase} {.spec.nodeName}';
      return (await cluster().kubectl(['get', 'pod', 'waiting', '-o', path])) === 'Running node-1';
    });
    const kernel = await cluster().kubectl(['exec', 'waiting', '--', 'cat', '/proc/version']);
    assert.notEqual(kernel, await readFile('/proc/version', 'utf8'));
  });
});
