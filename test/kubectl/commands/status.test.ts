import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseSelector } from '../../../controller/server.ts';
import { INSTALLATIONS } from '../../agent/sample-installations.ts';
import { type FakeApi, forbidden } from '../fake-api.ts';
import {
  ADMISSION,
  AGENT_PODS,
  addHandler,
  DAEMON_SET_PATH,
  FLEET_PATH,
  FLEET_VIEW,
  fleetDeployment,
  openFleet,
  setNode,
  setReport,
} from '../fleet.ts';
import {
  agentObject,
  agentStatus,
  brokenKvm,
  cutOff,
  kvmReport,
  nodeObject,
  podObject,
  sandboxesOf,
  withHandler,
} from '../fleet-objects.ts';

const BINDINGS = `${ADMISSION}/validatingadmissionpolicybindings`;
const BROKEN = { ready: 'false', status: 'False', reason: 'ShimNotFound' };
const unjudged = (api: FakeApi, ...names: readonly string[]) => {
  for (const name of names) setNode(api, nodeObject(name, { ready: '', status: '' }));
};
const CASES: Readonly<
  Record<string, readonly [change: (api: FakeApi) => void, code: number, ...lines: readonly RegExp[]]>
> = {
  'nodes where gVisor is not expected apart, and no fault': [
    (api) => setNode(api, nodeObject('node-3', { ...BROKEN, expected: false })),
    0,
    /^✓ Nodes {7}2 of 2 nodes that should run gVisor$/m,
    /\n\nNOT EXPECTED {3}NODES {3}WHICH\nShimNotFound {3}1 {7}node-3\n$/,
  ],
  'a node outside the DaemonSet, and no fault': [
    (api) => {
      unjudged(api, 'node-3');
      api.list(AGENT_PODS, [agentObject('node-1'), agentObject('node-2')]);
      api.stubs.set(DAEMON_SET_PATH, { status: { desiredNumberScheduled: 2, numberReady: 2 } });
    },
    0,
    /^✓ Nodes {7}2 of 2 nodes that should run gVisor$/m,
    /^NoAgent {8}1 {7}node-3$/m,
  ],
  'a node that its agent has not judged yet': [
    (api) => unjudged(api, 'node-3'),
    2,
    /^\? Nodes {7}2 of 3 nodes that should run gVisor; 1 not judged yet$/m,
  ],
  'a broken node in a mixed cluster': [
    (api) => {
      setNode(api, nodeObject('node-2', BROKEN));
      setNode(api, nodeObject('node-3', { ...BROKEN, reason: 'HandlerNotConfigured', expected: false }));
    },
    1,
    /^✗ Nodes {7}1 of 2 nodes that should run gVisor\n/,
    /^NOT PROVEN {5}NODES {3}WHICH\nShimNotFound {3}1 {7}node-2\n\nSee why: kubectl gvisor-ready why node-2\n\nNOT EXPECTED /m,
  ],
  'nodes that are NotReady or cordoned': [
    (api) => {
      setNode(api, nodeObject('node-2', { alive: false }));
      setNode(api, nodeObject('node-3', { spec: { unschedulable: true } }));
    },
    0,
    /^! Nodes {7}3 of 3 nodes that should run gVisor, 1 cordoned; 1 NotReady: node-2$/m,
  ],
  'nothing of policies that the user may not list': [
    (api) => {
      api.stubs.set(BINDINGS, forbidden('list', 'validatingadmissionpolicybindings'));
      setNode(api, nodeObject('node-3'));
    },
    0,
    /^✓ Nodes {7}3 of 3 /,
  ],
  'a pod outside gVisor where it is required, first': [
    (api) => {
      api.list('/api/v1/namespaces/eval/pods', [podObject('out'), podObject('open'), podObject('new')]);
      setReport(api, 'node-1', agentStatus('node-1', { outside: ['out'], open: ['open'] }));
    },
    1,
    /^✗ Pods {8}1 outside gVisor where it is required: eval\/out; 1 with a way out to the host: eval\/open; 1\n {14}unknown: eval\/new \(the agent has not seen it yet\)\n✗ Nodes /,
  ],
  'pods that are all in gVisor': [
    (api) => {
      api.list('/api/v1/namespaces/eval/pods', [podObject('in')]);
      setReport(api, 'node-1', agentStatus('node-1', { inside: ['in'] }));
    },
    1,
    /^✓ Pods {8}1 of 1 in gVisor where it is required$/m,
  ],
  'an additional handler that is lost on a node, before what passes': [
    addHandler,
    1,
    /^✗ Handler {5}runsc-kvm on 1 of 3 nodes; SandboxFailed on node-2 for 15m\n✓ Nodes {7}3 of 3 /,
  ],
  'an additional handler that is proven wherever it is configured': [
    (api) => {
      addHandler(api);
      setNode(api, withHandler(nodeObject('node-2'), 'runsc-kvm', 'true'));
      setReport(api, 'node-2', agentStatus('node-2', {}, { handlers: [kvmReport()] }));
    },
    0,
    /^✓ Nodes .*\n✓ Handler {5}runsc-kvm on 2 of 3 nodes$/m,
  ],
  'an additional handler that was never proven on a node': [
    (api) => {
      addHandler(api);
      setNode(api, withHandler(nodeObject('node-2'), 'runsc-kvm', 'false', false));
    },
    0,
    /^! Handler {5}runsc-kvm on 1 of 3 nodes; SandboxFailed on node-2 for 15m$/m,
  ],
  'an additional handler that no node has': [
    (api) => {
      addHandler(api);
      for (const name of ['node-1', 'node-2']) {
        setNode(api, withHandler(nodeObject(name), 'runsc-kvm', 'false', false));
        const handlers = [brokenKvm('HandlerNotConfigured')];
        setReport(api, name, agentStatus(name, {}, { handlers }));
      }
    },
    1,
    /^✗ Handler {5}runsc-kvm on 0 of 3 nodes; pods that request it stay Pending$/m,
  ],
  'an additional handler without a report, and one whose label is refused': [
    (api) => {
      addHandler(api);
      setReport(api, 'node-2', agentStatus('node-2'));
      setReport(api, 'node-3', agentStatus('node-3', {}, { handlers: [kvmReport()] }));
    },
    1,
    /^✗ Handler {5}runsc-kvm on 1 of 3 nodes; NoReport on node-2; NotLabelled on node-3$/m,
  ],
  'an additional handler that its agent has not judged yet': [
    (api) => {
      addHandler(api);
      setNode(api, nodeObject('node-2'));
      setReport(api, 'node-2', agentStatus('node-2'));
    },
    2,
    /^\? Handler {5}runsc-kvm on 1 of 3 nodes; NotJudged on node-2$/m,
  ],
  'a label of an additional handler without a Ready agent': [
    (api) => {
      addHandler(api);
      setNode(api, withHandler(nodeObject('node-1', BROKEN), 'runsc-kvm', 'true'));
      api.list(AGENT_PODS, [agentObject('node-1', { ready: false }), agentObject('node-2')]);
    },
    1,
    /labelled ready without a Ready agent: node-1/,
  ],
  'a fleet controller that is scaled to 0': [
    (api) => api.stubs.set(FLEET_PATH, fleetDeployment(0)),
    1,
    /^✗ Fleet {7}the controller withdraws no labels: it is scaled to 0 \(labels of lost agents stay\)$/m,
  ],
  'a fleet controller that is not there': [
    (api) => api.stubs.delete(FLEET_PATH),
    1,
    /^✗ Fleet {7}the controller withdraws no labels: there is none/m,
  ],
  'a fleet controller that is not Ready': [
    (api) => api.stubs.set(FLEET_PATH, fleetDeployment(1, 0)),
    1,
    /^✗ Fleet {7}.*: its pod is not Ready /m,
  ],
  'a fleet controller that does not respond': [
    (api) => api.stubs.delete(FLEET_VIEW),
    1,
    /^✗ Fleet {7}.*: it does not respond /m,
  ],
  'a fleet controller whose circuit breaker is open': [
    (api) =>
      api.stubs.set(FLEET_VIEW, {
        breaker: [{ reason: 'TooMany' }],
        paused: ['node-1', 'node-2'],
        alarms: [],
      }),
    1,
    /^✗ Fleet {7}.*: its circuit breaker is open \(TooMany; withdrawals paused on\n {14}2 nodes\)$/m,
  ],
  'a node that is ready in a grace period': [
    (api) => setNode(api, nodeObject('node-2', { status: 'Unknown', reason: 'SandboxSlow' })),
    1,
    /^✗ Nodes {7}2 of 3 nodes that should run gVisor; 1 in a grace period: node-2$/m,
  ],
  'a label that its agent refutes first, and why it cannot be written': [
    (api) => setReport(api, 'node-2', cutOff('node-2')),
    1,
    /^✗ Labels {6}still labelled ready: node-2, whose agent says ShimNotFound, and cannot write its Node: PATCH\n {14}.*401 Unauthorized\n✗ Nodes {7}1 of 3 nodes/,
    /^LabelOutdated {3}1 {7}node-2$/m,
  ],
  'a label that an agent refutes which is not Ready any more': [
    (api) => {
      api.list(
        AGENT_PODS,
        ['node-1', 'node-2', 'node-3'].map((name) => agentObject(name, { ready: name !== 'node-2' })),
      );
      setReport(api, 'node-2', cutOff('node-2'));
    },
    1,
    /^✗ Labels {6}still labelled ready: node-2, /,
  ],
  'no label that an agent refutes which has just started': [
    (api) => {
      const verdict = { status: 'Unknown', reason: 'AgentStarting', message: 'm' } as const;
      setNode(api, nodeObject('node-3'));
      setReport(api, 'node-2', agentStatus('node-2', {}, { verdict }));
    },
    0,
    /^✓ Nodes/,
  ],
  'a label without a Ready agent': [
    (api) =>
      api.list(AGENT_PODS, [
        agentObject('node-1'),
        agentObject('node-2', { waiting: 'ErrImagePull' }),
        agentObject('node-3'),
      ]),
    1,
    /^✗ Agents .*labelled ready without a Ready agent: node-2$/m,
    /^LabelWithoutAgent {3}1 {7}node-2$/m,
  ],
  'a missing DaemonSet': [
    (api) => {
      api.stubs.delete(DAEMON_SET_PATH);
      api.list(AGENT_PODS, []);
      unjudged(api, 'node-1', 'node-2', 'node-3');
    },
    1,
    /^✗ Agents {6}there is no DaemonSet gvisor-ready\/gvisor-ready-agent: no node is being proven\n✗ Nodes {7}gVisor is expected on none of 3 nodes; pods that request it stay Pending$/m,
  ],
  'missing permissions, and no label without an agent': [
    (api) => {
      setNode(api, nodeObject('node-3'));
      api.stubs.set(AGENT_PODS, forbidden('list', 'pods', 'gvisor-ready'));
      api.stubs.set(DAEMON_SET_PATH, forbidden('get', 'daemonsets', 'gvisor-ready'));
      api.stubs.set('/api/v1/namespaces', forbidden('list', 'namespaces'));
    },
    2,
    /^\? Agents {6}you may not read the DaemonSet/m,
    /^\? Namespaces {2}you may not list namespaces$/m,
  ],
};

