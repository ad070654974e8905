import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { INSTALLATIONS } from '../../agent/sample-installations.ts';
import { type FakeApi, forbidden } from '../fake-api.ts';
import { AGENT_PODS, DAEMON_SET_PATH, openFleet, setNode, setReport } from '../fleet.ts';
import { agentObject, agentStatus, nodeObject, sandboxesOf } from '../fleet-objects.ts';

const unjudged = (api: FakeApi, ...names: readonly string[]) => {
  for (const name of names) setNode(api, nodeObject(name, { ready: '', status: '' }));
};
const CASES: Readonly<
  Record<string, readonly [change: (api: FakeApi) => void, code: number, ...lines: readonly RegExp[]]>
> = {
  'that every node with an agent is proven': [
    (api) => unjudged(api, 'node-3'),
    0,
    /^✓ Nodes {7}2 of 3 proven, 1 not judged$/m,
  ],
  'a node that is ready in a grace period': [
    (api) => setNode(api, nodeObject('node-2', { status: 'Unknown', reason: 'SandboxSlow' })),
    1,
    /^✗ Nodes {7}2 of 3 proven \(1 in a grace period\), 1 not ready$/m,
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
    /^label without agent {3}1 {7}node-2$/m,
  ],
  'a missing DaemonSet': [
    (api) => {
      api.stubs.delete(DAEMON_SET_PATH);
      api.list(AGENT_PODS, []);
      unjudged(api, 'node-1', 'node-2', 'node-3');
    },
    1,
    /^✗ Nodes {7}0 of 3 proven, 3 not judged\n✗ Agents {6}there is no DaemonSet gvisor-ready\/gvisor-ready-agent: no node is being proven$/m,
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
    /^! Namespaces {2}you may not list namespaces$/m,
  ],
};

describe('status', () => {
  it('summarizes nodes, agents, releases and namespaces', async (t) => {
    const { run } = await openFleet(t);
    const { code, out } = await run('status');
    assert.equal(code, 1);
    assert.deepEqual(out.split('\n'), [
      '✗ Nodes       2 of 3 proven, 1 not ready',
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
      out.split(/\n! Sandboxes +/)[1]?.replace(/\s+/g, ' '),
      'problems on node-1, node-2: see kubectl gvisor-ready why NODE; do not restart containerd on node-1; unknown on node-3: the agent last scanned the sandboxes at 2026-03-01T11:59:58Z ',
    );
    const json = JSON.parse((await run('status -o json')).out);
    assert.deepEqual(json.sandboxes, [
      { node: 'node-1', sandboxes },
      { node: 'node-2', sandboxes: outdated },
    ]);
  });

  it('prints JSON', async (t) => {
    const { run } = await openFleet(t);
    const { lines, notProven } = JSON.parse((await run('status -o json')).out) as Record<
      string,
      readonly object[]
    >;
    assert.deepEqual(notProven, [{ reason: 'ShimNotFound', nodes: ['node-3'] }]);
    assert.deepEqual(lines?.[0], { tone: 'fail', about: 'Nodes', text: '2 of 3 proven, 1 not ready' });
  });
});
