import { addAbortListener } from 'node:events';
// Before the client: the two load each other, and only this way around.
import '@grpc/grpc-js/build/src/channel.js';
import type { ClientUnaryCall } from '@grpc/grpc-js';
import { ChannelCredentials } from '@grpc/grpc-js/build/src/channel-credentials.js';
import { Client } from '@grpc/grpc-js/build/src/client.js';
import { setup as pickFirst } from '@grpc/grpc-js/build/src/load-balancer-pick-first.js';
import { Metadata } from '@grpc/grpc-js/build/src/metadata.js';
import { setup as resolveSockets } from '@grpc/grpc-js/build/src/resolver-uds.js';
import { CriError } from './error.ts';
import { SCHEMA } from './schema.ts';

// What a client of one local socket needs of grpc-js; all of it loads a server too, and four ways to share a load.
resolveSockets();
pickFirst();

/** Answers as plain objects: enums by name, and a default where a field was not sent. */
const PLAIN = { longs: Number, enums: String, defaults: true };

/**
 * How long containerd may take to answer a question about what it knows. It answers from memory, so that even a
 * node with ten times its work needs a fraction of this, and one late answer withdraws nothing yet.
 */
const ANSWER_MS = 3_000;

/** The CRI keeps all pods in this containerd namespace. */
const NAMESPACE = 'k8s.io';

/** How long one call may take, in milliseconds (null: for ever), and what may end it early. */
export type CallOptions = {
  readonly timeoutMs?: number | null;
  readonly signal?: AbortSignal | undefined;
};

/** A gRPC connection to containerd's socket. Methods are named as in schema.ts, answers have defaults filled in. */
export class Connection {
  readonly socket: string;
  readonly #client: Client;
  readonly #answerMs: number;
  readonly #running = new Set<ClientUnaryCall>();

  /**
   * `socket` is the host's path for messages, `localPath` where this process finds it, and `answerMs` how long a call
   * may take that sets no time of its own.
   */
  constructor(socket: string, localPath: string, answerMs = ANSWER_MS) {
    this.socket = socket;
    this.#answerMs = answerMs;
    this.#client = new Client(`unix:${localPath}`, ChannelCredentials.createInsecure(), {
      'grpc.default_authority': 'localhost',
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.min_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': 1_000,
      'grpc.max_receive_message_length': 16 * 1024 * 1024,
    });
  }

  /** Calls one method; rejects with a {@link CriError}. */
  protected async call<Answer>(method: string, request: object, options: CallOptions = {}): Promise<Answer> {
    const { timeoutMs = this.#answerMs, signal } = options;
    signal?.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    const metadata = new Metadata();
    metadata.set('containerd-namespace', NAMESPACE);
    const limits = timeoutMs === null ? {} : { deadline: Date.now() + timeoutMs };
    const how = methodNamed(method);
    const call = this.#client.makeUnaryRequest(...how, request, metadata, limits, (error, answer) =>
      error === null ? resolve(answer as Answer) : reject(new CriError(method, error, timeoutMs ?? 0)),
    );
    this.#running.add(call);
    using _cancelling = signal && addAbortListener(signal, () => call.cancel());
    return await promise.finally(() => this.#running.delete(call));
  }

  /** Whether the connection's state stops to be what it is now within `timeoutMs`; told as soon as it does. */
  connectionChange(timeoutMs: number): Promise<boolean> {
    const channel = this.#client.getChannel();
    return new Promise((resolve) => {
      channel.watchConnectivityState(channel.getConnectivityState(false), Date.now() + timeoutMs, (late) =>
        resolve(late === undefined),
      );
    });
  }

  /** Ends the connection, and every call that has no answer yet: one without a deadline would keep the process alive. */
  close(): void {
    for (const call of this.#running) call.cancel();
    this.#client.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/**
 * A method's path, and how to write its request and to read its answer, by its name: with its service before it where
 * that is not the CRI's, as in "Tasks.Delete".
 */
function methodNamed(name: string) {
  const [method = '', service = 'RuntimeService'] = name.split('.').reverse();
  const { fullName, methods } = SCHEMA.lookupService(service);
  const { resolvedRequestType: request, resolvedResponseType: response } = methods[method] ?? {};
  if (!request || !response) throw new Error(`No method "${name}" in the CRI schema`);
  return [
    `/${fullName.slice(1)}/${method}`,
    (value: object) => Buffer.from(request.encode(request.fromObject(value)).finish()),
    (bytes: Buffer): object => response.toObject(response.decode(bytes), PLAIN),
  ] as const;
}
