import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import type { TestContext } from 'node:test';
import { AGENT_PORT } from '../../lib/kube/access.ts';

/** All agents have the same port, so each test has a loopback address of its own. */
export async function agentAt(t: TestContext, address: string, listener: RequestListener) {
  const server = createServer(listener);
  server.listen(AGENT_PORT, address);
  await once(server, 'listening');
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
}
