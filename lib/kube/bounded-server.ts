import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createTcpServer, isIP, type Server, type Socket } from 'node:net';
import { errorLine } from '../base/sanitize.ts';
import type { ListenAddress } from '../base/settings.ts';

/** Slow readers are included. */
const MAX_LIFETIME_MS = 30_000;
/** An over-limit connection is closed late, so that clients do not reconnect in a tight loop. */
const REJECT_DELAY_MS = 1_000;
/** The same as in Node's parser. */
const MAX_HEAD_BYTES = 16_384;
/** A thousand short headers take eight times their bytes in memory. */
const MAX_HEADERS = 64;
const HEAD_END = '\r\n\r\n';

export type BoundedServerOptions = {
  /** Per client address. */
  readonly maxConnections: number;
  /** For the loopback, which all port-forwards share; by default the same. */
  readonly maxLocalConnections?: number;
  readonly maxLifetimeMs?: number;
  /** A promise's rejection is sent as status 500. */
  readonly respond: (request: IncomingMessage, response: ServerResponse) => unknown;
};

/**
 * An HTTP server with one request a connection and a limit of connections a client address, so that no client delays
 * the kubelet's probes. Its connections do not keep the process alive.
 */
export function createBoundedServer({
  maxConnections: maxRemoteConnections,
  maxLocalConnections = maxRemoteConnections,
  maxLifetimeMs = MAX_LIFETIME_MS,
  respond,
}: BoundedServerOptions): Server {
  const counts = new Map<string, number>();
  const handle = (request: IncomingMessage, response: ServerResponse) => {
    response.shouldKeepAlive = false;
    Promise.resolve(respond(request, response)).catch((error: unknown) =>
      send(response, 500, `${errorLine(error)}\n`),
    );
  };
  // Node would answer an unknown expectation itself, and keep the connection.
  const http = createServer(handle).on('checkExpectation', handle);
  http.maxHeadersCount = MAX_HEADERS;
  return createTcpServer({ pauseOnConnect: true }, (socket) => {
    const { remoteAddress = '' } = socket;
    const maxConnections = LOOPBACK.includes(remoteAddress) ? maxLocalConnections : maxRemoteConnections;
    const count = (counts.get(remoteAddress) ?? 0) + 1;
    counts.set(remoteAddress, count);
    const isOverLimit = count > maxConnections;
    const timer = setTimeout(() => reset(socket), isOverLimit ? REJECT_DELAY_MS : maxLifetimeMs).unref();
    socket.unref().on('error', () => {}); // client disconnects are expected
    socket.once('close', () => {
      clearTimeout(timer);
      const left = (counts.get(remoteAddress) ?? 1) - 1;
      if (left === 0) counts.delete(remoteAddress);
      else counts.set(remoteAddress, left);
    });
    if (count > 2 * maxConnections) return void socket.destroy();
    if (isOverLimit) return;
    // Node calls this after a response.
    socket.destroySoon = () => finish(socket);
    readHead(socket, () => http.emit('connection', socket));
  });
}

/** Resolves to the problem, with its remedy, if that fails. */
export async function listen(server: Server, { host, port }: ListenAddress): Promise<string | undefined> {
  // Without an address Node listens on both families, or on IPv4 alone.
  server.listen({ port, ...(host === '::' ? {} : { host }) });
  return once(server, 'listening').then(
    () => undefined,
    (cause: unknown) => `Cannot listen on port ${port}: ${errorLine(cause)}; set LISTEN_ADDRESS to another`,
  );
}

/**
 * Calls back once a socket holds one request head, without the bytes behind it: Node would parse every pipelined
 * request of a packet in one go.
 */
function readHead(socket: Socket, onHead: () => void): void {
  let head = Buffer.alloc(0);
  socket.on('data', function read(chunk) {
    head = Buffer.concat([head, chunk]);
    const end = head.indexOf(HEAD_END);
    if (end === -1 && head.length < MAX_HEAD_BYTES) return;
    socket.off('data', read);
    socket.pause();
    socket.unshift(end === -1 ? head : head.subarray(0, end + HEAD_END.length));
    onHead();
    socket.resume();
    // The parser takes the head in the next tick, and would go on reading.
    process.nextTick(() => socket.pause());
  });
  socket.resume();
}

/** Waits for the client to close: a socket closed earlier leaves unread bytes in the kernel, uncounted. */
function finish(socket: Socket): void {
  socket.end();
  // The parser has started to read again; it lets go of a socket with a listener of its own.
  socket.once('resume', () => socket.removeAllListeners('data').on('data', () => reset(socket)));
  socket.resume();
}

/** Resets, so that the kernel drops the bytes that the client has not read. */
function reset(socket: Socket): void {
  // libuv refuses a reset during a shutdown, and Node would leak the socket.
  const isEnding = socket.writableEnded && socket.writableLength === 0 && !socket.writableFinished;
  if (isEnding) socket.once('finish', () => socket.resetAndDestroy());
  else socket.resetAndDestroy();
}

const LOOPBACK = ['127.0.0.1', '::1', '::ffff:127.0.0.1'];

/**
 * Whether a request came over the loopback of the pod's own network, as `kubectl port-forward` does once authorized.
 * The kernel accepts no such source address from another network.
 */
export function isLocal({ socket }: IncomingMessage): boolean {
  return LOOPBACK.includes(socket.remoteAddress ?? '');
}

/**
 * Whether a Host header is an address or localhost. A web page could have any other name resolve to the loopback (DNS
 * rebinding), and read through its user's port-forward.
 */
function isOwnHost(host = ''): boolean {
  const { hostname = '' } = URL.parse(`http://${host}`) ?? {};
  return isIP(hostname.replace(/^\[|\]$/g, '')) !== 0 || /(^|\.)localhost$/.test(hostname);
}

const FOREIGN_HOST =
  'over a port-forward or a proxy in the same pod the Host header must be an IP address or localhost\n';

/** The path of a GET or HEAD; undefined after another method or a foreign host was refused. */
export function readPath(request: IncomingMessage, response: ServerResponse): string | undefined {
  const { url = '/', method, headers } = request;
  if (isLocal(request) && !isOwnHost(headers.host)) {
    send(response, 421, FOREIGN_HOST);
    return undefined;
  }
  if (method !== 'GET' && method !== 'HEAD') {
    response.setHeader('allow', 'GET, HEAD');
    send(response, 405, 'only GET and HEAD are allowed\n');
    return undefined;
  }
  // A path may begin with two slashes, which alone would be the name of a host.
  return URL.parse(url.startsWith('/') ? `http://server${url}` : url)?.pathname ?? '';
}

/** Browsers must not take it for another type. */
export function send(
  response: ServerResponse,
  status: number,
  body: string | Buffer,
  type = 'text/plain; charset=utf-8',
): void {
  response.writeHead(status, { 'content-type': type, 'x-content-type-options': 'nosniff' });
  response.end(body);
}

/** 200, or 503 with the reason. */
export function sendProbe(response: ServerResponse, failure: string | undefined): void {
  send(response, failure === undefined ? 200 : 503, `${failure ?? 'ok'}\n`);
}
