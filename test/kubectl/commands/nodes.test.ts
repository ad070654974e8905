import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { waitFor } from '../../../hack/run.ts';
import { forbidden, refusal } from '../fake-api.ts';
import { AGENT_PODS, addHandler, FLEET_ALARMS, openFleet, setNode, viewOf } from '../fleet.ts';
import { agentObject, nodeObject, withHandler } from '../fleet-objects.ts';
import { overlongLines } from '../run-plugin.ts';

const BROKEN = { ready: 'false', status: 'False', reason: 'ShimNotFound', message: 'no shim' };

describe('nodes', () => {
  it('shows the label, the condition and the agent of every node', async (t) => {
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
      'node-1   Ready    yes        true    SandboxProven   5m      Ready              release-20260223.0',
      'node-2   Ready    yes        true    SandboxProven   5m      NotReady           release-20260223.0',
      'node-3   Ready    yes        false   ShimNotFound    5m      ImagePullBackOff   release-20260223.0',
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
    assert.match(out, /^node-1 +NotReady +true/m);
    assert.match(out, /^ip-10\S+ +cordoned +true/m);
    assert.match(out, /^node-3 +NotReady,cordoned +true/m);
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

  it('lists the nodes that -l selects, and watches those', async (t) => {
    const { api, run } = await openFleet(t);
    api.list('/api/v1/nodes?labelSelector=pool=a', [nodeObject('node-2')]);
    assert.match((await run('nodes -l pool=a --no-headers')).out, /^node-2 .*\n$/);
    api.list('/api/v1/nodes?labelSelector=pool=b', []);
    assert.equal((await run('nodes -l pool=b')).err, 'No node has those labels.\n');
    const stop = new AbortController();
    api.onWatch = () => stop.abort();
    await run('nodes -w -l pool=a', { signal: stop.signal });
    assert.match(api.requests.at(-1) ?? '', /labelSelector=pool%3Da&watch=1/);
  });

  it('shows first which labels are refuted by their agents, as the fleet controller says', async (t) => {
    const { api, run } = await openFleet(t);
    const message = 'on node-2 the agent says RunscNotFound.';
    const alarms = [{ reason: 'LabelOutdated', message }];
    api.stubs.set(FLEET_ALARMS, { ...viewOf(api), nodes: [], alarms });
    assert.equal((await run('nodes')).err, `LabelOutdated: ${message}\n`);
    api.stubs.delete(FLEET_ALARMS);
    assert.deepEqual([(await run('nodes')).code, (await run('nodes')).err], [0, '']);
  });

  it('prints JSON and YAML', async (t) => {
    const { run } = await openFleet(t);
    const { nodes } = JSON.parse((await run('nodes -o json')).out) as { nodes: Record<string, unknown>[] };
    assert.deepEqual(
      nodes.map(({ name }) => name),
      ['node-1', 'node-2', 'node-3'],
    );
    assert.match((await run('nodes -o yaml')).out, /^nodes:\n {2}- name: node-1\n/);
  });

  it('adds columns with -o wide, and omits headers with --no-headers', async (t) => {
    const { run } = await openFleet(t);
    assert.match((await run('nodes -owide')).out, /MESSAGE\n.*systrap +0\.1\.0 +2\.4\.2 +booted\n/);
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
});

describe('nodes -w', () => {
  /** Starts a watch; `lines` returns the output so far. */
  async function watch(t: TestContext, argv = 'nodes -w') {
    const { api, run } = await openFleet(t);
    const stop = new AbortController();
    let printed = '';
    const ends = run(argv, { signal: stop.signal, onOutput: (text) => (printed += text) });
    const lines = () => printed.split('\n').filter(Boolean);
    const until = <T>(what: string, value: () => T | undefined) =>
      waitFor(what, 10_000, async () => value(), 10);
    const wait = (count: number) =>
      until(`${count} lines of ${argv}`, () => (lines().length >= count ? lines() : undefined));
    const opened = (count: number) => until(`watch ${count}`, () => api.watches[count - 1]);
    const send = async (type: string, object: object, nth = 1) =>
      (await opened(nth)).write(`${JSON.stringify({ type, object })}\n`);
    return { api, ends, stop, until, wait, opened, send, lines };
  }

  it('prints a node again when its row changes', async (t) => {
    const { api, ends, stop, wait, send } = await watch(t);
    await wait(4);
    await send('MODIFIED', nodeObject('node-1'));
    await send('BOOKMARK', { metadata: { name: '' } });
    await send(
      'MODIFIED',
      nodeObject('node-1', { ready: 'false', status: 'False', reason: 'RunscNotFound' }),
    );
    await send('DELETED', nodeObject('node-2'));
    await send('MODIFIED', withHandler(nodeObject('node-3', BROKEN), 'runsc-kvm', 'true'));
    await send('MODIFIED', withHandler(nodeObject('node-3', BROKEN), 'runsc-kvm', 'false'));
    const lines = await wait(8);
    assert.equal(
      lines[4],
      'node-1   Ready    yes        false   RunscNotFound   5m      Ready   release-20260223.0',
    );
    assert.match(lines[5] ?? '', /^node-2 .* - {7}Deleted /);
    assert.match(api.requests.find((each) => each.includes('watch=1')) ?? '', /resourceVersion=1/);
    stop.abort();
    assert.equal((await ends).code, 0);
  });

  it('restarts a watch that ends, and prints only what changed meanwhile', async (t) => {
    const { api, ends, stop, wait, opened } = await watch(t);
    await wait(4);
    setNode(api, nodeObject('node-2', { ready: 'false', status: 'Unknown', reason: 'AgentLost' }));
    (await opened(1)).end();
    const lines = await wait(5);
    assert.match(lines[4] ?? '', /^node-2 {3}Ready {4}yes {8}false {3}AgentLost /);
    (await opened(2)).end(`${JSON.stringify({ type: 'ERROR', object: { code: 410 } })}\n`);
    await opened(3);
    stop.abort();
    assert.equal((await ends).out.trim().split('\n').length, 5);
  });

  it('ends with the error of the API server', async (t) => {
    const { api, ends, wait, opened } = await watch(t);
    await wait(4);
    api.stubs.set('/api/v1/nodes', refusal(503, 'no endpoints'));
    (await opened(1)).end();
    const { code, err } = await ends;
    assert.equal(code, 2);
    assert.match(err, /503 no endpoints$/m);
  });

  it('restarts when the version has expired, and ends when the watch is refused', async (t) => {
    const { api, run } = await openFleet(t);
    const responses = [refusal(410, 'expired'), forbidden('watch', 'nodes')];
    api.stubs.set('watch /api/v1/nodes', () => responses.shift() ?? null);
    const { code, err } = await run('nodes -w');
    assert.equal(code, 2);
    assert.match(err, /cannot watch resource "nodes"/);
    assert.deepEqual(responses, []);
  });

  it('prints an object for each change with -o json', async (t) => {
    const { ends, stop, until, wait, send, lines } = await watch(t, 'nodes -w -o json');
    await wait(3);
    await send('MODIFIED', nodeObject('node-1', { reason: 'IsolationWeakened' }));
    await until('the change', () => lines().join('').includes('IsolationWeakened') || undefined);
    stop.abort();
    const objects = (await ends).out
      .split(/(?<=^})\n/m)
      .filter(Boolean)
      .map((text) => JSON.parse(text) as { name: string });
    assert.deepEqual(
      objects.map(({ name }) => name),
      ['node-1', 'node-2', 'node-3', 'node-1'],
    );
  });
});
