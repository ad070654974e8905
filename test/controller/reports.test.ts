import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { AgentClient } from '../../controller/agent-client.ts';
import { AgentReports, routineIntervalMs } from '../../controller/reports.ts';
import { waitFor } from '../../hack/run.ts';
import type { AgentPod, FleetNode } from '../../lib/fleet/objects.ts';
import { INSTALLATIONS } from '../agent/sample-installations.ts';
import { sandboxesOf } from '../kubectl/fleet-objects.ts';
import { simulatedNode } from '../lib/fleet/simulated-fleet.ts';
import { agentAt } from './fake-agents.ts';

async function pollOnce(t: TestContext, address: string, body: string) {
  let requests = 0;
  await agentAt(t, address, (_, response) => {
    requests += 1;
    response.end(body);
  });
  return { status: await statusOf(t, address), requests };
}

/** The status of the agent at an address after one poll. */
async function statusOf(t: TestContext, address: string) {
  const reports = poll(t, () => [podAt(address)]);
  return waitFor('the agent to be polled', 10_000, async () => reports.get('node-1'), 20);
}

const podAt = (address: string, changes: Partial<AgentPod> = {}): AgentPod => {
  const pod = { name: 'agent', node: 'node-1', ready: true, revision: 'one', version: '0.1.0' };
  return { ...pod, address, ...changes };
};

/** Each is due again after a whole interval, unless `random` says otherwise. */
function poll(
  t: TestContext,
  pods: () => readonly AgentPod[],
  { now = () => performance.now(), random = (): number => 1 } = {},
) {
  const stop = new AbortController();
  const reports = new AgentReports(new AgentClient(), 15_000, { now, random });
  const running = reports.run(pods, stop.signal);
  t.after(async () => {
    stop.abort();
    await running;
  });
  return reports;
}

describe('routineIntervalMs', () => {
  for (const [agents, ms] of [
    [3, 15_000],
    [750, 15_000],
    [5_000, 100_000],
    [15_000, 300_000],
  ] as const)
    it(`is ${ms / 1_000} s for ${agents} agents`, () => assert.equal(routineIntervalMs(agents, 15_000), ms));
});

