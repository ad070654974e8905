import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { forbidden } from './fake-api.ts';
import { DAEMON_SET, setNode } from './fleet.ts';
import { agentOf, nodeOf } from './fleet-objects.ts';
import { openFleet } from './open-fleet.ts';

const PODS = '/api/v1/namespaces/gvisor-ready/pods';

describe('status', () => {
  it('counts nodes, agents, releases and namespaces, and names the reasons', async (t) => {
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

  it('is fine when every node is proven, and when others have no agent', async (t) => {
    const { api, run } = await openFleet(t);
    setNode(api, nodeOf('node-3', { ready: '', status: '' }));
    const { code, out } = await run('status');
    assert.match(out, /^✓ Nodes {7}2 of 3 proven, 1 not judged$/m);
    assert.equal(code, 0, out);
  });

  it('says how many are proven for now alone', async (t) => {
    const { api, run } = await openFleet(t);
    setNode(api, nodeOf('node-2', { status: 'Unknown', reason: 'SandboxSlow' }));
    assert.match((await run('status')).out, /^✗ Nodes {7}2 of 3 proven \(1 for now\), 1 not ready$/m);
  });

  it('finds the label that has no agent behind it', async (t) => {
    const { api, run } = await openFleet(t);
    api.list(PODS, [agentOf('node-1'), agentOf('node-2', { waiting: 'ErrImagePull' }), agentOf('node-3')]);
    const { code, out } = await run('status');
    assert.equal(code, 1);
    assert.match(out, /^✗ Agents .*the label stands without a Ready agent on node-2$/m);
    assert.match(out, /^label without agent {3}1 {7}node-2$/m);
  });

  it('says when nothing is installed', async (t) => {
    const { api, run } = await openFleet(t);
    api.behind.delete(DAEMON_SET);
    api.list(PODS, []);
    for (const name of ['node-1', 'node-2', 'node-3']) setNode(api, nodeOf(name, { ready: '', status: '' }));
    const { code, out } = await run('status');
    assert.equal(code, 1);
    assert.match(
      out,
      /^✗ Nodes {7}0 of 3 proven, 3 not judged\n✗ Agents {6}there is no DaemonSet gvisor-ready\/gvisor-ready-agent: nobody proves anything$/m,
    );
  });

  it('says what it may not see, and that it could not look', async (t) => {
    const { api, run } = await openFleet(t);
    setNode(api, nodeOf('node-3'));
    api.behind.set(DAEMON_SET, forbidden('get', 'daemonsets', 'gvisor-ready'));
    api.behind.set('/api/v1/namespaces', forbidden('list', 'namespaces'));
    const { code, out } = await run('status');
    assert.equal(code, 2);
    assert.match(out, /^\? Agents {6}you may not read the DaemonSet/m);
    assert.match(out, /^! Namespaces {2}you may not list namespaces$/m);
  });

  it('is for programs as JSON', async (t) => {
    const { run } = await openFleet(t);
    const { lines, notProven } = JSON.parse((await run('status -o json')).out) as Record<
      string,
      readonly object[]
    >;
    assert.deepEqual(notProven, [{ reason: 'ShimNotFound', nodes: ['node-3'] }]);
    assert.deepEqual(lines?.[0], { tone: 'fail', about: 'Nodes', text: '2 of 3 proven, 1 not ready' });
  });
});
