import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { NO_TURNS } from '../../../lib/fleet/turns.ts';
import { INSTALLATIONS } from '../../agent/sample-installations.ts';
import { type FakeApi, forbidden, refusal } from '../fake-api.ts';
import {
  ADMISSION,
  AGENT_PODS,
  addHandler,
  addWarmPods,
  DAEMON_SET_PATH,
  FLEET_PATH,
  FLEET_PODS,
  FLEET_VIEW,
  fleetDeployment,
  hangSandboxes,
  openFleet,
  SANDBOXES,
  setNode,
  setReport,
  viewOf,
} from '../fleet.ts';
import {
  agentObject,
  agentStatus,
  BROKEN,
  brokenKvm,
  cutOff,
  kvmReport,
  nodeObject,
  podObject,
  UNJUDGED,
  withHandler,
} from '../fleet-objects.ts';
import { itShows } from '../screens.ts';

const BINDINGS = `${ADMISSION}/validatingadmissionpolicybindings`;
const unjudged = (api: FakeApi, ...names: readonly string[]) => {
  for (const name of names) setNode(api, nodeObject(name, UNJUDGED));
};
/** Changes of a fleet of three proven nodes; screens/status.txt has what `status` then prints. */
const CASES: Readonly<Record<string, (api: FakeApi) => void>> = {
  'a node without its shim': (api) => setNode(api, nodeObject('node-3', BROKEN)),
  'nodes where gVisor is not expected apart, and no fault': (api) =>
    setNode(api, nodeObject('node-3', { ...BROKEN, expected: false })),
  'a node outside the DaemonSet, and no fault': (api) => {
    unjudged(api, 'node-3');
    api.list(AGENT_PODS, [agentObject('node-1'), agentObject('node-2')]);
    api.stubs.set(DAEMON_SET_PATH, { status: { desiredNumberScheduled: 2, numberReady: 2 } });
  },
  'pods where gVisor is required on nodes without a Ready agent': (api) => {
    unjudged(api, 'node-2', 'node-3');
    api.list(AGENT_PODS, [agentObject('node-1'), agentObject('node-2', { ready: false })]);
    api.list('/api/v1/namespaces/eval/pods', [podObject('seen'), podObject('out', { nodeName: 'node-3' })]);
    const hidden = { metadata: { name: 'hidden', labels: { 'gvisor-ready.dev/require': 'true' } } };
    const { items } = api.stubs.get('/api/v1/namespaces') as { items: object[] };
    api.list('/api/v1/namespaces', [...items, hidden]);
    api.stubs.set('/api/v1/namespaces/hidden/pods', forbidden('list', 'pods', 'hidden'));
  },
  'a node that its agent has not judged yet': (api) => unjudged(api, 'node-3'),
  'a broken node in a mixed cluster': (api) => {
    setNode(api, nodeObject('node-2', BROKEN));
    setNode(api, nodeObject('node-3', { ...BROKEN, reason: 'HandlerNotConfigured', expected: false }));
  },
  'nodes that are NotReady or cordoned': (api) => {
    setNode(api, nodeObject('node-2', { alive: false }));
    setNode(api, nodeObject('node-3', { spec: { unschedulable: true } }));
  },
  'nothing of policies that the user may not list': (api) =>
    api.stubs.set(BINDINGS, forbidden('list', 'validatingadmissionpolicybindings')),
  'a pod outside gVisor where it is required, first': (api) => {
    api.list('/api/v1/namespaces/eval/pods', [podObject('out'), podObject('open'), podObject('new')]);
    setReport(api, 'node-1', agentStatus('node-1', { outside: ['out'], open: ['open'] }));
  },
  'an additional handler that is lost on a node, before what passes': addHandler,
  'an additional handler that is proven wherever it is configured': (api) => {
    addHandler(api);
    setNode(api, withHandler(nodeObject('node-2'), 'runsc-kvm', 'true'));
    setReport(api, 'node-2', agentStatus('node-2', {}, { handlers: [kvmReport()] }));
  },
  'an additional handler that was never proven on a node': (api) => {
    addHandler(api);
    setNode(api, withHandler(nodeObject('node-2'), 'runsc-kvm', 'false', false));
  },
  'an additional handler that no node has': (api) => {
    addHandler(api);
    for (const name of ['node-1', 'node-2']) {
      setNode(api, withHandler(nodeObject(name), 'runsc-kvm', 'false', false));
      const handlers = [brokenKvm('HandlerNotConfigured')];
      setReport(api, name, agentStatus(name, {}, { handlers }));
    }
  },
  'an additional handler without a report, and one whose label is refused': (api) => {
    addHandler(api);
    setReport(api, 'node-2', agentStatus('node-2'));
    setReport(api, 'node-3', agentStatus('node-3', {}, { handlers: [kvmReport()] }));
  },
  'an additional handler that its agent has not judged yet': (api) => {
    addHandler(api);
    setNode(api, nodeObject('node-2'));
    setReport(api, 'node-2', agentStatus('node-2'));
  },
  'a label of an additional handler without a Ready agent': (api) => {
    addHandler(api);
    setNode(api, withHandler(nodeObject('node-1', BROKEN), 'runsc-kvm', 'true'));
    api.list(AGENT_PODS, [agentObject('node-1', { ready: false }), agentObject('node-2')]);
  },
  'a fleet controller that is scaled to 0': (api) => api.stubs.set(FLEET_PATH, fleetDeployment(0)),
  'a fleet controller that is not there': (api) => api.stubs.delete(FLEET_PATH),
  'a fleet controller that is not Ready': (api) => api.stubs.set(FLEET_PATH, fleetDeployment(1, 0)),
  'a fleet controller that does not respond': (api) => api.stubs.delete(FLEET_VIEW),
  'a fleet controller whose pod cannot be found': (api) => api.stubs.set(FLEET_PODS, refusal(500, 'etcd')),
  'a fleet controller of another version': (api) => api.stubs.set(FLEET_VIEW, { nodes: 1 }),
  'a fleet controller whose circuit breaker is open': (api) =>
    api.stubs.set(FLEET_VIEW, viewOf(api, { breaker: ['TooManyLost'], paused: ['node-1', 'node-2'] })),
  'a node that is ready in a grace period': (api) =>
    setNode(api, nodeObject('node-2', { status: 'Unknown', reason: 'SandboxSlow' })),
  'a label that its agent refutes first, and why it cannot be written': (api) =>
    setReport(api, 'node-2', cutOff('node-2')),
  'a failure that its agent refutes, and why it cannot be written': (api) => {
    setNode(api, nodeObject('node-3', BROKEN));
    const problem = 'PATCH /api/v1/nodes/node-3/status: 403 Forbidden';
    setReport(api, 'node-3', agentStatus('node-3', {}, { nodeWrites: { problem } }));
  },
  'a label that an agent refutes which is not Ready any more': (api) => {
    api.list(
      AGENT_PODS,
      ['node-1', 'node-2', 'node-3'].map((name) => agentObject(name, { ready: name !== 'node-2' })),
    );
    setReport(api, 'node-2', cutOff('node-2'));
  },
  'no label that an agent refutes which has just started': (api) => {
    const verdict = { status: 'Unknown', reason: 'AgentStarting', message: 'm' } as const;
    setReport(api, 'node-2', agentStatus('node-2', {}, { verdict }));
  },
  'a label without a Ready agent': (api) =>
    api.list(AGENT_PODS, [
      agentObject('node-1'),
      agentObject('node-2', { waiting: 'ErrImagePull' }),
      agentObject('node-3'),
    ]),
  'a missing DaemonSet': (api) => {
    api.stubs.delete(DAEMON_SET_PATH);
    api.list(AGENT_PODS, []);
    unjudged(api, 'node-1', 'node-2', 'node-3');
  },
  'sandboxes that hang, where containerd must not restart, and where neither is known': hangSandboxes,
  'how far the installer is': (api) => {
    const { done, failed } = INSTALLATIONS;
    setReport(api, 'node-1', agentStatus('node-1', {}, { installation: done }));
    setReport(api, 'node-2', agentStatus('node-2', {}, { installation: failed }));
  },
  'agents that send no report, below a broken node': (api) => {
    setNode(api, nodeObject('node-3', BROKEN));
    for (const name of ['node-1', 'node-2']) setReport(api, name, refusal(503, 'i/o timeout'));
  },
  'missing permissions, and no label without an agent': (api) => {
    for (const path of [AGENT_PODS, FLEET_PODS])
      api.stubs.set(path, forbidden('list', 'pods', 'gvisor-ready'));
    api.stubs.set(DAEMON_SET_PATH, forbidden('get', 'daemonsets', 'gvisor-ready'));
    api.stubs.set('/api/v1/namespaces', forbidden('list', 'namespaces'));
  },
};