describe('AgentReports', () => {
  /** The status of an agent that reports this. */
  const statusWith = async (t: TestContext, address: string, part: object) =>
    (await pollOnce(t, address, JSON.stringify({ version: '0.2.0', ...part }))).status;

  it('have the number of problems of sandboxes, within the limits of a report', async (t) => {
    const sandboxes = sandboxesOf(['x', 'ShimUnresponsive']);
    const seen = async (address: string, change: object) =>
      (await statusWith(t, address, { sandboxes: { ...sandboxes, ...change } })).sandboxes;
    assert.deepEqual(await seen('127.0.0.211', {}), { problems: 1, unsafe: true });
    assert.equal(await seen('127.0.0.212', { total: 1e300 }), undefined);
    assert.equal(await seen('127.0.0.213', { stale: true }), 'stale');
  });

  it('have the number of pods outside gVisor, within the limits of a report', async (t) => {
    const seen = (address: string, podCounts: object) => statusWith(t, address, { podCounts });
    const { pods, unread } = await seen('127.0.0.231', { violating: 2, weakened: 1, open: 0 });
    assert.deepEqual([pods, unread], [{ violating: 2, weakened: 1, open: 0 }, false]);
    assert.equal((await seen('127.0.0.232', { violating: -1, weakened: 0, open: 0 })).pods, undefined);
  });

  it('have what the installer does, without its texts, within the limits of a report', async (t) => {
    const seen = async (address: string, installation: object) =>
      (await statusWith(t, address, { installation })).installation;
    const { failed, interrupted } = INSTALLATIONS;
    const failure = { ...failed.failure, message: '', at: '' };
    assert.deepEqual(await seen('127.0.0.221', failed), { ...failed, failure });
    assert.deepEqual((await seen('127.0.0.222', interrupted))?.pending?.release, 'release-20260223.0');
    assert.equal(await seen('127.0.0.223', { installed: '<b>' }), undefined);
    assert.equal(await seen('127.0.0.224', { installed: 'r'.repeat(99) }), undefined);
  });

  it('have what an agent says, also one that is not Ready, until its pod is replaced', async (t) => {
    const verdict = { status: 'False', reason: 'RunscNotFound', message: 'm' };
    const nodeWrites = { problem: `401\u001b[2J ${'x'.repeat(999)}` };
    const report = JSON.stringify({ version: '0.2.0', node: 'node-1', verdict, nodeWrites });
    await agentAt(t, '127.0.0.241', (_, response) => response.end(report));
    let pod = podAt('127.0.0.241', { ready: false });
    const reports = poll(t, () => [pod]);
    const { statement, live } = await waitFor('a report', 10_000, async () => reports.get('node-1'), 20);
    assert.deepEqual([...(statement?.verdicts ?? [])], [['', { status: 'False', reason: 'RunscNotFound' }]]);
    assert.match(statement?.problem ?? '', /^401\ufffd\[2J x+$/);
    assert.deepEqual([statement?.problem.length, live], [300, true]);
    pod = podAt('127.0.0.242', { name: 'next' });
    await waitFor('the next pod', 10_000, async () => reports.get('node-1')?.unread, 20);
    assert.deepEqual([reports.get('node-1')?.statement, reports.get('node-1')?.live], [undefined, false]);
  });

  it('are read again once label or condition of the node change, and its pod becomes Ready', async (t) => {
    let answered = 0;
    const verdict = { status: 'False', reason: 'RunscNotFound', message: 'm' };
    await agentAt(t, '127.0.0.245', ({ url }, response) => {
      if (url === '/report') answered++;
      response.end(JSON.stringify({ version: `${answered}`, node: 'node-1', verdict }));
    });
    let pod = podAt('127.0.0.245', { ready: false });
    const reports = poll(t, () => [pod]);
    const note = (changes: Partial<FleetNode>) => reports.noteNode(simulatedNode('node-1', changes));
    note({ label: 'true' });
    const read = (version: string) =>
      waitFor(`report ${version}`, 10_000, async () => reports.get('node-1')?.version === version, 5);
    await read('1');
    note({ label: 'true' });
    assert.ok(reports.get('node-1')?.statement);
    note({ label: 'false' });
    assert.equal(reports.get('node-1')?.statement, undefined);
    await read('2');
    note({ label: 'false', verdict: { status: 'False', reason: 'ShimNotFound', message: '', since: '' } });
    assert.equal(reports.get('node-1')?.statement, undefined);
    await read('3');
    pod = { ...pod, ready: true };
    await read('4');
  });

  it('are read again if a watch was lost while the agent answered', async (t) => {
    const asked = Promise.withResolvers<void>();
    const released = Promise.withResolvers<void>();
    let answered = 0;
    await agentAt(t, '127.0.0.238', async (_, response) => {
      asked.resolve();
      await released.promise;
      response.end(JSON.stringify({ version: `${++answered}` }));
    });
    const reports = poll(t, () => [podAt('127.0.0.238')]);
    await asked.promise;
    reports.expireAll();
    released.resolve();
    await waitFor('a second report', 10_000, async () => reports.get('node-1')?.version === '2', 5);
  });

  it('are read rarely in a large fleet, and at once after a watch was lost', async (t) => {
    let nowMs = 0;
    let answered = 0;
    await agentAt(t, '127.0.0.240', (_, response) =>
      response.end(JSON.stringify({ version: `${++answered}` })),
    );
    const addresses = Array.from({ length: 1_000 }, (_, at) => podAt('127.0.0.240', { node: `node-${at}` }));
    const reports = poll(t, () => addresses, { now: () => nowMs });
    const read = (count: number) =>
      waitFor(`${count} reports`, 20_000, async () => answered === count || undefined, 20);
    await read(1_000);
    assert.equal(reports.routineMs, 20_000);
    nowMs = 19_000;
    reports.noteNode(simulatedNode('node-7', { label: 'true' }));
    reports.noteNode(simulatedNode('node-7', { label: 'false' }));
    await read(1_001);
    reports.expireAll();
    await read(2_001);
    nowMs = 39_001;
    await read(3_001);
    nowMs = 40_000;
    reports.dropStatement('node-7');
    nowMs = 55_000;
    await read(3_002);
    assert.equal(reports.get('node-7')?.readMs, 55_000);
  });

  it('are spread over the interval after all were asked at once', async (t) => {
    let [nowMs, answered, asked] = [0, 0, 0];
    await agentAt(t, '127.0.0.239', (_, response) =>
      response.end(JSON.stringify({ version: `${++answered}` })),
    );
    const pods = Array.from({ length: 1_000 }, (_, at) => podAt('127.0.0.239', { node: `node-${at}` }));
    poll(t, () => pods, { now: () => nowMs, random: () => ++asked / 1_000 });
    const read = (count: number) => waitFor(`${count} reports`, 20_000, async () => answered === count, 20);
    await read(1_000);
    nowMs = 5_010;
    await read(1_250);
    nowMs = 10_010;
    await read(1_500);
    nowMs = 25_011; // the first quarter for the third time, and the second half for the second
    await read(2_250);
  });

  it('say nothing of what the Node said after they were asked for', async (t) => {
    const verdict = { status: 'False', reason: 'RunscNotFound', message: 'm' };
    const asked = Promise.withResolvers<void>();
    const answers = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    let readings = 0;
    await agentAt(t, '127.0.0.246', async ({ url }, response) => {
      if (url !== '/report') return response.end();
      const version = `${++readings}`;
      asked.resolve();
      await answers[readings - 1]?.promise;
      return response.end(JSON.stringify({ version, node: 'node-1', verdict }));
    });
    const pods: AgentPod[] = [];
    const reports = poll(t, () => pods);
    const note = (label: string) => reports.noteNode(simulatedNode('node-1', { label }));
    const read = (version: string) =>
      waitFor(`report ${version}`, 10_000, async () => reports.get('node-1')?.version === version, 5);
    note('false');
    pods.push(podAt('127.0.0.246'));
    await asked.promise;
    note('true');
    answers[0]?.resolve();
    await read('1');
    assert.equal(reports.get('node-1')?.statement, undefined);
    answers[1]?.resolve();
    await read('2');
    assert.ok(reports.get('node-1')?.statement);
  });

  it('are of the Ready pod of two on a node', async (t) => {
    for (const [address, version] of [
      ['127.0.0.247', 'new'],
      ['127.0.0.248', 'dying'],
    ] as const)
      await agentAt(t, address, (_, response) => response.end(JSON.stringify({ version })));
    const pods = [
      podAt('127.0.0.247', { name: 'new' }),
      podAt('127.0.0.248', { name: 'dying', ready: false }),
    ];
    for (const order of [pods, pods.toReversed()]) {
      const reports = poll(t, () => order);
      const status = await waitFor('a report', 10_000, async () => reports.get('node-1'), 20);
      assert.equal(status.version, 'new');
    }
  });

  it('read each agent again after the interval, while many others do not answer', async (t) => {
    let [nowMs, answered] = [0, 0];
    await agentAt(t, '127.0.0.243', (_, response) =>
      response.end(JSON.stringify({ version: `${++answered}` })),
    );
    await agentAt(t, '127.0.0.244', () => {});
    const silent = Array.from({ length: 200 }, (_, at) => podAt('127.0.0.244', { node: `silent-${at}` }));
    const pods = [podAt('127.0.0.243'), ...silent];
    const reports = poll(t, () => pods, { now: () => nowMs });
    for (const readings of [1, 2, 3]) {
      await waitFor(`reading ${readings}`, 9_000, async () => answered === readings, 20);
      nowMs += 15_001;
    }
    assert.equal(reports.get('silent-150'), undefined);
  });

  it('truncate a long version, and ignore an invalid time', async (t) => {
    const report = { version: 'v'.repeat(2 ** 18), provenAt: 'x'.repeat(2 ** 17) };
    const { status } = await pollOnce(t, '127.0.0.203', JSON.stringify(report));
    assert.deepEqual([status.version, status.provenAt], ['v'.repeat(64), undefined]);
  });

  it('ignore a proof in the future, beyond a clock skew of a minute', async (t) => {
    const inMs = (ms: number) => new Date(Date.now() + ms).toISOString();
    const [near, far] = [inMs(30_000), inMs(120_000)];
    const { version, provenAt } = await statusWith(t, '127.0.0.208', { provenAt: near });
    assert.deepEqual([version, provenAt], ['0.2.0', near]);
    assert.equal((await statusWith(t, '127.0.0.209', { provenAt: far })).provenAt, undefined);
    const odd = '+012026-01-01T00:00:00Z';
    assert.equal((await statusWith(t, '127.0.0.210', { provenAt: odd })).provenAt, undefined);
  });

  it('ignore a report of more than 512 KiB', async (t) => {
    const report = JSON.stringify({ version: '0.2.0', padding: 'x'.repeat(2 ** 19) });
    const { status, requests } = await pollOnce(t, '127.0.0.202', report);
    assert.deepEqual([status.version, requests], ['', 1]);
  });
});
