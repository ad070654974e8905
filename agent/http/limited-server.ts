import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createDoor, type Server, type Socket } from 'node:net';

/** How long a connection may last: its question, and its answer, which the other side may take slowly. */
const MOST_MS = 30_000;
/** How long a connection too many is kept waiting before it is closed: who is closed at once comes back at once. */
const TOO_MANY_MS = 1_000;
/** So many wait at most, whatever their address. */
const MOST_WAITING = 512;
/** How many bytes a question may have; Node's parser takes no more headers either. */
const MOST_QUESTION = 16_384;
const END = '\r\n\r\n';

/** What a server does for the outside: how many connections one address may have, and the answers. */
export type Limited = {
  readonly mostConnections: number;
  readonly mostMs?: number;
  readonly answer: (request: IncomingMessage, response: ServerResponse) => void;
};

/**
 * A server that pods may ask as often as they like: no address has more than `mostConnections`, so that none takes those of
 * the kubelet's probes, and a connection asks one question. Not yet listening; its connections keep no process alive.
 */
export function createLimitedServer({ mostConnections, mostMs = MOST_MS, answer }: Limited): Server {
  const parser = createServer((request, response) => {
    // What else the other side sends is not read; the parser itself goes on to read when it has the whole question.
    process.nextTick(() => request.socket.pause());
    response.shouldKeepAlive = false;
    answer(request, response);
  });
  const open = new Map<string, number>();
  let waiting = 0;
  // What is refused is never read: what its other side sends stays with the kernel.
  return createDoor({ pauseOnConnect: true }, (socket) => {
    socket.unref();
    socket.on('error', () => {}); // it was the other side's to lose
    const { remoteAddress: address = '' } = socket;
    const others = open.get(address) ?? 0;
    const isOneTooMany = others >= mostConnections;
    const late = setTimeout(() => socket.destroy(), isOneTooMany ? TOO_MANY_MS : mostMs).unref();
    socket.once('close', () => {
      clearTimeout(late);
      if (isOneTooMany) waiting -= 1;
      else if (open.get(address) === 1) open.delete(address);
      else open.set(address, (open.get(address) ?? 1) - 1);
    });
    if (!isOneTooMany) {
      open.set(address, others + 1);
      readQuestion(socket, () => parser.emit('connection', socket));
    } else if (++waiting > MOST_WAITING) socket.destroy();
  });
}

/**
 * Calls back when a socket holds one question, and nothing behind it: a packet may have thousands of them, and Node would
 * parse them all before anybody could stop it.
 */
function readQuestion(socket: Socket, asked: () => void): void {
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
  });
  socket.resume();
}
