import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type FakeApi, forbidden } from '../fake-api.ts';
import {
  AGENT_PODS,
  type ApiFixture,
  addHandler,
  CLASS_LIST,
  openFleet,
  setNode,
  setReport,
} from '../fleet.ts';
import {
  agentStatus,
  BROKEN,
  brokenKvm,
  LABEL_DOMAIN,
  nodeObject,
  type PodProblem,
  podObject,
  sandboxesOf,
  withHandler,
} from '../fleet-objects.ts';
import { itShows } from '../screens.ts';

const GVISOR = { runtimeClassName: 'gvisor' };
const EVENTS = '/api/v1/namespaces/eval/events';

type Case = readonly [pod: ApiFixture, change?: (api: FakeApi) => unknown];

const eventOf = (reason: string, message: string, name = 'x') => ({
  reason,
  message,
  lastTimestamp: '2026-03-01T11:59:00Z',
  involvedObject: { kind: 'Pod', name },
});
const outside = (api: FakeApi) => setReport(api, 'node-1', agentStatus('node-1', { outside: ['x'] }));
const hideNodes = (api: FakeApi) => void api.stubs.set('/api/v1/nodes', forbidden('list', 'nodes'));

const RUNNING: Readonly<Record<string, Case>> = {
  'a pod that runs in gVisor': [
    podObject('x', GVISOR),
    (api) => setReport(api, 'node-1', agentStatus('node-1', { inside: ['x'] })),
  ],
  'a pod that runs outside gVisor although its namespace requires it': [podObject('x'), outside],
  'a pod that runs outside gVisor although it requests gVisor': [podObject('x', GVISOR), outside],
  'a pod that runs in gVisor with a way out to the host': [
    podObject('x', GVISOR),
    (api) => setReport(api, 'node-1', agentStatus('node-1', { open: ['x'] })),
  ],
  'a pod that runs outside gVisor as it requests': [
    podObject('x'),
    (api) => {
      api.stubs.set('/api/v1/namespaces/eval', { metadata: { name: 'eval' } });
      outside(api);
    },
  ],
  'a pod that runs in gVisor with a shim that a restart of containerd would not find': [
    podObject('x', GVISOR),
    (api) => {
      const sandboxes = sandboxesOf(['x', 'ShimProgramMissing'], ['y', 'ShimOrphaned']);
      setReport(api, 'node-1', agentStatus('node-1', { inside: ['x'] }, { sandboxes }));
    },
  ],
  'a pod that runs, which its agent has not seen': [podObject('x', GVISOR)],
  'a pod that runs where the user may read little but the pod': [
    podObject('x', GVISOR),
    (api) => {
      api.stubs.set('/api/v1/nodes/x', forbidden('get', 'nodes'));
      hideNodes(api);
      api.stubs.set('/api/v1/namespaces/eval', forbidden('get', 'namespaces'));
      api.stubs.set(AGENT_PODS, forbidden('list', 'pods', 'gvisor-ready'));
      api.stubs.set(`${CLASS_LIST}/gvisor`, forbidden('get', 'runtimeclasses'));
      api.stubs.set(EVENTS, forbidden('list', 'events', 'eval'));
    },
  ],
  'a pod that runs with the forged annotation of a static pod': [
    {
      ...podObject('x', GVISOR),
      metadata: {
        ...podObject('x').metadata,
        annotations: { 'kubernetes.io/config.hash': 'uid-in', 'kubernetes.io/config.mirror': 'uid-in' },
      },
    },
    (api) => setReport(api, 'node-1', agentStatus('node-1', { inside: ['in'] })),
  ],
};

const REJECTED = {
  phase: 'Failed',
  reason: 'NodeAffinity',
  message: 'Pod was rejected: Predicate NodeAffinity failed',
};
const ENDED: Readonly<Record<string, Case>> = {
  'a pod that was rejected by a node without the label': [
    podObject('x', { nodeName: 'node-3', ...GVISOR }, REJECTED),
  ],
  'a pod that was rejected by a node without the label of its additional handler': [
    podObject('x', { nodeName: 'node-2', runtimeClassName: 'gvisor-kvm' }, REJECTED),
    addHandler,
  ],
  'a pod that succeeded': [podObject('x', {}, { phase: 'Succeeded' })],
  'a pod that failed for another reason': [
    podObject('x', {}, { phase: 'Failed', reason: 'Evicted', message: 'low on memory' }),
  ],
};

const READY = { [`${LABEL_DOMAIN}/ready`]: 'true' };
const KVM_READY = { [`${LABEL_DOMAIN}/ready-runsc-kvm`]: 'true' };
const unscheduled = (spec: object = {}) =>
  podObject(
    'x',
    { nodeName: undefined, ...GVISOR, nodeSelector: READY, ...spec },
    {
      phase: 'Pending',
      conditions: [{ type: 'PodScheduled', status: 'False', message: '0/3 nodes are available' }],
    },
  );
const starting = (spec: object = {}) => podObject('x', { ...GVISOR, ...spec }, { phase: 'Pending' });

