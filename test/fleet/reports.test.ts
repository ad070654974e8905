import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import { describe, it, type TestContext } from 'node:test';
import { AGENT_PORT } from '../../agent/kube/access.ts';
import { AgentReports, isAgentLive } from '../../fleet/reports.ts';
import { waitFor } from '../../hack/run.ts';

/** Agents have one port, so each test has an address of the loopback for its own. */
async function agentAt(t: TestContext, address: string, answer: RequestListener) {
  const server = createServer(answer);
  server.listen(AGENT_PORT, address);
  await once(server, 'listening');
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
}

async function ask(t: TestContext, address: string, body: string) {
  let asked = 0;
  await agentAt(t, address, (_, response) => {
    asked += 1;
    response.end(body);
  });
  return { word: await wordOf(t, address), asked };
}

/** What the agent at an address says when it was asked once. */
async function wordOf(t: TestContext, address: string) {
  const stop = new AbortController();
  const reports = new AgentReports(5_000);
  const pod = { name: 'agent', node: 'node-1', ready: true, revision: 'one', version: '0.1.0', address };
  const running = reports.run(() => [pod], stop.signal);
  t.after(async () => {
    stop.abort();
    await running;
  });
  return waitFor('the agent to be asked', 10_000, async () => reports.get('node-1'), 20);
}

/** A node that was taken over sends whom it is asked by elsewhere; gives how often that was heard there. */
async function sendElsewhere(t: TestContext, from: string, to: string) {
  let heard = 0;
  await agentAt(t, from, (_, response) => {
    response.writeHead(302, { location: `http://${to}:${AGENT_PORT}/` }).end();
  });
  await agentAt(t, to, (_, response) => {
    heard += 1;
    response.end(JSON.stringify({ version: 'of another' }));
  });
  return () => heard;
}

describe('isAgentLive', () => {
  it('goes nowhere else', async (t) => {
    const heard = await sendElsewhere(t, '127.0.0.204', '127.0.0.205');
    assert.deepEqual([await isAgentLive('127.0.0.204'), heard()], [false, 0]);
    assert.equal(await isAgentLive('127.0.0.205'), true);
  });
});

describe('Reports', () => {
  it('go nowhere else', async (t) => {
    const heard = await sendElsewhere(t, '127.0.0.206', '127.0.0.207');
    const word = await wordOf(t, '127.0.0.206');
    assert.deepEqual([word.version, heard()], ['', 0]);
  });

  it('keep what an agent says of its version and its last proof', async (t) => {
    const report = { version: '0.2.0', provenAt: '2026-03-01T10:00:00.000Z' };
    const { word } = await ask(t, '127.0.0.201', JSON.stringify(report));
    assert.deepEqual([word.version, word.provenAt], ['0.2.0', '2026-03-01T10:00:00.000Z']);
  });

  it('keep the beginning of a version that is longer than any, and no time that is none', async (t) => {
    const report = { version: 'v'.repeat(2 ** 18), provenAt: 'x'.repeat(2 ** 17) };
    const { word } = await ask(t, '127.0.0.203', JSON.stringify(report));
    assert.deepEqual([word.version, word.provenAt], ['v'.repeat(64), undefined]);
  });

  it('keep no time of a proof that is yet to come, unless a clock may be that far ahead', async (t) => {
    const inMs = (ms: number) => new Date(Date.now() + ms).toISOString();
    const [near, far] = [inMs(30_000), inMs(120_000)];
    const said = async (address: string, provenAt: string) =>
      (await ask(t, address, JSON.stringify({ version: '0.2.0', provenAt }))).word.provenAt;
    assert.equal(await said('127.0.0.208', near), near);
    assert.equal(await said('127.0.0.209', far), undefined);
    assert.equal(await said('127.0.0.210', '+012026-01-01T00:00:00Z'), undefined);
  });

  it('take no report that is longer than any agent makes', async (t) => {
    const report = JSON.stringify({ version: '0.2.0', padding: 'x'.repeat(2 ** 19) });
    const { word, asked } = await ask(t, '127.0.0.202', report);
    assert.deepEqual([word.version, asked], ['', 1]);
  });
});
