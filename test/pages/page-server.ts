import { once } from 'node:events';
import type { AddressInfo, Server, Socket } from 'node:net';

/** A server of pages that listens. */
export type PageServer = {
  /** "http://127.0.0.1:…". */
  readonly origin: string;
  /** Ends it, and the connections that a browser opened ahead. */
  readonly close: () => Promise<void>;
};

/** Lets a server listen on a port, 0 for any. */
export async function openServer(server: Server, port: number): Promise<PageServer> {
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => sockets.add(socket));
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: async () => {
      const closed = once(server, 'close');
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}