const WAITING: Readonly<Record<string, Case>> = {
  'a pod that waits because no node is proven': [
    unscheduled(),
    (api) => {
      for (const name of ['node-1', 'node-2'])
        setNode(api, nodeObject(name, { ...BROKEN, reason: 'RunscNotFound' }));
    },
  ],
  'a pod that waits because the proven nodes exclude it, which condition and event say': [
    unscheduled(),
    (api) => api.list(EVENTS, [eventOf('FailedScheduling', '0/3 nodes are available')]),
  ],
  'a pod that waits where the user may not list nodes': [unscheduled(), hideNodes],
  'a pod that waits for reasons unrelated to gVisor': [unscheduled({ runtimeClassName: undefined })],
  'a pod that waits because of its scheduling gates': [unscheduled({ schedulingGates: [{ name: 'quota' }] })],
  'a pod that waits because the additional handler of its class is broken on every node that has it': [
    unscheduled({ runtimeClassName: 'gvisor-kvm', nodeSelector: KVM_READY }),
    (api) => {
      addHandler(api);
      setNode(api, withHandler(nodeObject('node-1'), 'runsc-kvm', 'false'));
      const handlers = [brokenKvm('HandlerNotConfigured', 'no file configures it')];
      setReport(api, 'node-1', agentStatus('node-1', {}, { handlers }));
    },
  ],
  'a pod that waits because the nodes where its additional handler is proven exclude it': [
    unscheduled({ runtimeClassName: 'gvisor-kvm', nodeSelector: { ...KVM_READY, zone: 'a' } }),
    addHandler,
  ],
  'a pod that waits on a node where its additional handler is broken': [
    starting({ nodeName: 'node-2', runtimeClassName: 'gvisor-kvm' }),
    addHandler,
  ],
  'a pod that waits because its sandbox does not boot': [
    starting({ nodeName: 'node-3' }),
    (api) => api.list(EVENTS, [eventOf('FailedCreatePodSandBox', 'failed to create pod sandbox: no shim')]),
  ],
  'a pod that waits on a node that is hidden from the user': [starting({ nodeName: 'node-3' }), hideNodes],
  'a pod that waits, and asks for what hangs in gVisor': [
    podObject('x', { hostUsers: false, ...GVISOR }, { phase: 'Pending' }),
  ],
  'a pod that waits on a proven node': [starting()],
  'a pod that waits because a command of runsc hangs': [
    starting(),
    (api) => hang(api, ['x', 'RuntimeCommandHangs']),
  ],
};

const hang = (api: FakeApi, ...problems: readonly PodProblem[]) =>
  setReport(api, 'node-1', agentStatus('node-1', {}, { sandboxes: sandboxesOf(...problems) }));
/** A pod whose grace period ended a number of seconds before noon. */
const ending = (seconds: number, status: object = { phase: 'Running' }, metadata: object = {}) => {
  const deletionTimestamp = new Date(Date.parse('2026-03-01T12:00:00Z') - seconds * 1_000).toISOString();
  const pod = podObject('x', GVISOR, status);
  return { ...pod, metadata: { ...pod.metadata, deletionTimestamp, ...metadata } };
};

const TERMINATING: Readonly<Record<string, Case>> = {
  'a pod that does not end because its shim does not answer': [
    ending(720),
    (api) => hang(api, ['y', 'ShimOrphaned'], ['x', 'ShimUnresponsive'], ['x', 'RuntimeCommandHangs']),
  ],
  'a pod that does not end for reasons that its agent does not see': [
    ending(720),
    (api) => hang(api, ['y', 'ShimUnresponsive']),
  ],
  'a pod that does not end, without its agent': [ending(720), (api) => void api.list(AGENT_PODS, [])],
  'a pod that does not end because of its finalizers': [
    ending(720, { phase: 'Succeeded' }, { finalizers: ['example.com/save'] }),
  ],
  'a pod that does not end because its kubelet is away': [
    ending(720),
    (api) => {
      const node = nodeObject('node-1');
      setNode(api, { ...node, status: { ...node.status, conditions: [] } });
    },
  ],
  'a pod that does not end within a minute': [ending(59), outside],
};

describe('why POD', () => {
  itShows('why-pod', { ...RUNNING, ...ENDED, ...WAITING, ...TERMINATING }, async ([pod, change], t) => {
    const { api, run } = await openFleet(t);
    api.stubs.set('/api/v1/namespaces/eval/pods/x', pod);
    change?.(api);
    return run('why x');
  });

  it('explains a pod that admission denied, by its name or that of a controller', async (t) => {
    const { api, run } = await openFleet(t);
    const message = `Error creating: pods "web-7dfb-hgttf" is forbidden: ValidatingAdmissionPolicy 'gvisor-ready-enforce' denied request: write runtimeClassName: gvisor`;
    api.list(EVENTS, [
      eventOf('FailedCreate', 'quota', 'web-1'),
      eventOf('FailedCreate', message, 'web-7dfb'),
    ]);
    for (const name of ['web', 'web-7dfb', 'web-7dfb-hgttf']) {
      const { code, out } = await run(`why ${name}`);
      assert.equal(code, 1);
      assert.match(
        out,
        new RegExp(`^✗ There is no pod eval/${name}: the API server denies the pods of web-7dfb\\n`),
      );
      assert.match(out, /write runtimeClassName: gvisor/);
    }
    assert.equal((await run('why we')).code, 2);
  });
});
