import { createConnection, type Socket } from 'node:net';
import { posix } from 'node:path';
import timers from 'node:timers/promises';
import { pooledMap, waitUpTo } from '../base/async.ts';
import { type Host, localSocket } from '../host/host.ts';
import { SCHEMA } from './schema.ts';

export type ShimAddress = {
  readonly socket: string;
  /** Of the task API. */
  readonly version: number;
  /** A sandbox's or a container's id. */
  readonly id: string;
};

/** `unreachable`: the socket is out of this process's reach. */
export type ShimResponse =
  | { readonly kind: 'answered' | 'absent' | 'unreachable' }
  | { readonly kind: 'silent'; readonly forMs: number };

type Call = {
  /** Absent if the path is out of reach. */
  readonly socket?: Socket;
  /** When the request had been written; undefined before. */
  sentMs?: number;
  result?: ShimResponse;
  readonly ended: Promise<void>;
};

export type ShimCallsOptions = {
  readonly host: Host;
  /** Monotonic clock, milliseconds. */
  readonly now: () => number;
  /** Silence after which a shim is unresponsive: containerd's own timeout when it loads shims. */
  readonly patienceMs?: number;
};

/** https://github.com/containerd/containerd/blob/v2.4.2/core/runtime/v2/shim.go (loadTimeout) */
export const LOAD_TIMEOUT_MS = 5_000;
const CONCURRENCY = 8;
/** A slower shim does not delay the others. */
const USUAL_MS = 200;
/** Each call takes 0.1 ms. */
const MAX_CALLS = 128;

/**
 * Calls `Connect` of shims, as containerd does when it starts. An unanswered request stays open: one
 * connection a round would fill a stopped shim's queue and lose late answers.
 */
export class ShimCalls {
  readonly #options: Required<ShimCallsOptions>;
  readonly #open = new Map<string, Call>();
  #last = new Map<string, ShimResponse>();

  constructor(options: ShimCallsOptions) {
    this.#options = { patienceMs: LOAD_TIMEOUT_MS, ...options };
  }

  /**
   * One round: the last responses by socket path, older ones for sockets not reached. Drops sockets no longer
   * wanted.
   */
  async call(
    addresses: readonly ShimAddress[],
    signal: AbortSignal,
  ): Promise<ReadonlyMap<string, ShimResponse>> {
    const { host, patienceMs, now } = this.#options;
    const wanted = new Map(addresses.map((address) => [address.socket, address]));
    for (const [path, { socket }] of this.#open) {
      if (wanted.has(path)) continue;
      this.#open.delete(path);
      socket?.destroy();
    }
    const last = new Map<string, ShimResponse>();
    // The shims that have waited longest come first.
    for (const [path, response] of this.#last) if (wanted.has(path)) last.set(path, response);
    this.#last = last;
    const known = [...last.keys()].flatMap((path) => wanted.get(path) ?? []);
    const fresh = [...wanted.values()].filter(({ socket }) => !last.has(socket));
    const chosen = [...fresh, ...known].filter(({ socket }) => !this.#open.has(socket)).slice(0, MAX_CALLS);
    const directories = new Map<string, Promise<string | undefined>>();
    const begun = await pooledMap(chosen, CONCURRENCY, async ({ socket, version, id }) => {
      const local = await localPathOf(host, socket, directories);
      const call = local === undefined ? UNREACHABLE : connect(local, encodeConnect(version, id), now);
      this.#open.set(socket, call);
      // Without `waitUpTo`, whose signals would take most of a round.
      await Promise.race([call.ended, timers.setTimeout(USUAL_MS)]);
      return call;
    });
    await waitUpTo(Promise.all(begun.map(({ ended }) => ended)), patienceMs, signal);
    // Responses that arrived while this process did not run are read in these turns.
    for (let turn = 0; turn < 2; turn++) await timers.setImmediate();
    signal.throwIfAborted();
    for (const [path, { result, sentMs }] of this.#open) {
      const forMs = sentMs === undefined ? 0 : now() - sentMs;
      if (result === undefined && forMs < patienceMs) continue;
      last.delete(path);
      last.set(path, result ?? { kind: 'silent', forMs });
      if (result !== undefined) this.#open.delete(path);
    }
    return last;
  }

  close(): void {
    for (const { socket } of this.#open.values()) socket?.destroy();
    this.#open.clear();
  }
}

const UNREACHABLE: Call = { result: { kind: 'unreachable' }, ended: Promise.resolve() };

function connect(path: string, request: Buffer, now: () => number): Call {
  const { promise: ended, resolve } = Promise.withResolvers<void>();
  const socket = createConnection({ path }).unref();
  const call: Call = { socket, ended };
  const end = (kind: 'answered' | 'absent' | 'unreachable') => {
    call.result ??= { kind };
    socket.destroy();
    resolve();
  };
  let received = Buffer.alloc(0);
  socket
    .on('error', ({ code }: NodeJS.ErrnoException) =>
      end(code === 'ECONNREFUSED' || code === 'ENOENT' ? 'absent' : 'unreachable'),
    )
    // A shim closes the connection of any other user.
    .on('close', () => end('unreachable'))
    .on('data', (bytes) => {
      received = Buffer.concat([received, bytes.subarray(0, HEADER_BYTES)]);
      if (received.length >= HEADER_BYTES) end(isResponse(received) ? 'answered' : 'unreachable');
    })
    .write(request, () => {
      call.sentMs = now();
    });
  return call;
}

/** As this process reaches it; undefined if it does not. */
async function localPathOf(
  host: Host,
  socket: string,
  directories: Map<string, Promise<string | undefined>>,
): Promise<string | undefined> {
  const directory = posix.dirname(socket);
  const found = directories.get(directory) ?? localSocket(host, socket).then(posix.dirname, () => undefined);
  directories.set(directory, found);
  const local = await found;
  return local && posix.join(local, posix.basename(socket));
}

/** https://github.com/containerd/ttrpc/blob/v1.2.9/channel.go */
const HEADER_BYTES = 10;
const REQUEST = 1;
const RESPONSE = 2;
/** Clients use odd numbers. */
const STREAM = 1;

/** A ttrpc request with its header: length, stream, type, no flags. */
function encodeConnect(version: number, id: string): Buffer {
  const Request = SCHEMA.lookupType('ttrpc.Request');
  const service = `containerd.task.v${version >= 3 ? 3 : 2}.Task`;
  const body = Request.encode(Request.fromObject({ service, method: 'Connect', payload: { id } })).finish();
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt32BE(body.length, 0);
  header.writeUInt32BE(STREAM, 4);
  header.writeUInt8(REQUEST, 8);
  return Buffer.concat([header, body]);
}

/** An error is a response as well. */
function isResponse(header: Buffer): boolean {
  return header.readUInt32BE(4) === STREAM && header.readUInt8(8) === RESPONSE;
}
