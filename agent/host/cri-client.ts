import { Client, credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import { fromJSON, type MethodDefinition } from '@grpc/proto-loader';
import type { Cri, CriStatus, ShimInfo } from './cri.ts';
import { CriError } from './cri-error.ts';
import { CRI_SCHEMA } from './cri-schema.ts';
import { loadedRuntimes } from './loaded-runtimes.ts';

const DEFINITIONS = fromJSON(CRI_SCHEMA, { longs: Number, enums: String, defaults: true });

/**
 * How long containerd may take to answer a question about what it knows. It answers from memory, so that even a
 * node with ten times its work needs a fraction of this, and one late answer withdraws nothing yet.
 */
const ANSWER_MS = 3_000;
/** For this question containerd executes a program, which a busy disk may have to bring first. */
const SHIM_INFO_MS = 5_000;

/** How long one call may take, in milliseconds, and what may end it early. */
export type CallOptions = { readonly timeoutMs?: number; readonly signal?: AbortSignal | undefined };

/** A connection to containerd's socket: the CRI and containerd's introspection service. */
export class CriClient implements Cri {
  readonly socket: string;
  readonly #client: Client;
  readonly #answerMs: number;

  /**
   * `socket` is the host's path for messages, `localPath` where this process finds it, and `answerMs` how long a call
   * may take that sets no time of its own.
   */
  constructor(socket: string, localPath: string, answerMs = ANSWER_MS) {
    this.socket = socket;
    this.#answerMs = answerMs;
    this.#client = new Client(`unix:${localPath}`, credentials.createInsecure(), {
      'grpc.default_authority': 'localhost',
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.min_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': 1_000,
      'grpc.max_receive_message_length': 16 * 1024 * 1024,
    });
  }

  /** Calls one method, named like "RunPodSandbox"; answers are as in cri-schema.ts with defaults filled in. */
  call<Answer>(method: string, request: object, options: CallOptions = {}): Promise<Answer> {
    const { timeoutMs = this.#answerMs, signal } = options;
    const definition = methodNamed(method);
    if (signal?.aborted) return Promise.reject(signal.reason);
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    const call = this.#client.makeUnaryRequest(
      definition.path,
      definition.requestSerialize,
      definition.responseDeserialize,
      request,
      new Metadata(),
      { deadline: Date.now() + timeoutMs },
      (error, answer) =>
        error === null ? resolve(answer as Answer) : reject(new CriError(method, error, timeoutMs)),
    );
    const abort = () => call.cancel();
    signal?.addEventListener('abort', abort, { once: true });
    return promise.finally(() => signal?.removeEventListener('abort', abort));
  }

  /** The answers of a method that streams, until the signal ends it; rejects when containerd does. */
  async *stream<Answer>(method: string, request: object, signal: AbortSignal): AsyncGenerator<Answer> {
    const { path, requestSerialize, responseDeserialize } = methodNamed(method);
    signal.throwIfAborted();
    const call = this.#client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, request);
    const abort = () => call.cancel();
    signal.addEventListener('abort', abort, { once: true });
    try {
      for await (const answer of call) yield answer as Answer;
    } catch (error) {
      throw new CriError(method, error as ServiceError);
    } finally {
      signal.removeEventListener('abort', abort);
      call.cancel();
    }
  }

  /** What the running containerd says of itself and of its handlers. */
  async status(signal?: AbortSignal): Promise<CriStatus> {
    const version = await this.call<{ runtimeName: string; runtimeVersion: string }>(
      'Version',
      {},
      { signal },
    );
    const answer = await this.call<StatusAnswer>('Status', { verbose: true }, { signal });
    const loaded = loadedRuntimes(answer.info.config);
    return { ...version, ...loaded, conditions: answer.status?.conditions ?? [] };
  }

  /** See {@link Cri}; containerd resolves and executes the shim itself, which 1.x cannot be asked to do. */
  async shimInfo(runtime: string, signal?: AbortSignal): Promise<ShimInfo> {
    const options = { typeUrl: 'containerd.types.RuntimeRequest', value: { runtimePath: runtime } };
    const request = { type: 'io.containerd.runtime.v2', id: 'task', options };
    try {
      const { extra } = await this.call<PluginInfoAnswer>('PluginInfo', request, {
        signal,
        timeoutMs: SHIM_INFO_MS,
      });
      return { kind: 'ok', name: extra?.value?.name ?? '', version: extra?.value?.version?.version ?? '' };
    } catch (error) {
      if (!(error instanceof CriError) || error.kind === 'unreachable' || error.kind === 'late') throw error;
      return error.kind === 'unsupported'
        ? { kind: 'unsupported' }
        : { kind: 'error', message: error.message };
    }
  }

  /** Resolves when the connection's state is no longer what it is now, or after `timeoutMs`. */
  connectionChange(timeoutMs: number): Promise<void> {
    const channel = this.#client.getChannel();
    return new Promise((resolve) => {
      channel.watchConnectivityState(channel.getConnectivityState(false), Date.now() + timeoutMs, () =>
        resolve(),
      );
    });
  }

  /** Ends the connection. */
  close(): void {
    this.#client.close();
  }
}

type StatusAnswer = {
  readonly status?: { readonly conditions: CriStatus['conditions'] } | null;
  readonly info: Readonly<Record<string, string>>;
};
type PluginInfoAnswer = {
  readonly extra?: {
    readonly value?: {
      readonly name?: string;
      readonly version?: { readonly version?: string } | null;
    } | null;
  } | null;
};

function methodNamed(name: string): MethodDefinition<object, object> {
  for (const service of [
    'runtime.v1.RuntimeService',
    'runtime.v1.ImageService',
    'containerd.services.introspection.v1.Introspection',
  ]) {
    const methods = DEFINITIONS[service] as Record<string, MethodDefinition<object, object>>;
    const found = methods[name];
    if (found !== undefined) return found;
  }
  throw new Error(`No method "${name}" in the CRI schema`);
}
