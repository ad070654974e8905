import { addAbortListener, once } from 'node:events';
import { type ClientHttp2Session, type ClientHttp2Stream, connect, constants } from 'node:http2';
import { createConnection } from 'node:net';
import timers from 'node:timers/promises';
import { CriError } from './error.ts';

/** https://grpc.io/docs/guides/status-codes/ */
const KINDS: ReadonlyMap<number, CriError['kind']> = new Map([
  [1, 'aborted'],
  [4, 'timeout'],
  [5, 'absent'],
  [12, 'unsupported'],
  [14, 'unreachable'],
]);

/** A flag for compression, and the message's length. */
const PREFIX_BYTES = 5;
const SLACK_MS = 1_000;
const MAX_RESPONSE_BYTES = 16 * 1024 * 1024;

export type GrpcCall = {
  /** For errors. */
  readonly method: string;
  /** Such as "/runtime.v1.RuntimeService/Version". */
  readonly path: string;
  readonly message: Uint8Array;
  readonly metadata: Readonly<Record<string, string>>;
  /** `null` means no deadline. */
  readonly timeoutMs: number | null;
  readonly signal?: AbortSignal | undefined;
};

/**
 * Unary gRPC calls over one connection to a Unix socket, opened by the first call after it was lost.
 * https://github.com/grpc/grpc/blob/v1.76.0/doc/PROTOCOL-HTTP2.md
 */
export class GrpcClient {
  readonly #socket: string;
  #session: ClientHttp2Session | undefined;
  readonly #cancels = new Set<() => void>();
  #isEnded = false;

  constructor(socket: string) {
    this.#socket = socket;
  }

  /** The response's message. Rejects with a {@link CriError}. */
  async unary({ method, path, message, metadata, timeoutMs, signal }: GrpcCall): Promise<Buffer> {
    if (this.#isEnded) throw new CriError(method, 'aborted', 'the client is closed');
    const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
    const session = this.#connected();
    const stream = session.request({
      ':method': 'POST',
      ':path': path,
      'content-type': 'application/grpc',
      te: 'trailers',
      // Longer than this side's, whose error names it.
      ...(timeoutMs === null ? {} : { 'grpc-timeout': `${timeoutMs + SLACK_MS}m` }),
      ...metadata,
    });
    const fail = (kind: CriError['kind'], why: string) => {
      reject(new CriError(method, kind, why));
      stream.close(constants.NGHTTP2_CANCEL);
    };
    const cancel = () => fail('aborted', 'the call was cancelled');
    const seconds = Number(((timeoutMs ?? 0) / 1_000).toFixed(1));
    const timer = timeoutMs && setTimeout(fail, timeoutMs, 'timeout', `no answer within ${seconds} s`);
    using _cancelling = signal && addAbortListener(signal, cancel);
    this.#cancels.add(cancel);
    session.ref();
    receive(stream, resolve, fail);
    stream.end(framed(message));
    try {
      return await promise;
    } finally {
      clearTimeout(timer ?? undefined);
      this.#cancels.delete(cancel);
      if (this.#cancels.size === 0) session.unref();
    }
  }

  /** True once the connection ends, false after `timeoutMs` and without a connection. */
  async disconnected(timeoutMs: number): Promise<boolean> {
    const session = this.#session;
    if (!isOpen(session)) return timers.setTimeout(timeoutMs, false);
    const signal = AbortSignal.timeout(timeoutMs);
    await once(session, 'close', { signal }).catch(() => {});
    return !signal.aborted;
  }

  /** Cancels pending calls, which would keep the process alive, and refuses others. */
  close(): void {
    this.#isEnded = true;
    for (const cancel of this.#cancels) cancel();
    this.#session?.destroy();
  }

  #connected(): ClientHttp2Session {
    if (isOpen(this.#session)) return this.#session;
    const session = connect('http://localhost', { createConnection: () => createConnection(this.#socket) });
    session.on('error', () => {}); // each stream has it as well
    this.#session = session;
    return session;
  }
}

function isOpen(session: ClientHttp2Session | undefined): session is ClientHttp2Session {
  return session !== undefined && !session.closed && !session.destroyed;
}

function framed(message: Uint8Array): Buffer {
  const prefix = Buffer.alloc(PREFIX_BYTES);
  prefix.writeUInt32BE(message.length, 1);
  return Buffer.concat([prefix, message]);
}

function receive(
  stream: ClientHttp2Stream,
  resolve: (message: Buffer) => void,
  fail: (kind: CriError['kind'], why: string) => void,
): void {
  const chunks: Buffer[] = [];
  let bytes = 0;
  let status: string | undefined;
  let why = '';
  const read = (headers: Readonly<Record<string, unknown>>) => {
    status = headers['grpc-status'] === undefined ? status : String(headers['grpc-status']);
    why = decodeMessage(String(headers['grpc-message'] ?? ''));
  };
  stream
    .on('response', (headers) => {
      read(headers);
      if (headers[':status'] !== 200)
        fail('unreachable', `an HTTP server answers, with ${headers[':status']}`);
    })
    .on('trailers', read)
    .on('data', (chunk: Buffer) => {
      chunks.push(chunk);
      bytes += chunk.length;
      if (bytes > MAX_RESPONSE_BYTES) fail('refused', `the answer has over ${MAX_RESPONSE_BYTES} bytes`);
    })
    .on('error', ({ code, message, cause }: NodeJS.ErrnoException) => {
      const isReset =
        code === 'ERR_HTTP2_STREAM_ERROR' && stream.rstCode !== constants.NGHTTP2_REFUSED_STREAM;
      fail(isReset ? 'refused' : 'unreachable', cause instanceof Error ? cause.message : message);
    })
    .on('close', () => {
      if (status === undefined) return fail('unreachable', 'the connection was lost');
      if (status !== '0') return fail(KINDS.get(Number(status)) ?? 'refused', why);
      const body = Buffer.concat(chunks);
      if (bytes < PREFIX_BYTES || body[0] !== 0 || body.readUInt32BE(1) !== bytes - PREFIX_BYTES)
        return fail('unreachable', 'the answer is no message of gRPC');
      resolve(body.subarray(PREFIX_BYTES));
    });
}

/** Percent-encoded; any other text is shown as it is. */
function decodeMessage(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
