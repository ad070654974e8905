import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { forbidden } from '../fake-api.ts';
import { AGENT_PODS, addHandler, CLASS_LIST, KVM_CLASS, openFleet, setReport } from '../fleet.ts';
import { agentObject, agentStatus, podObject } from '../fleet-objects.ts';

const EVAL = '/api/v1/namespaces/eval/pods';
const GVISOR = { runtimeClassName: 'gvisor' };

describe('pods', () => {
  it('shows the runtime of each running pod, as reported by the agent of its node', async (t) => {
    const { api, run } = await openFleet(t);
    api.list(EVAL, [podObject('in', GVISOR), podObject('far', { ...GVISOR, nodeName: 'node-2' })]);
    setReport(api, 'node-1', agentStatus('node-1', { inside: ['in'] }));
    setReport(api, 'node-2', agentStatus('node-2', { inside: ['far'] }));
    const { code, out, err } = await run('pods');
    assert.deepEqual([code, err], [0, '']);
    assert.deepEqual(out.split('\n'), [
      'NAME   IN-GVISOR   WANTED   CLASS    NODE',
      'in     yes         yes      gvisor   node-1',
      'far    yes         yes      gvisor   node-2',
      '',
    ]);
    assert.ok(api.requests.every((request) => !request.includes('agent-node-3')));
    assert.ok(
      api.requests.some((each) => each.startsWith(`GET ${EVAL}?fieldSelector=status.phase%3DRunning`)),
    );
    const { pods } = JSON.parse((await run('pods -o json')).out) as { pods: object[] };
    assert.deepEqual(pods[0], {
      namespace: 'eval',
      name: 'in',
      uid: 'uid-in',
      node: 'node-1',
      runtimeClass: 'gvisor',
      wanted: true,
      inGvisor: 'yes',
      reason: 'ProcessIsGvisor',
    });
  });

  it('wants gVisor for pods of a class that selects the label of an additional handler', async (t) => {
    const { api, run } = await openFleet(t);
    addHandler(api);
    api.stubs.set('/api/v1/namespaces', { items: [] });
    const classes = ['gvisor-kvm', 'kata'].map((name) => ({ runtimeClassName: name }));
    api.list(CLASS_LIST, [KVM_CLASS, { metadata: { name: 'kata' }, handler: 'kata' }]);
    api.list(
      EVAL,
      classes.map((spec, at) => podObject(`p${at}`, spec)),
    );
    assert.match((await run('pods')).out, /^p0 +\? +yes +gvisor-kvm .*\np1 +\? +no +kata /m);
  });

  const WRONG = [
    [
      'outside',
      /^x {3}no {3}yes {3}- {3}node-1 {3}process 812 is "\/pause"\n$/,
      '1 pod should run in gVisor and does not: see kubectl gvisor-ready why POD.\n',
    ],
    [
      'open',
      /^x {3}open {3}yes {3}- {3}node-1 {3}process 813 is "runsc-sandbox" with host-uds=all: /,
      '1 pod in gVisor has a way out to the host: see kubectl gvisor-ready why POD.\n',
    ],
  ] as const;
  for (const [state, row, note] of WRONG)
    it(`reports a pod that is ${state} where gVisor is required`, async (t) => {
      const { api, run } = await openFleet(t);
      api.list(EVAL, [podObject('x')]);
      setReport(api, 'node-1', agentStatus('node-1', { [state]: ['x'] }));
      const { code, out, err } = await run('pods -o wide --no-headers');
      assert.match(out, row);
      assert.deepEqual([code, err], [1, note]);
    });

  it('lists all namespaces with -A, and another with -n', async (t) => {
    const { api, run } = await openFleet(t);
    const proxy = podObject('proxy');
    api.list('/api/v1/pods', [
      podObject('in'),
      { ...proxy, metadata: { ...proxy.metadata, namespace: 'kube-system' } },
    ]);
    setReport(api, 'node-1', agentStatus('node-1', { inside: ['in'], outside: ['proxy'] }));
    const all = await run('pods -A');
    assert.equal(all.code, 0);
    assert.match(all.out, /^NAMESPACE {5}NAME .*\neval .*\nkube-system +proxy +no +no /);
    api.list('/api/v1/namespaces/empty/pods', []);
    const none = await run('pods -n empty');
    assert.deepEqual([none.code, none.out, none.err], [0, '', 'No pod runs in the namespace empty.\n']);
  });

  it('reports missing permissions and unknown runtimes', async (t) => {
    const { api, run } = await openFleet(t);
    api.list(EVAL, [podObject('a', GVISOR), podObject('b', { ...GVISOR, nodeName: 'node-2' })]);
    const forward = (node: string) => `${AGENT_PODS}/agent-${node}/portforward`;
    for (const node of ['node-1', 'node-2'])
      api.stubs.set(forward(node), forbidden('create', 'pods/portforward', 'gvisor-ready'));
    const { code, out, err } = await run('pods');
    assert.equal(code, 2);
    assert.match(out, /^a +\? .*\nb +\? /m);
    assert.equal(
      err,
      "What 2 pods run in is unknown: you may not read the agents' reports: that needs the verbs get and create on pods/portforward in the namespace gvisor-ready.\n",
    );

    for (const node of ['node-1', 'node-2']) api.stubs.delete(forward(node));
    const stale = agentStatus('node-2', { inside: ['b'] });
    setReport(api, 'node-2', { ...stale, pods: { ...stale.pods, stale: true } });
    assert.match(
      (await run('pods')).err,
      /^What 2 pods run in is unknown: the agent has not seen it yet; the agent last read the pods of its node at /,
    );
    setReport(api, 'node-2', { ...stale, pods: undefined });
    assert.match((await run('pods')).err, /; the agent has not read the pods of its node\.$/m);

    api.list(AGENT_PODS, [agentObject('node-2', { waiting: 'CrashLoopBackOff' })]);
    assert.match((await run('pods')).err, /no agent runs on its node/);
    api.stubs.set(AGENT_PODS, forbidden('list', 'pods', 'gvisor-ready'));
    api.stubs.set('/api/v1/namespaces', forbidden('list', 'namespaces'));
    const hidden = await run('pods');
    assert.equal(hidden.code, 2);
    assert.equal(
      hidden.err,
      'You may not list pods of gvisor-ready, namespaces, so this is incomplete.\n' +
        'What 2 pods run in is unknown: you may not list the pods of gvisor-ready.\n',
    );
  });
});
