import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { askPod, eventOf } from './ask-pod.ts';
import { type FakeApi, forbidden } from './fake-api.ts';
import { setNode } from './fleet.ts';
import { nodeOf, podOf } from './fleet-objects.ts';

const SELECTOR = { 'gvisor.node-restriction.kubernetes.io/ready': 'true' };
const UNSCHEDULABLE = {
  phase: 'Pending',
  conditions: [
    { type: 'PodScheduled', status: 'False', reason: 'Unschedulable', message: '0/3 nodes are available' },
  ],
};

describe('why POD that waits', () => {
  const waiting = (spec: object = {}) =>
    podOf(
      'waits',
      { nodeName: undefined, runtimeClassName: 'gvisor', nodeSelector: SELECTOR, ...spec },
      UNSCHEDULABLE,
    );

  it('in the words of the scheduler, once', async (t) => {
    const { out } = await askPod(t, waiting(), ({ api }) =>
      api.list('/api/v1/namespaces/eval/events', [eventOf('FailedScheduling', '0/3 nodes are available')]),
    );
    assert.equal(out.split('0/3 nodes are available').length, 2, out);
  });

  it('since no node is proven', async (t) => {
    const { code, text } = await askPod(t, waiting(), ({ api }) => {
      for (const name of ['node-1', 'node-2'])
        setNode(api, nodeOf(name, { ready: 'false', status: 'False', reason: 'RunscNotFound' }));
    });
    assert.equal(code, 1);
    assert.match(
      text,
      /^✗ eval\/waits waits for a node 0\/3 nodes are available gVisor is proven on no node\./,
    );
    assert.match(text, /✗ node: node-1 says ready: "false" \(RunscNotFound\)/);
    assert.match(text, /kubectl gvisor-ready why node\/node-1/);
  });

  it('since each proven node is closed to it', async (t) => {
    const { text } = await askPod(
      t,
      waiting({ nodeSelector: { ...SELECTOR, 'kubernetes.io/hostname': 'node-2' } }),
      ({ api }) => {
        setNode(api, nodeOf('node-2', { spec: { taints: [{ key: 'gpu', effect: 'NoSchedule' }] } }));
      },
    );
    assert.match(text, /gVisor is proven on 2 of 3 nodes\. Each of those is closed to this pod\./);
    assert.match(text, /! its node selector: keeps it from node-1 ! a taint: keeps it from node-2/);
  });

  it('since proven nodes are full', async (t) => {
    const { text } = await askPod(
      t,
      waiting({ tolerations: [{ key: 'gpu', operator: 'Exists' }] }),
      ({ api }) => {
        setNode(api, nodeOf('node-1', { spec: { unschedulable: true } }));
        const taints = [
          { key: 'gpu', effect: 'NoSchedule' },
          { key: 'costly', effect: 'PreferNoSchedule' },
        ];
        setNode(api, nodeOf('node-2', { spec: { taints } }));
      },
    );
    assert.match(text, /From node-2 only the scheduler's own reasons keep it, such as room\./);
    assert.match(text, /! cordoned: keeps it from node-1/);
  });

  it('for a person who may not list nodes', async (t) => {
    const hide = ({ api }: { readonly api: FakeApi }) =>
      void api.behind.set('/api/v1/nodes', forbidden('list', 'nodes'));
    assert.match(
      (await askPod(t, waiting(), hide)).text,
      /You may not list nodes, so it is not known which are proven\./,
    );
    const pod = podOf('waits', { nodeName: 'node-3', runtimeClassName: 'gvisor' }, { phase: 'Pending' });
    assert.match((await askPod(t, pod, hide)).text, /\? node: you may not list nodes/);
  });

  it('for something that has nothing to do with gVisor', async (t) => {
    assert.match(
      (await askPod(t, waiting({ runtimeClassName: undefined }))).text,
      /gVisor is not why: it does not ask for it/,
    );
    assert.match(
      (await askPod(t, waiting({ schedulingGates: [{ name: 'quota' }] }))).text,
      /its scheduling gates hold it back/,
    );
  });

  it('on a node where its sandbox does not boot', async (t) => {
    const pod = podOf(
      'waits',
      { nodeName: 'node-3', runtimeClassName: 'gvisor' },
      { phase: 'Pending', containerStatuses: [{ state: { waiting: { reason: 'ContainerCreating' } } }] },
    );
    const { code, text } = await askPod(t, pod, ({ api }) =>
      api.list('/api/v1/namespaces/eval/events', [
        eventOf('FailedCreatePodSandBox', 'failed to create pod sandbox: no shim'),
      ]),
    );
    assert.equal(code, 1);
    assert.match(text, /^✗ eval\/waits does not start on node-3: its sandbox does not boot/);
    assert.match(text, /! FailedCreatePodSandBox 60s ago: failed to create pod sandbox: no shim/);
    assert.match(text, /✗ the agent: ShimNotFound: containerd does not find the shim/);
  });

  it('on a proven node, which is no fault yet', async (t) => {
    const pod = podOf('waits', { runtimeClassName: 'gvisor' }, { phase: 'Pending' });
    assert.match(
      (await askPod(t, pod)).out,
      /^! eval\/waits does not start on node-1: its sandbox is not there yet/,
    );
  });
});
