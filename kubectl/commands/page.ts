import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { pipeline } from 'node:stream/promises';
import type { Context } from '../api/context.ts';
import { connectToFleet, FLEET_PORT } from '../cluster/fleet-controller.ts';

/**
 * `page`: serves the controller's page until interrupted. `kubectl port-forward` finds a Deployment's pod by
 * labels, which a kubelet can give to a pod of its own.
 */
export async function page({ api, output, signal }: Context): Promise<never> {
  (await connectToFleet(api)).destroy();
  const clients = new Set<Socket>();
  const server = createServer((client) => {
    clients.add(client);
    client.on('error', () => {}).on('close', () => clients.delete(client));
    connectToFleet(api)
      .then((port) => pipeline(client, port, client))
      .catch(() => client.destroy());
  });
  try {
    await listen(server, FLEET_PORT).catch(() => listen(server, 0));
    // The controller does not know the name of its cluster, and two pages would look alike.
    const context = encodeURIComponent(api.access.context);
    output.out(`http://127.0.0.1:${(server.address() as AddressInfo).port}/#${context}\n`);
    if (!signal.aborted) await once(signal, 'abort');
    throw signal.reason;
  } finally {
    server.close();
    for (const client of clients) client.destroy();
  }
}

function listen(server: Server, port: number): Promise<unknown> {
  server.listen(port, '127.0.0.1');
  return once(server, 'listening');
}
