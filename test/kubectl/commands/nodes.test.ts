import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { forbidden } from '../fake-api.ts';
import { AGENT_PODS, addHandler, FLEET_VIEW, openFleet, setNode, viewOf } from '../fleet.ts';
import { agentObject, nodeObject } from '../fleet-objects.ts';
import { overlongLines } from '../run-plugin.ts';

describe('nodes', () => {
  it('shows the label, the condition and the agent of every node, those that need a person first', async (t) => {
    const { api, run } = await openFleet(t);
    api.list(AGENT_PODS, [
      agentObject('node-1'),
      agentObject('node-2', { ready: false }),
      agentObject('node-3', { waiting: 'ImagePullBackOff' }),
    ]);
    const { code, out, err } = await run('nodes');
    assert.deepEqual([code, err], [0, '']);
    assert.deepEqual(out.split('\n'), [
      'NAME     STATUS   EXPECTED   READY   REASON          SINCE   AGENT              RUNSC',
      'node-2   Ready    yes        true    SandboxProven   5m      NotReady           release-20260223.0',
      'node-3   Ready    yes        false   ShimNotFound    5m      ImagePullBackOff   release-20260223.0',
      'node-1   Ready    yes        true    SandboxProven   5m      Ready              release-20260223.0',
      '',
    ]);
  });

  it('shows which nodes are NotReady or cordoned, even with long names at 80 columns', async (t) => {
    const { api, run } = await openFleet(t);
    const long = 'ip-10-0-0-6.eu-central-1.compute.internal';
    api.list('/api/v1/nodes', [
      nodeObject('node-1', { alive: false }),
      nodeObject(long, { spec: { unschedulable: true } }),
      nodeObject('node-3', { alive: false, spec: { unschedulable: true } }),
    ]);
    const { out } = await run('nodes', { width: 80 });
    assert.match(out, /^NotReady +true .* node-1$/m);
    assert.match(out, /^cordoned +true .* ip-10\S+internal$/m);
    assert.match(out, /^NotReady,cordoned +true .* node-3$/m);
  });

  it('shows the additional handlers in a wide table, where there are any', async (t) => {
    const { api, run } = await openFleet(t);
    assert.doesNotMatch((await run('nodes -o wide')).out, /HANDLERS/);
    addHandler(api);
    assert.doesNotMatch((await run('nodes')).out, /HANDLERS/);
    for (const width of [120, 200]) {
      const { out } = await run('nodes -o wide', { width });
      assert.match(out, /^NAME .* HANDLERS {10}.*\nnode-1 .* runsc-kvm {9}.*\nnode-2 .* runsc-kvm=false /);
    }
    const { nodes } = JSON.parse((await run('nodes -o json')).out) as { nodes: { handlers: object }[] };
    assert.deepEqual(nodes[1]?.handlers, { 'runsc-kvm': 'false' });
  });

  it('lists the nodes that -l selects', async (t) => {
    const { api, run } = await openFleet(t);
    api.list('/api/v1/nodes?labelSelector=pool=a', [nodeObject('node-2')]);
    assert.match((await run('nodes -l pool=a --no-headers')).out, /^node-2 .*\n$/);
    api.list('/api/v1/nodes?labelSelector=pool=b', []);
    assert.equal((await run('nodes -l pool=b')).err, 'No node has those labels.\n');
  });

  it('shows first which labels are refuted by their agents, as the fleet controller says', async (t) => {
    const { api, run } = await openFleet(t);
    const message = 'on node-2 the agent says RunscNotFound.';
    const alarms = [{ reason: 'LabelOutdated', message }];
    api.stubs.set(FLEET_VIEW, { ...viewOf(api), alarms });
    assert.equal((await run('nodes')).err, `LabelOutdated: ${message}\n`);
    api.stubs.delete(FLEET_VIEW);
    assert.deepEqual([(await run('nodes')).code, (await run('nodes')).err], [0, '']);
  });

  it('prints YAML', async (t) => {
    const { run } = await openFleet(t);
    assert.match((await run('nodes -o yaml')).out, /^nodes:\n {2}- name: node-\d\n/);
  });

  it('adds columns with -o wide, and omits headers with --no-headers', async (t) => {
    const { run } = await openFleet(t);
    assert.match((await run('nodes -owide')).out, / MESSAGE\n.*\n.*systrap +0\.1\.0 +2\.4\.2 +booted\n/);
    assert.doesNotMatch((await run('nodes --no-headers')).out, /NAME/);
  });

  it('fits terminals of 60 and 80 columns, with colours where there are any', async (t) => {
    const { api, run } = await openFleet(t);
    setNode(
      api,
      nodeObject('node-2', { message: 'a message that is longer than any terminal is wide '.repeat(4) }),
    );
    for (const width of [60, 80])
      for (const argv of ['nodes', 'nodes -o wide', 'status', 'check', 'why node-3'])
        assert.deepEqual(overlongLines(await run(argv, { width }), width), [], argv);
    assert.ok((await run('nodes', { colored: true })).out.includes('\u001b[32mtrue'));
    assert.ok(!(await run('nodes')).out.includes('\u001b'));
  });

  it('sanitizes the text of nodes', async (t) => {
    const { api, run } = await openFleet(t);
    setNode(
      api,
      nodeObject('node-2', { reason: 'Bad\u001b[2J', message: '\u001b]0;owned\u0007\r\nnode-9   true' }),
    );
    for (const argv of ['nodes -o wide', 'nodes -o json', 'nodes -o yaml', 'why node-2']) {
      const { out } = await run(argv);
      assert.doesNotMatch(out.replaceAll('\n', ''), /\p{Cc}|\\u001b/u, argv);
      assert.doesNotMatch(out, /^node-9/m);
    }
  });

  it('works without the permission to list agents', async (t) => {
    const { api, run } = await openFleet(t);
    api.stubs.set(AGENT_PODS, forbidden('list', 'pods', 'gvisor-ready'));
    const { code, out, err } = await run('nodes');
    assert.equal(code, 0);
    assert.match(out, /SandboxProven {3}5m {6}\? /);
    assert.equal(err, 'You may not list the pods of gvisor-ready, so the agents are not shown.\n');
  });

  it('prints each row that changes with -w, below its column, until interrupted', async (t) => {
    const { api, run } = await openFleet(t);
    const stop = new AbortController();
    let out = '';
    const onOutput = (text: string) => {
      out += text;
      if (text.startsWith('NAME')) setNode(api, nodeObject('node-3'));
      else stop.abort();
    };
    const { code, err } = await run('nodes -w', { signal: stop.signal, onOutput });
    assert.deepEqual([code, err], [130, 'Interrupted.\n']);
    assert.deepEqual(out.split('\n').slice(4), [
      'node-3   Ready    yes        true    SandboxProven   5m      Ready   release-20260223.0',
      '',
    ]);
  });
});
