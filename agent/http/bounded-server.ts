import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createDoor, type Server, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';

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

/** As much as a connection costs without an answer: a question that never ends, and what Node keeps for it. */
export const CONNECTION_BYTES = 32_768;

/**
 * Drops connections until all together hold no more than so many bytes, in this process and in the kernel: of the address
 * that holds the most its oldest. An answer counts as a whole until its connection has ended.
 */
export function makeRoom(addresses: Iterable<Iterable<Socket>>, mostBytes: number): void {
  const held = Array.from(addresses, (sockets) => {
    const open = Array.from(sockets, (socket) => ({ socket, bytes: bytesOf(socket) }));
    return { open, bytes: open.reduce((sum, { bytes }) => sum + bytes, 0) };
  });
  let total = held.reduce((sum, { bytes }) => sum + bytes, 0);
  while (total > mostBytes) {
    const worst = held.reduce((most, each) => (each.bytes > most.bytes ? each : most));
    const oldest = worst.open.shift();
    if (oldest === undefined) return;
    if (oldest.bytes > 0) drop(oldest.socket);
    worst.bytes -= oldest.bytes;
    total -= oldest.bytes;
  }
}

function bytesOf({ destroyed, bytesWritten }: Socket): number {
  return destroyed ? 0 : CONNECTION_BYTES + bytesWritten;
}

/** How many bytes a question may have; Node's parser takes no more headers either. */
const MOST_QUESTION = 16_384;
const END = '\r\n\r\n';

/**
 * Calls back when a socket holds one question, and nothing behind it: a packet may have thousands of them, and Node would
 * parse them all before anybody could stop it.
 */
export function readQuestion(socket: Socket, asked: () => void): void {
  let question = Buffer.alloc(0);
  socket.on('data', function read(piece) {
    question = Buffer.concat([question, piece]);
    const end = question.indexOf(END);
    if (end === -1 && question.length < MOST_QUESTION) return;
    socket.off('data', read);
    socket.pause();
    socket.unshift(end === -1 ? question : question.subarray(0, end + END.length));
    asked();
    socket.resume();
    // The parser takes the question in the next tick, and goes on to read by itself.
    process.nextTick(() => socket.pause());
  });
  socket.resume();
}

/**
 * Ends an answer, and keeps the connection until its other side ends it too. A socket that is closed before lives on in
 * the kernel with what was not taken, and nobody would count it.
 */
export function endAnswer(socket: Socket): void {
  socket.end();
  // What comes now lies behind the question. The parser has begun to read again, and lets go of a socket that another hears.
  socket.once('resume', () => socket.removeAllListeners('data').on('data', () => drop(socket)));
  socket.resume();
}

/** Ends a connection with a reset, so that the kernel drops what its other side has not taken. */
export function drop(socket: Socket): void {
  // libuv refuses a reset until an end is through, and Node would lose the socket.
  const isEnding = socket.writableEnded && socket.writableLength === 0 && !socket.writableFinished;
  if (isEnding) socket.once('finish', () => socket.resetAndDestroy());
  else socket.resetAndDestroy();
}

/** Refuses what is no question, as Node does, which would close the connection at once. */
export function refuse({ code }: NodeJS.ErrnoException, socket: Duplex): void {
  if (!socket.writable) return;
  const status = code === 'HPE_HEADER_OVERFLOW' ? '431 Request Header Fields Too Large' : '400 Bad Request';
  socket.write(`HTTP/1.1 ${status}\r\nConnection: close${END}`);
  // It is paused by then.
  setImmediate(() => endAnswer(socket as Socket));
}

/** Ends an answer that nobody may take for something else. How long it may be kept is for each server to say. */
export function send(
  response: ServerResponse,
  status: number,
  body: string | Buffer,
  type = 'text/plain; charset=utf-8',
): void {
  response.writeHead(status, { 'content-type': type, 'x-content-type-options': 'nosniff' });
  response.end(body);
}

/** Answers a probe of the kubelet's; `why` it fails, undefined where it does not. */
export function sendProbe(response: ServerResponse, why: string | undefined): void {
  send(response, why === undefined ? 200 : 503, `${why ?? 'ok'}\n`);
}