const forwards = ({ requests }: FakeApi) => requests.filter((each) => each.includes('/portforward'));
/** Without the line of the fleet controller. */
const fleetOf = (out: string) => out.replace(/^. Fleet .*\n( {14}.*\n)*/m, '');

describe('status', () => {
  itShows('status', CASES, async (change, t) => {
    const { api, run } = await openFleet(t);
    setNode(api, nodeObject('node-3'));
    change(api);
    const { code, out, err } = await run('status');
    assert.deepEqual(
      [forwards(api).filter((each) => each.includes('/agent-')).length > 0, err],
      [/ Fleet .* (respond|another) /.test(out), ''],
    );
    api.stubs.delete(FLEET_VIEW);
    assert.equal(fleetOf((await run('status')).out), fleetOf(out), 'the same from Nodes and reports');
    return { code, out, err };
  });

  it('needs one port-forward', async (t) => {
    const { api, run } = await openFleet(t);
    await run('status');
    assert.equal(forwards(api).length, 1);
  });

  it('believes no controller that may have missed changes, or sends something else', async (t) => {
    const { api, run } = await openFleet(t);
    const sound = viewOf(api);
    setReport(api, 'node-2', cutOff('node-2'));
    for (const view of [
      { ...sound, upToDate: false },
      { ...sound, nodes: [{}] },
      { status: 200, body: 'x' },
    ]) {
      api.stubs.set(FLEET_VIEW, view);
      assert.match((await run('status')).out, /^✗ Labels {6}still labelled ready: node-2, /m);
    }
  });

  it('shows guards as the fleet controller sees them, also one that was changed on purpose', async (t) => {
    const { api, run } = await openFleet(t);
    setNode(api, nodeObject('node-3'));
    const changeOf = (name: string) => {
      const resource = 'validatingadmissionpolicybinding';
      return { resource, name, aspects: ['matchResources'], digest: '0123456789abcdef' };
    };
    const accepted = [{ guard: 'gvisor-ready-pods', changes: [changeOf('gvisor-ready-pods')] }];
    api.stubs.set(FLEET_VIEW, viewOf(api, { guards: { isRequired: true, missing: [], accepted } }));
    const meant = await run('status');
    assert.match(meant.out, /^✓ Guards {6}gvisor-ready-pods was changed on purpose \(matchResources of/m);
    assert.equal(meant.code, 0);
    const danger = 'pods can run outside gVisor where it is required';
    const changes = [changeOf('gvisor-ready-enforce-pods')];
    const missing = [{ guard: 'gvisor-ready-enforce', effect: 'changed', danger, changes }] as const;
    api.stubs.set(FLEET_VIEW, viewOf(api, { guards: { isRequired: true, missing, lifted: ['training'] } }));
    const weakened = await run('status');
    assert.match(
      weakened.out,
      /^✗ Guards {6}gvisor-ready-enforce is not that of version 0.1.0 \(matchResources of/m,
    );
    assert.match(weakened.out, /no longer required in training/);
    assert.equal(weakened.code, 1);
  });

  it('says which nodes wait for the installer', async (t) => {
    const { api, run } = await openFleet(t);
    const waiting = [{ node: 'node-3', since: '2026-11-25T12:00:00Z', for: 'node-2' }];
    api.stubs.set(FLEET_VIEW, viewOf(api, { turns: { ...NO_TURNS, waiting } }));
    assert.match((await run('status')).out, /^. Installer .*node-3 waits since 2026-11-25 12:00:00 UTC for/m);
  });

  it('says which reports a controller has not read for long', async (t) => {
    const { api, run } = await openFleet(t);
    setNode(api, nodeObject('node-3'));
    api.stubs.set(FLEET_VIEW, viewOf(api, { nowMs: 121_000 }));
    const { code, out } = await run('status');
    assert.equal(code, 2);
    assert.match(out, /^\? Labels {6}what the agents say is unknown on node-1, node-2, node-3$/m);
  });

  it('reads Nodes without asking any agent where the user may not forward ports', async (t) => {
    const { api, run } = await openFleet(t);
    setNode(api, nodeObject('node-3'));
    api.stubs.set(
      `${AGENT_PODS}/fleet-1/portforward`,
      forbidden('create', 'pods/portforward', 'gvisor-ready'),
    );
    const { code, out } = await run('status');
    assert.equal(code, 2);
    assert.match(out, /^\? Labels .* unknown on node-1, node-2, node-3: you may not read the agents'/m);
    assert.match(out, /^✓ Nodes {7}proven on 3 of 3 /m);
    assert.equal(forwards(api).length, 1);
  });

  it('names warm pods whose own handler is lost, or why none was read', async (t) => {
    const { api, run } = await openFleet(t);
    addHandler(api);
    addWarmPods(api, { lost: ['node-2', 'gvisor-kvm'], proven: ['node-2', 'gvisor'] });
    assert.match((await run('status')).out, /^✗ Warm pods {3}1 unclaimed where .*: eval\/lost on node-2; /m);
    api.stubs.set(SANDBOXES, refusal(500, 'conversion webhook failed'));
    assert.match((await run('status')).out, /^\? Warm pods {3}not read: [^✓]* 500 conversion webhook/m);
  });

  it('summarizes the nodes that -l selects', async (t) => {
    const { api, run } = await openFleet(t);
    api.list('/api/v1/nodes?labelSelector=pool=gvisor', [nodeObject('node-1')]);
    const { code, out } = await run('status -l pool=gvisor');
    assert.equal(code, 0);
    assert.match(out, /^✓ Nodes {7}proven on 1 of 1 node that should run gVisor$/m);
  });

  it('waits with --wait until nothing is wrong, and says for what', async (t) => {
    const { api, run } = await openFleet(t);
    const waiting = run('status --wait');
    while (api.requests.filter((each) => each.includes('/portforward')).length < 3) await setTimeout(1);
    setNode(api, nodeObject('node-3'));
    const { code, out, err } = await waiting;
    assert.deepEqual([code, err], [0, 'Waiting: NodesNotProven\n']);
    assert.match(out, /^✓ Nodes {7}proven on 3 of 3 nodes/m);
  });

  it('ends with what is wrong after --timeout', async (t) => {
    const { run } = await openFleet(t);
    const { code, out } = await run('status --timeout 1ms');
    assert.equal(code, 1);
    assert.match(out, /^✗ Nodes /m);
  });

  it('waits for an API server that does not answer yet', async (t) => {
    const { api, run } = await openFleet(t);
    setNode(api, nodeObject('node-3'));
    const namespaces = api.stubs.get('/api/v1/namespaces') ?? {};
    let asked = 0;
    api.stubs.set('/api/v1/namespaces', () => (++asked < 3 ? refusal(500, 'no leader') : namespaces));
    const { code, err } = await run('status --wait');
    assert.equal(code, 0, err);
    assert.match(err, /^Waiting: .* 500 no leader\n$/s);
  });
});
