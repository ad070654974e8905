import { Client, status as code, credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import { fromJSON, type MethodDefinition } from '@grpc/proto-loader';
import type { Cri, CriStatus, LoadedRuntime, ShimInfo } from './cri.ts';
import { CRI_SCHEMA } from './cri-schema.ts';

const DEFINITIONS = fromJSON(CRI_SCHEMA, { longs: Number, enums: String, defaults: true });

/** A CRI call that containerd refused, or that did not come through. */
export class CriError extends Error {
  override readonly name = 'CriError';
  /** `unreachable`: no containerd behind the socket; `late`: no answer within the deadline; `refused`: its own answer. */
  readonly kind: 'unreachable' | 'late' | 'refused' | 'absent' | 'unsupported' | 'aborted';

  constructor(method: string, cause: ServiceError, timeoutMs = 0) {
    super(wordsOf(cause, timeoutMs));
    this.kind = GARBLED.test(cause.details) ? 'unreachable' : (KINDS.get(cause.code) ?? 'refused');
    if (this.kind !== 'refused') this.message = `containerd's ${method}: ${this.message}`;
  }
}

/** What grpc-js says of an answer that is no message of this API: whatever speaks there, it is not containerd. */
const GARBLED = /^(Response message parsing error|Error deserializing)|Protocol error|NGHTTP2/;

/** An error's words without what grpc-js wraps around them. */
function wordsOf({ details, message }: ServiceError, timeoutMs: number): string {
  if (details.startsWith('Deadline exceeded'))
    return `no answer within ${Number((timeoutMs / 1_000).toFixed(1))} s`;
  const [, system] = /Last error: (?:Error: )?(.*?)\.? Resolution note:/s.exec(details) ?? [];
  // That is what grpc-js has of a connection that broke during a call.
  if (details === 'null') return 'the connection was lost';
  return system || details || message;
}

const KINDS: ReadonlyMap<number, CriError['kind']> = new Map([
  [code.UNAVAILABLE, 'unreachable'],
  [code.DEADLINE_EXCEEDED, 'late'],
  [code.NOT_FOUND, 'absent'],
  [code.UNIMPLEMENTED, 'unsupported'],
  [code.CANCELLED, 'aborted'],
]);

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

/**
 * Reads the handlers out of the `config` document of a verbose status. Only named fields are taken:
 * containerd 1.x puts registry credentials beside them.
 * Source: https://github.com/containerd/containerd/blob/v2.4.2/internal/cri/config/config.go
 */
export function loadedRuntimes(
  config: string | undefined,
): Pick<CriStatus, 'defaultRuntimeName' | 'stateDir' | 'runtimes'> {
  if (config === undefined) throw new Error('containerd’s status carries no configuration');
  let parsed: { containerd?: RawContainerd; stateDir?: unknown } | null;
  try {
    parsed = JSON.parse(config) as typeof parsed;
  } catch {
    throw new Error('containerd’s status carries a configuration that is not JSON'); // its text may hold credentials
  }
  const containerd = parsed?.containerd;
  const runtimes = new Map<string, LoadedRuntime>();
  for (const [name, raw] of Object.entries(containerd?.runtimes ?? {})) {
    runtimes.set(name, {
      runtimeType: text(raw?.runtimeType),
      runtimePath: text(raw?.runtimePath),
      options:
        typeof raw?.options === 'object' && raw.options !== null
          ? (raw.options as Record<string, unknown>)
          : {},
      snapshotter: text(raw?.snapshotter),
    });
  }
  const stateDir = text(parsed?.stateDir);
  return { defaultRuntimeName: text(containerd?.defaultRuntimeName), stateDir, runtimes };
}

type RawRuntime = {
  runtimeType?: unknown;
  runtimePath?: unknown;
  options?: unknown;
  snapshotter?: unknown;
} | null;
type RawContainerd = { defaultRuntimeName?: unknown; runtimes?: Record<string, RawRuntime> };

function text(value: unknown): string {
  return typeof value === 'string' ? value : '';
}
