import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { agentPodOf, agentSetOf, firstOf, fleetNodeOf } from '../../../lib/fleet/objects.ts';

type Whole<Of extends (...args: never[]) => unknown> = Parameters<Of>[0];
const DOMAIN = 'gvisor.node-restriction.kubernetes.io';
const owner = (kind: string, controller?: boolean) => ({ kind, controller });
const OWNED = {
  name: 'agent-1',
  labels: { 'controller-revision-hash': 'one' },
  ownerReferences: [owner('DaemonSet', true)],
};
const RUNNING = { podIP: '10.0.0.7', phase: 'Running', containerStatuses: [{ state: { running: {} } }] };
const pod = (changes: object, ready = 'True') =>
  agentPodOf({
    metadata: OWNED,
    spec: { nodeName: 'node-1', containers: [{ name: 'agent', image: 'registry:5000/gvisor-ready:0.1.0' }] },
    status: { ...RUNNING, conditions: [{ type: 'Ready', status: ready }] },
    ...changes,
  } as object as Whole<typeof agentPodOf>);

describe('agentPodOf', () => {
  it('picks the node, revision, version and address', () => {
    assert.deepEqual(pod({}), {
      name: 'agent-1',
      node: 'node-1',
      ready: true,
      revision: 'one',
      version: '0.1.0',
      address: '10.0.0.7',
    });
  });

  it('is not ready while it terminates, is not Ready, or has no condition', () => {
    const metadata = { ...OWNED, deletionTimestamp: '2026-11-25T00:00:00Z' };
    assert.equal(pod({ metadata })?.ready, false);
    assert.equal(pod({}, 'False')?.ready, false);
    assert.equal(pod({ status: {} })?.ready, false);
  });

  it('ignores pods that no DaemonSet controls, such as mirror pods', () => {
    for (const ownerReferences of [
      undefined,
      [],
      [owner('Node', true)],
      [owner('DaemonSet')],
      [owner('DaemonSet', false), owner('Node', true)],
    ])
      assert.equal(pod({ metadata: { ...OWNED, ownerReferences } }), undefined);
  });

  it('has an address only while its container runs', () => {
    for (const status of [
      { ...RUNNING, phase: 'Failed' },
      { ...RUNNING, phase: 'Succeeded' },
      { ...RUNNING, containerStatuses: [{ state: { terminated: {} } }] },
      { ...RUNNING, containerStatuses: undefined },
    ])
      assert.equal(pod({ status })?.address, '');
  });

  for (const [image, version] of [
    ['localhost/gvisor-ready:0.1.0', '0.1.0'],
    ['registry:5000/gvisor-ready', 'registry:5000/gvisor-ready'],
    ['registry:5000/gvisor-ready:0.2.0@sha256:00', '0.2.0'],
  ] as const)
    it(`has version ${version} with image ${image}`, () => {
      const spec = { nodeName: 'node-1', containers: [{ name: 'agent', image }] };
      assert.equal(pod({ spec })?.version, version);
    });
});

describe('fleetNodeOf and agentSetOf', () => {
  it('have empty values for absent fields', () => {
    const node = fleetNodeOf({ metadata: { name: 'node-1', uid: '1' } });
    assert.deepEqual(
      { ...node, createdAtMs: 0 },
      {
        name: 'node-1',
        uid: '1',
        createdAtMs: 0,
        label: '',
        egress: '',
        ready: false,
        cordoned: false,
        provenBy: '',
        boot: '',
        provenBoot: '',
        failedBoot: '',
        handlers: [],
        tainted: false,
        gvisor: '',
        runtime: '',
        os: '',
      },
    );
    assert.ok(Number.isNaN(node.createdAtMs), 'an unknown age is no great age');
    assert.deepEqual(agentSetOf({ metadata: { generation: 2 } }), { observed: false, desired: 0, ready: 0 });
  });

  it('pick the boot, the proven boot and the taint', () => {
    const metadata = { annotations: { [`${DOMAIN}/proven-boot`]: 'one' } };
    const spec = { taints: [{ key: `${DOMAIN}/not-ready`, effect: 'NoSchedule' }] };
    const status = { nodeInfo: { bootID: 'two' } as never };
    const { boot, provenBoot, tainted } = fleetNodeOf({ metadata, spec, status });
    assert.deepEqual([boot, provenBoot, tainted], ['two', 'one', true]);
  });

  it('pick the labels of additional handlers, and the boot of their proofs', () => {
    const [ready, boot] = [`${DOMAIN}/ready`, `${DOMAIN}/proven-boot`];
    const labels = { [ready]: 'true', [`${ready}-a`]: 'true', [`${ready}-b`]: 'false' };
    const annotations = { [`${boot}-a`]: 'x'.repeat(1_000), [`${boot}-c`]: 'one' };
    const { handlers } = fleetNodeOf({ metadata: { labels, annotations } });
    assert.deepEqual(handlers, [
      { handler: 'a', label: 'true', provenBoot: 'x'.repeat(64) },
      { handler: 'b', label: 'false', provenBoot: '' },
    ]);
  });

  it('pick whether the node is cordoned, and whether it should run gVisor', () => {
    const labels = { [`${DOMAIN}/expected`]: 'false' };
    const annotations = { [`${DOMAIN}/proven-by`]: '' };
    const picked = [{ labels }, { labels, annotations }].map((metadata) => {
      const { expected, cordoned } = fleetNodeOf({ metadata, spec: { unschedulable: true } });
      return [expected, cordoned];
    });
    assert.deepEqual(picked, [
      [false, true],
      [true, true],
    ]);
  });

  it('truncate texts of a kubelet', () => {
    const long = 'x'.repeat(100_000);
    const condition = { type: 'GVisorReady', status: 'False', reason: long, message: long };
    const nodeInfo = { containerRuntimeVersion: long } as never;
    const { verdict, runtime } = fleetNodeOf({ status: { conditions: [condition], nodeInfo } });
    assert.deepEqual([verdict?.reason.length, verdict?.message.length, runtime.length], [64, 512, 64]);
  });

  it('are ready only where the condition is True', () => {
    const ready = (status: string) =>
      fleetNodeOf({ status: { conditions: [{ type: 'Ready', status }] } }).ready;
    assert.deepEqual(['True', 'False', 'Unknown'].map(ready), [true, false, false]);
  });
});

describe('firstOf', () => {
  it('shows a few names and counts the others', () => {
    assert.equal(firstOf(['a', 'b', 'c', 'd']), 'a, b, c, d');
    assert.equal(firstOf(['a', 'b', 'c', 'd', 'e']), 'a, b, c and 2 more');
  });
});
