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
  whyPod,
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

const GVISOR = { runtimeClassName: 'gvisor' };
const EVENTS = '/api/v1/namespaces/eval/events';

type Case = readonly [pod: ApiFixture, change: (api: FakeApi) => unknown, ...texts: readonly string[]];

const eventOf = (reason: string, message: string, name = 'x') => ({
  reason,
  message,
  lastTimestamp: '2026-03-01T11:59:00Z',
  involvedObject: { kind: 'Pod', name },
});
const outside = (api: FakeApi) => setReport(api, 'node-1', agentStatus('node-1', { outside: ['x'] }));
const hideNodes = (api: FakeApi) => void api.stubs.set('/api/v1/nodes', forbidden('list', 'nodes'));

const RUNNING: Readonly<Record<string, Case>> = {
  'in gVisor': [
    podObject('x', GVISOR),
    (api) => setReport(api, 'node-1', agentStatus('node-1', { inside: ['x'] })),
    '✓ eval/x on node-1 runs in gVisor What was seen',
    'RuntimeClass: "gvisor", handler "runsc"; its namespace requires gVisor',
  ],
  'outside gVisor although its namespace requires it': [
    podObject('x'),
    outside,
    '✗ eval/x on node-1 runs on the kernel of the node, not in gVisor',
    '✗ RuntimeClass: none; its namespace requires gVisor',
    'agent: process 812 is "/pause" What to do Delete it, and create it again with runtimeClassName: gvisor',
  ],
  'outside gVisor although it requests gVisor': [
    podObject('x', GVISOR),
    outside,
    '✗ eval/x on node-1 runs on the kernel of the node, not in gVisor',
    'its process is not gVisor: the handler of this node runs something else',
  ],
  'in gVisor with a way out to the host': [
    podObject('x', GVISOR),
    (api) => setReport(api, 'node-1', agentStatus('node-1', { open: ['x'] })),
    '✗ eval/x on node-1 runs in gVisor with a way out to the host',
    'agent: process 813 is "runsc-sandbox" with host-uds=all: pods can open Unix sockets',
  ],
  'outside gVisor as it requests': [
    podObject('x'),
    (api) => {
      api.stubs.set('/api/v1/namespaces/eval', { metadata: { name: 'eval' } });
      outside(api);
    },
    '✓ eval/x on node-1 runs outside gVisor, as requested',
  ],
  'in gVisor with a shim that a restart of containerd would not find': [
    podObject('x', GVISOR),
    (api) => {
      const sandboxes = sandboxesOf(['x', 'ShimProgramMissing'], ['y', 'ShimOrphaned']);
      setReport(api, 'node-1', agentStatus('node-1', { inside: ['x'] }, { sandboxes }));
    },
    '✓ eval/x on node-1 runs in gVisor What was seen',
    '! ShimProgramMissing: eval/x: seen ShimProgramMissing (PID 900, for 12m) What to do ShimProgramMissing, on the node: Do not restart containerd',
  ],
  'that its agent has not seen': [
    podObject('x', GVISOR),
    () => {},
    '? eval/x on node-1 runs; whether in gVisor is unknown',
    'the agent has not seen it yet',
  ],
  'where the user may read little but the pod': [
    podObject('x', GVISOR),
    (api) => {
      api.stubs.set('/api/v1/nodes/x', forbidden('get', 'nodes'));
      hideNodes(api);
      api.stubs.set('/api/v1/namespaces/eval', forbidden('get', 'namespaces'));
      api.stubs.set(AGENT_PODS, forbidden('list', 'pods', 'gvisor-ready'));
      api.stubs.set(`${CLASS_LIST}/gvisor`, forbidden('get', 'runtimeclasses'));
      api.stubs.set(EVENTS, forbidden('list', 'events', 'eval'));
    },
    '? eval/x on node-1 runs; whether in gVisor is unknown',
    'does not exist or is hidden from you; you may not see whether its namespace requires gVisor',
    'you may not list the pods of gvisor-ready',
  ],
  'with the forged annotation of a static pod': [
    {
      ...podObject('x', GVISOR),
      metadata: {
        ...podObject('x').metadata,
        annotations: { 'kubernetes.io/config.hash': 'uid-in', 'kubernetes.io/config.mirror': 'uid-in' },
      },
    },
    (api) => setReport(api, 'node-1', agentStatus('node-1', { inside: ['in'] })),
    '? eval/x on node-1 runs; whether in gVisor is unknown',
    'the agent has not seen it yet',
  ],
};