describe('status', () => {
  it('summarizes nodes, agents, releases and namespaces', async (t) => {
    const { run } = await openFleet(t);
    const { code, out } = await run('status');
    assert.equal(code, 1);
    assert.deepEqual(out.split('\n'), [
      '✗ Nodes       2 of 3 nodes that should run gVisor',
      '✓ Pods        none runs where gVisor is required',
      '✓ Fleet       controller Ready, version 0.1.0',
      '✓ Agents      3 of 3 Ready, version 0.1.0',
      '✓ gVisor      release-20260223.0 on 3 nodes',
      '✓ Namespaces  require gVisor: eval; audit: none',
      '',
      'NOT PROVEN     NODES   WHICH',
      'ShimNotFound   1       node-3',
      '',
      'See why: kubectl gvisor-ready why node-3',
      '',
    ]);
  });

  for (const [what, [change, expected, ...lines]] of Object.entries(CASES))
    it(`reports ${what}`, async (t) => {
      const { api, run } = await openFleet(t);
      change(api);
      const { code, out } = await run('status');
      assert.equal(code, expected, out);
      for (const line of lines) assert.match(out, line);
      if (code === 2) assert.doesNotMatch(out, /without/, 'labels without an agent are unknown');
    });

  it('shows how far the installer is, where it is used', async (t) => {
    const { api, run } = await openFleet(t);
    assert.doesNotMatch((await run('status')).out, /Installer/);
    const { done, failed } = INSTALLATIONS;
    setReport(api, 'node-1', agentStatus('node-1', {}, { installation: done }));
    setReport(api, 'node-2', agentStatus('node-2', {}, { installation: failed }));
    assert.match(
      (await run('status')).out.replace(/\s+/g, ' '),
      /! Installer release-20250203\.0 on 2, failed on node-2 \(RunscNotExecutable\) /,
    );
    setReport(api, 'node-2', agentStatus('node-2', {}, { installation: done }));
    assert.match((await run('status')).out, /^✓ Installer +release-20250203\.0 on 2$/m);
    const waiting = [{ node: 'node-3', since: '2026-11-25T12:00:00Z', for: 'node-2' }];
    api.stubs.set(FLEET_VIEW, { breaker: [], paused: [], alarms: [], rollout: { waiting } });
    assert.match((await run('status')).out, /^! Installer .*node-3 waits since 2026-11-25 12:00:00 UTC for/m);
  });

  it('names the nodes where sandboxes hang, where containerd must not restart, and where neither is known', async (t) => {
    const { api, run } = await openFleet(t);
    const sandboxes = sandboxesOf(['x', 'ShimUnresponsive']);
    setReport(api, 'node-1', agentStatus('node-1', {}, { sandboxes }));
    const outdated = { ...sandboxesOf(['y', 'SandboxOutdated']), restart: sandboxesOf().restart };
    setReport(api, 'node-2', agentStatus('node-2', {}, { sandboxes: outdated }));
    setNode(api, nodeObject('node-3'));
    setReport(api, 'node-3', agentStatus('node-3', {}, { sandboxes: { ...sandboxes, stale: true } }));
    const { code, out } = await run('status');
    assert.equal(code, 0);
    assert.equal(
      /^! Sandboxes +(.*?)✓/s.exec(out)?.[1]?.replace(/\s+/g, ' '),
      'problems on node-1, node-2: see kubectl gvisor-ready why NODE; do not restart containerd on node-1; unknown on node-3: the agent last scanned the sandboxes at 2026-03-01T11:59:58Z ',
    );
    const json = JSON.parse((await run('status -o json')).out);
    const { at } = sandboxes;
    assert.deepEqual(json.sandboxes, {
      result: 'warning',
      reasons: ['SandboxesHang', 'RestartUnsafe', 'SandboxesUnknown'],
      problems: [
        { node: 'node-1', at, total: 1, restart: 'unsafe', reasons: { ShimUnresponsive: 1 } },
        { node: 'node-2', at, total: 1, restart: 'safe', reasons: { SandboxOutdated: 1 } },
      ],
      unknown: ['node-3'],
    });
  });

  it('gives the additional handlers as data', async (t) => {
    const { api, run } = await openFleet(t);
    addHandler(api);
    const { handlers, alarms } = JSON.parse((await run('status -o json')).out);
    assert.deepEqual(alarms, ['HandlerNotProven']);
    assert.deepEqual(handlers, [
      {
        result: 'fail',
        reasons: ['HandlerNotProven'],
        handler: 'runsc-kvm',
        expected: 3,
        proven: 1,
        notProven: [
          { reason: 'SandboxFailed', nodes: ['node-2'], since: '2026-03-01T11:45:00Z' },
          { reason: 'HandlerNotConfigured', nodes: ['node-3'], since: '2026-03-01T11:45:00Z' },
        ],
      },
    ]);
  });

  it('reads each report once', async (t) => {
    const { api, run } = await openFleet(t);
    api.list('/api/v1/namespaces/eval/pods', [podObject('in')]);
    setReport(api, 'node-1', agentStatus('node-1', { inside: ['in'] }));
    await run('status');
    const read = api.requests.filter((each) => each.includes('/agent-node-1/portforward'));
    assert.equal(read.length, 1);
  });

  it('asks the fleet controller for its state without rows', () => {
    const labels = new URL(FLEET_VIEW, 'http://fleet').searchParams.get('labels') ?? '';
    const matches = parseSelector(labels);
    assert.ok(typeof matches === 'function', labels);
    assert.deepEqual([matches({}), matches({ 'kubernetes.io/hostname': 'node-1' })], [false, false]);
  });

  it('summarizes the nodes that -l selects', async (t) => {
    const { api, run } = await openFleet(t);
    api.list('/api/v1/nodes?labelSelector=pool=gvisor', [nodeObject('node-1')]);
    const { code, out } = await run('status -l pool=gvisor');
    assert.equal(code, 0);
    assert.match(out, /^✓ Nodes {7}1 of 1 node that should run gVisor$/m);
  });
});
