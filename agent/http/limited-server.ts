import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/** How long a connection may lie idle, or not take what it asked for. */
const IDLE_MS = 10_000;
/** How long a connection too many is kept waiting before it is closed: who is closed at once comes back at once. */
const TOO_MANY_MS = 1_000;
/** So many wait at most, whatever their address. */
const MOST_WAITING = 512;

/**
 * A server that pods may ask as often as they like: no address has more than `mostConnections`, so that none takes those of
 * the kubelet's probes, and no connection has more than one question open. Not yet listening.
 */
export function createLimitedServer(
  mostConnections: number,
  answer: (request: IncomingMessage, response: ServerResponse) => void,
): Server {
  /** Connections that wait for an answer. */
  const asking = new WeakSet<Socket>();
  const server = createServer((request, response) => {
    const { socket } = request;
    // No browser, scraper or probe asks before it has its answer, and a thousand questions in one packet cost megabytes.
    if (asking.has(socket)) {
      socket.destroy();
      return;
    }
    asking.add(socket);
    response.on('close', () => asking.delete(socket));
    answer(request, response);
  });
  server.headersTimeout = 5_000;
  server.requestTimeout = 10_000;
  server.setTimeout(IDLE_MS);
  limitConnections(server, mostConnections);
  return server;
}

function limitConnections(server: Server, most: number): void {
  const open = new Map<string, number>();
  let waiting = 0;
  const refuse = (socket: Socket) => {
    socket.on('error', () => {}); // it was the other side's to lose
    if (waiting >= MOST_WAITING) {
      socket.destroy();
      return;
    }
    waiting += 1;
    socket.once('close', () => {
      waiting -= 1;
    });
    setTimeout(() => socket.destroy(), TOO_MANY_MS).unref();
  };
  // What Node does with a connection, a parser of HTTP for each, comes after this.
  const serve = server.listeners('connection');
  server.removeAllListeners('connection');
  server.on('connection', (socket: Socket) => {
    const { remoteAddress = '' } = socket;
    const count = (open.get(remoteAddress) ?? 0) + 1;
    if (count > most) {
      refuse(socket);
      return;
    }
    open.set(remoteAddress, count);
    socket.once('close', () => {
      const left = (open.get(remoteAddress) ?? 1) - 1;
      if (left === 0) open.delete(remoteAddress);
      else open.set(remoteAddress, left);
    });
    for (const listener of serve) listener.call(server, socket);
  });
}