const REJECTED = {
  phase: 'Failed',
  reason: 'NodeAffinity',
  message: 'Pod was rejected: Predicate NodeAffinity failed',
};
const ENDED: Readonly<Record<string, Case>> = {
  'rejected by a node without the label': [
    podObject('x', { nodeName: 'node-3', ...GVISOR }, REJECTED),
    () => {},
    '✗ eval/x was rejected by node-3 Pod was rejected: Predicate NodeAffinity failed The node lost its label',
    'See why the node is not ready: kubectl gvisor-ready why node/node-3',
  ],
  'rejected by a node without the label of its additional handler': [
    podObject('x', { nodeName: 'node-2', runtimeClassName: 'gvisor-kvm' }, REJECTED),
    addHandler,
    '✗ eval/x was rejected by node-2',
    '✗ node: node-2 is labelled ready-runsc-kvm: "false" (SandboxFailed: cannot open /dev/kvm)',
    'See why the node is not ready: kubectl gvisor-ready why node/node-2',
  ],
  'that succeeded': [podObject('x', {}, { phase: 'Succeeded' }), () => {}, '✓ eval/x has ended (Succeeded)'],
  'that failed for another reason': [
    podObject('x', {}, { phase: 'Failed', reason: 'Evicted', message: 'low on memory' }),
    () => {},
    '! eval/x has ended (Failed) for reasons unrelated to gVisor Evicted: low on memory',
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
  'because no node is proven': [
    unscheduled(),
    (api) => {
      for (const name of ['node-1', 'node-2'])
        setNode(api, nodeObject(name, { ...BROKEN, reason: 'RunscNotFound' }));
    },
    '✗ eval/x waits for a node 0/3 nodes are available gVisor is proven on no node.',
    '✗ node: node-1 is labelled ready: "false" (RunscNotFound)',
    'kubectl gvisor-ready why node/node-1',
  ],
  'because the proven nodes exclude it': [
    unscheduled(),
    () => {},
    '✗ eval/x waits for a node 0/3 nodes are available gVisor is proven on 2 of 3 nodes. What was seen',
    'What to do See why a node is not proven: kubectl gvisor-ready why node/node-3',
  ],
  'where the user may not list nodes': [
    unscheduled(),
    hideNodes,
    '✗ eval/x waits for a node',
    'You may not list nodes, so it is unknown which are proven.',
  ],
  'for reasons unrelated to gVisor': [
    unscheduled({ runtimeClassName: undefined }),
    () => {},
    '! eval/x waits for a node for reasons unrelated to gVisor, which it does not request',
  ],
  'because of its scheduling gates': [
    unscheduled({ schedulingGates: [{ name: 'quota' }] }),
    () => {},
    '! eval/x waits for a node: its scheduling gates hold it back',
  ],
  'because the additional handler of its class is broken on every node that has it': [
    unscheduled({ runtimeClassName: 'gvisor-kvm', nodeSelector: KVM_READY }),
    (api) => {
      addHandler(api);
      setNode(api, withHandler(nodeObject('node-1'), 'runsc-kvm', 'false'));
      const handlers = [brokenKvm('HandlerNotConfigured', 'no file configures it')];
      setReport(api, 'node-1', agentStatus('node-1', {}, { handlers }));
    },
    '✗ eval/x waits for a node 0/3 nodes are available The handler "runsc-kvm" is proven on no node.',
    '✗ node: node-2 is labelled ready-runsc-kvm: "false" (SandboxFailed: cannot open /dev/kvm) ✗ node: node-1 is labelled ready-runsc-kvm: "false" (HandlerNotConfigured: no file configures it)',
    'See why a node is not proven: kubectl gvisor-ready why node/node-2',
  ],
  'because the nodes where its additional handler is proven exclude it': [
    unscheduled({ runtimeClassName: 'gvisor-kvm', nodeSelector: { ...KVM_READY, zone: 'a' } }),
    addHandler,
    '✗ eval/x waits for a node',
    'The handler "runsc-kvm" is proven on 1 of 3 nodes.',
  ],
  'on a node where its additional handler is broken': [
    starting({ nodeName: 'node-2', runtimeClassName: 'gvisor-kvm' }),
    addHandler,
    '✗ eval/x does not start on node-2: its sandbox is not there yet',
    '✗ node: node-2 is labelled ready-runsc-kvm: "false" (SandboxFailed: cannot open /dev/kvm)',
    '✗ agent: SandboxFailed: cannot open /dev/kvm',
  ],
  'because its sandbox does not boot': [
    starting({ nodeName: 'node-3' }),
    (api) => api.list(EVENTS, [eventOf('FailedCreatePodSandBox', 'failed to create pod sandbox: no shim')]),
    '✗ eval/x does not start on node-3: its sandbox does not boot',
    '! FailedCreatePodSandBox 60s ago: failed to create pod sandbox: no shim',
    '✗ agent: ShimNotFound: containerd does not find the shim',
  ],
  'on a node that is hidden from the user': [
    starting({ nodeName: 'node-3' }),
    hideNodes,
    '! eval/x does not start on node-3',
    '? node: you may not list nodes',
  ],
  'asking for what hangs in gVisor': [
    podObject('x', { hostUsers: false, ...GVISOR }, { phase: 'Pending' }),
    () => {},
    '✗ eval/x does not start on node-1: it has hostUsers: false, with which pods hang in gVisor',
    'What to do Remove it, and procMount: Unmasked, which needs it.',
  ],
  'on a proven node': [
    starting(),
    () => {},
    '! eval/x does not start on node-1: its sandbox is not there yet',
  ],
  'because a command of runsc hangs': [
    starting(),
    (api) => hang(api, ['x', 'RuntimeCommandHangs']),
    '✗ eval/x does not start on node-1: a process of its sandbox hangs',
    '! RuntimeCommandHangs: eval/x: seen RuntimeCommandHangs (PID 900, for 12m)',
    'RuntimeCommandHangs, on the node: Do not restart containerd',
    'kill -KILL 900',
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
  'because its shim does not answer': [
    ending(720),
    (api) => hang(api, ['y', 'ShimOrphaned'], ['x', 'ShimUnresponsive'], ['x', 'RuntimeCommandHangs']),
    '✗ eval/x on node-1 should have ended 12m ago: a process of its sandbox hangs What was seen',
    '! ShimUnresponsive: eval/x: seen ShimUnresponsive (PID 901, for 12m) ! RuntimeCommandHangs: eval/x',
    'What to do ShimUnresponsive, on the node: Do not restart containerd',
    'kill -KILL 901: ',
    'See docs/runbooks/GVisorSandboxesHang.md',
  ],
  'for reasons that its agent does not see': [
    ending(720),
    (api) => hang(api, ['y', 'ShimUnresponsive']),
    '✗ eval/x on node-1 should have ended 12m ago: no process of its sandbox hangs What was seen',
    'What to do See the node: kubectl gvisor-ready why node/node-1 See docs/runbooks/GVisorSandboxesHang.md',
  ],
  'unknown without its agent': [
    ending(720),
    (api) => void api.list(AGENT_PODS, []),
    '✗ eval/x on node-1 should have ended 12m ago: whether a process of its sandbox hangs is unknown',
    '? agent: no agent runs there',
  ],
  'because of its finalizers': [
    ending(720, { phase: 'Succeeded' }, { finalizers: ['example.com/save'] }),
    () => {},
    '✗ eval/x on node-1 should have ended 12m ago: its processes have ended, and its finalizers remain: example.com/save',
  ],
  'because its kubelet is away': [
    ending(720),
    (api) => {
      const node = nodeObject('node-1');
      setNode(api, { ...node, status: { ...node.status, conditions: [] } });
    },
    '✗ eval/x on node-1 should have ended 12m ago: the kubelet of its node does not report',
  ],
  'within a minute': [ending(59), outside, '✗ eval/x on node-1 runs on the kernel of the node'],
};

describe('why POD', () => {
  // The first text is the headline with its mark.
  const CODES: Readonly<Record<string, number>> = { '✓': 0, '✗': 1, '!': 1, '?': 2 };
  for (const [state, cases] of Object.entries({
    runs: RUNNING,
    'has ended': ENDED,
    waits: WAITING,
    'does not end': TERMINATING,
  }))
    for (const [what, [pod, change, ...texts]] of Object.entries(cases))
      it(`explains a pod that ${state}: ${what}`, async (t) => {
        const { code, text } = await whyPod(t, pod, change);
        const [first = '', ...others] = texts;
        assert.ok(text.startsWith(first), text);
        for (const other of others) assert.ok(text.includes(other), text);
        assert.equal(code, CODES[first[0] ?? '']);
      });

  it('shows the condition and the event of the scheduler once', async (t) => {
    const { text } = await whyPod(t, unscheduled(), (api) =>
      api.list(EVENTS, [eventOf('FailedScheduling', '0/3 nodes are available')]),
    );
    assert.equal(text.split('0/3 nodes are available').length, 2, text);
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
