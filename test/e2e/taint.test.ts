import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, describe, it } from 'node:test';
import { breakNode, healNode } from '../../cluster/faults/break-node.ts';
import { KUBELET_CONFIG } from '../../cluster/node/config.ts';
import { evaluationPod } from '../../cluster/pods.ts';
import { waitFor } from '../../hack/run.ts';
import {
  agentPids,
  DOMAIN,
  deployWith,
  podEvents,
  readNode,
  removeEnforcement,
  waitForNode,
} from './agents.ts';
import { createNamespace, deletePods, runtimeClass, tryCreate, useCluster } from './e2e-cluster.ts';

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

describe('where gVisor is required, a pool that only the taint guards', () => {
  const NAMESPACE = 'required';
  const POOL = { 'example.org/gvisor': 'true' };
  const patch = (kind: string, name: string, operations: readonly object[]) =>
    cluster().kubectl(['patch', kind, name, '--type=json', '-p', JSON.stringify(operations)]);
  const create = (spec: object, ...options: readonly string[]) =>
    tryCreate(
      cluster(),
      NAMESPACE,
      evaluationPod('escape', { gvisor: true, spec }),
      '--as=mallory',
      ...options,
    );
  const EVERYTHING = { tolerations: [{ operator: 'Exists' }] };

  before(async () => {
    await deployWith(cluster(), {}, ['taint', 'enforce']);
    await patch('runtimeclass', 'gvisor', [{ op: 'replace', path: '/scheduling/nodeSelector', value: POOL }]);
    await patch('validatingadmissionpolicy', 'gvisor-ready-enforce-classes', [
      { op: 'test', path: '/spec/variables/1/name', value: 'poolLabels' },
      { op: 'replace', path: '/spec/variables/1/expression', value: "['example.org/gvisor']" },
    ]);
    await createNamespace(cluster(), NAMESPACE, { 'gvisor-ready.dev/require': 'true' });
    const edit = ['create', 'rolebinding', 'mallory', '-n', NAMESPACE, '--clusterrole=edit'];
    await cluster().kubectl([...edit, '--user=mallory']);
    await cluster().kubectl(['label', 'node', 'node-1', 'example.org/gvisor=true', '--overwrite']);
    await breakNode(cluster(), cluster().node('node-1'), 'handler-runs-runc');
    await waitForNode(cluster(), 'node-1', ({ ready }) => ready === 'false');
    await waitFor(
      'the policy',
      30_000,
      async () => (await create(EVERYTHING, '--dry-run=server')).code !== 0,
    );
  });
  after(async () => {
    await healNode(cluster(), cluster().node('node-1'));
    await cluster().kubectl(['delete', 'namespace', NAMESPACE], undefined, 90_000);
    await cluster().kubectl(['label', 'node', 'node-1', 'example.org/gvisor-']);
    await removeEnforcement(cluster());
    await deployWith(cluster());
    await cluster()
      .kubectl(['taint', 'node', 'node-3', `${DOMAIN}/not-ready:NoSchedule-`])
      .catch(() => '');
  });

  it('takes no pod of an editor on an unproven node, whatever it tolerates or selects', async () => {
    for (const spec of [
      EVERYTHING,
      { tolerations: [{ key: `${DOMAIN}/not-ready`, operator: 'Exists', effect: 'NoSchedule' }] },
      { nodeSelector: { 'example.org/gvisor': 'no' } },
      { nodeName: 'node-1', tolerations: [{ operator: 'Exists', effect: 'NoExecute' }] },
    ]) {
      const { code, output } = await create(spec);
      assert.notEqual(code, 0, JSON.stringify(spec));
      assert.match(output, /tolerates the taint|conflict|goes past the scheduler/);
    }
    assert.equal((await create({})).code, 0);
    await waitFor('the scheduler to name the taint', 30_000, async () => {
      const events = await podEvents(cluster(), NAMESPACE, 'escape', 'FailedScheduling');
      return events.some((event) => event.includes('had untolerated taint'));
    });
    const later = [{ op: 'add', path: '/spec/tolerations/-', value: { operator: 'Exists' } }];
    const waiting = ['-n', NAMESPACE, 'pod/escape'];
    await assert.rejects(
      cluster().kubectl(['patch', ...waiting, '--type=json', '-p', JSON.stringify(later), '--as=mallory']),
      /tolerates the taint/,
    );
    await healNode(cluster(), cluster().node('node-1'));
    await cluster().kubectl(
      ['wait', ...waiting, '--for=condition=Ready', '--timeout=170s'],
      undefined,
      100_000,
    );
    const kernel = await cluster().kubectl(['exec', '-n', NAMESPACE, 'escape', '--', 'cat', '/proc/version']);
    assert.notEqual(kernel, await readFile('/proc/version', 'utf8'));
  });
});
