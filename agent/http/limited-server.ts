import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createDoor, type Server, type Socket } from 'node:net';
import { CONNECTION_BYTES, makeRoom } from './make-room.ts';
import { drop, endAnswer, readQuestion, refuse } from './one-question.ts';

/** How long a connection may last: its question, and its answer, which the other side may take slowly. */
const MOST_MS = 30_000;
/** How long a connection too many is kept waiting before it is closed: who is closed at once comes back at once. */
const TOO_MANY_MS = 1_000;
/** So many wait at most, whatever their address. */
const MOST_WAITING = 512;
/** So many bytes all connections hold at most, with answers that their other sides have not taken; a pod has 256 MiB. */
const MOST_HELD = 32 * 2 ** 20;
/** What of that is left when connections are dropped for a new one: that walks through all of them, and so makes room for many. */
const KEPT = 0.9;

/** So many headers a question has at most: as texts, a thousand short ones take eight times their bytes. */
const MOST_HEADERS = 64;

const LOOPBACK = ['127.0.0.1', '::1', '::ffff:127.0.0.1'];

/**
 * Whether a request came from the loopback of the pod's own network. `kubectl port-forward` comes from there, with the API
 * server's authorization, and so do containers of the same pod. The kernel accepts no such address from another network.
 */
export function isLocal({ socket }: IncomingMessage): boolean {
  return LOOPBACK.includes(socket.remoteAddress ?? '');
}

/** What the kubelet asks, which must not wait for what others do. */
const PROBES = ['/livez', '/readyz'];

/** What a server does for the outside: how many connections one address may have, and the answers. */
export type Limited = {
  readonly mostConnections: number;
  readonly mostMs?: number;
  readonly mostHeld?: number;
  readonly answer: (request: IncomingMessage, response: ServerResponse) => void;
};

/** What an address has open, and what it has asked and was not answered yet. */
type Address = { readonly open: Set<Socket>; readonly asked: Map<Socket, () => void> };

/**
 * A server that pods may ask as often as they like: no address has more than `mostConnections`, so that none takes those of
 * the kubelet's probes; a connection asks one question; and one answer is made in a turn of the loop, for one address after
 * the other, while not too much of earlier ones waits. Not yet listening; its connections keep no process alive.
 */
export function createLimitedServer({
  mostConnections,
  mostMs = MOST_MS,
  mostHeld = MOST_HELD,
  answer,
}: Limited): Server {
  const addresses = new Map<string, Address>();
  let waiting = 0;
  let connected = 0;
  let turning = false;
  let restsUntilMs = 0;
  const connections = () => Array.from(addresses.values(), ({ open }) => open);
  const turn = () => {
    turning = false;
    for (const [name, address] of addresses) {
      const [next] = address.asked;
      if (next === undefined) continue;
      const [socket, reply] = next;
      address.asked.delete(socket);
      // Behind all others.
      addresses.delete(name);
      addresses.set(name, address);
      const begunMs = performance.now();
      makeRoom(connections(), mostHeld);
      reply();
      // The loop accepts one connection a round, so for as long again it goes round without an answer.
      restsUntilMs = 2 * performance.now() - begunMs;
      return askForTurn();
    }
  };
  const askForTurn = () => {
    if (turning) return;
    turning = true;
    const restMs = restsUntilMs - performance.now();
    if (restMs < 1) setImmediate(turn);
    else setTimeout(() => setImmediate(turn), restMs);
  };
  const take = (request: IncomingMessage, response: ServerResponse) => {
    response.shouldKeepAlive = false;
    // Costs less than its parsing, for which nothing waits its turn either.
    if (PROBES.includes(request.url ?? '')) return answer(request, response);
    const { socket } = request;
    addresses.get(socket.remoteAddress ?? '')?.asked.set(socket, () => answer(request, response));
    askForTurn();
  };
  // Node answers an unknown expectation itself, and would keep the connection.
  const parser = createServer(take).on('checkExpectation', take).on('clientError', refuse);
  parser.maxHeadersCount = MOST_HEADERS;
  // What is refused is never read: what its other side sends stays with the kernel.
  return createDoor({ pauseOnConnect: true }, (socket) => {
    socket.unref();
    socket.on('error', () => {}); // it was the other side's to lose
    const { remoteAddress = '' } = socket;
    const address = addresses.get(remoteAddress) ?? { open: new Set(), asked: new Map() };
    const isOneTooMany = address.open.size >= mostConnections;
    const late = setTimeout(() => drop(socket), isOneTooMany ? TOO_MANY_MS : mostMs).unref();
    socket.once('close', () => {
      clearTimeout(late);
      address.asked.delete(socket);
      if (isOneTooMany) {
        waiting -= 1;
        return;
      }
      connected -= 1;
      address.open.delete(socket);
      if (address.open.size === 0) addresses.delete(remoteAddress);
    });
    if (isOneTooMany) {
      if (++waiting > MOST_WAITING) socket.destroy();
      return;
    }
    address.open.add(socket);
    addresses.set(remoteAddress, address);
    connected += 1;
    if (connected * CONNECTION_BYTES > mostHeld) makeRoom(connections(), KEPT * mostHeld);
    // Node calls this after an answer.
    socket.destroySoon = () => endAnswer(socket);
    readQuestion(socket, () => parser.emit('connection', socket));
  });
}
