import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { AgentClient } from '../../controller/agent-client.ts';
import { AGENT_PORT } from '../../lib/kube/access.ts';
import { agentAt } from './fake-agents.ts';

const client = new AgentClient();

/** Redirects requests from one address to another, as a compromised node could; returns the count of those that arrive. */
async function redirect(t: TestContext, from: string, to: string) {
  let arrived = 0;
  await agentAt(t, from, (_, response) => {
    response.writeHead(302, { location: `http://${to}:${AGENT_PORT}/` }).end();
  });
  await agentAt(t, to, (_, response) => {
    arrived += 1;
    response.end(JSON.stringify({ version: 'another' }));
  });
  return () => arrived;
}

describe('the client of agents', () => {
  it('takes an agent for live without following a redirect', async (t) => {
    const arrived = await redirect(t, '127.0.0.204', '127.0.0.205');
    assert.deepEqual([await client.isLive('127.0.0.204'), arrived()], [false, 0]);
    assert.equal(await client.isLive('127.0.0.205'), true);
  });

  it('reads no redirected text, and at most 512 KiB', async (t) => {
    const arrived = await redirect(t, '127.0.0.191', '127.0.0.192');
    await assert.rejects(client.text('127.0.0.191'), /^Error: status 302$/);
    assert.equal(arrived(), 0);
    let size = 512 * 1024;
    await agentAt(t, '127.0.0.193', (_, response) => response.end('x'.repeat(size)));
    assert.equal((await client.text('127.0.0.193'))?.length, size);
    size += 1;
    await assert.rejects(client.text('127.0.0.193'), /larger than 524288 bytes/);
  });

  it('has no text before the first evaluation', async (t) => {
    await agentAt(t, '127.0.0.194', (_, response) => response.writeHead(503).end('not yet'));
    assert.equal(await client.text('127.0.0.194'), undefined);
  });
});
