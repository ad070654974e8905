import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { describe, it, type TestContext } from 'node:test';
import { AGENT_PORT } from '../../agent/installed.ts';
import { Reports } from '../../fleet/reports.ts';
import { waitFor } from '../../hack/run.ts';

/** Agents have one port, so each test has an address of the loopback for its own. */
async function ask(t: TestContext, address: string, body: string) {
  let asked = 0;
  const server = createServer((_, response) => {
    asked += 1;
    response.end(body);
  });
  server.listen(AGENT_PORT, address);
  await once(server, 'listening');
  const stop = new AbortController();
  const reports = new Reports(5_000);
  const pod = { name: 'agent', node: 'node-1', ready: true, revision: 'one', version: '0.1.0', address };
  const running = reports.run(() => [pod], stop.signal);
  t.after(async () => {
    stop.abort();
    await running;
    server.close();
    server.closeAllConnections();
  });
  const word = await waitFor('the agent to be asked', 10_000, async () => reports.get('node-1'), 20);
  return { word, asked };
}

describe('Reports', () => {
  it('keep what an agent says of its version and its last proof', async (t) => {
    const report = { version: '0.2.0', provenAt: '2026-03-01T10:00:00.000Z' };
    const { word } = await ask(t, '127.0.0.201', JSON.stringify(report));
    assert.deepEqual([word.version, word.provenAt], ['0.2.0', '2026-03-01T10:00:00.000Z']);
  });

  it('keep the beginning of a version that is longer than any, and no time that is none', async (t) => {
    const report = { version: 'v'.repeat(2 ** 20), provenAt: 'x'.repeat(2 ** 20) };
    const { word } = await ask(t, '127.0.0.203', JSON.stringify(report));
    assert.deepEqual([word.version, word.provenAt], ['v'.repeat(64), undefined]);
  });

  it('take no report that is longer than any agent makes', async (t) => {
    const report = JSON.stringify({ version: '0.2.0', padding: 'x'.repeat(5 * 2 ** 20) });
    const { word, asked } = await ask(t, '127.0.0.202', report);
    assert.deepEqual([word.version, asked], ['', 1]);
  });
});
