import { Client, credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import { fromJSON, type MethodDefinition } from '@grpc/proto-loader';
import type { Cri, CriStatus, ShimInfo } from './cri.ts';
import { CriError } from './error.ts';
import { loadedRuntimes } from './loaded-runtimes.ts';
import { parseSandboxInfo, type SandboxInfo } from './sandbox-info.ts';
import { CRI_SCHEMA, SERVICES } from './schema.ts';

const DEFINITIONS = fromJSON(CRI_SCHEMA, { longs: Number, enums: String, defaults: true });

/**
 * How long containerd may take to answer a question about what it knows. It answers from memory, so that even a
 * node with ten times its work needs a fraction of this, and one late answer withdraws nothing yet.
 */
const ANSWER_MS = 3_000;
/** For these questions containerd executes a program, which a busy disk may have to bring first. */
const PROGRAM_MS = 5_000;

/** The CRI keeps all pods in this containerd namespace. */
const NAMESPACE = 'k8s.io';

/** How long one call may take, in milliseconds (null: for ever), and what may end it early. */
export type CallOptions = {
  readonly timeoutMs?: number | null;
  readonly signal?: AbortSignal | undefined;
};

/** A sandbox as the CRI lists it. */
export type ListedSandbox = {
  readonly id: string;
  readonly state: SandboxState;
  readonly metadata: { readonly name: string; readonly uid: string; readonly namespace: string } | null;
  readonly labels: Readonly<Record<string, string>>;
  readonly runtimeHandler: string;
};

/** A container as containerd itself records it. */
export type ListedContainer = { readonly id: string; readonly labels: Readonly<Record<string, string>> };

/** What a sandbox is, in the CRI's words. */
export type SandboxState = 'SANDBOX_READY' | 'SANDBOX_NOTREADY';

/** A connection to containerd's socket: the CRI, and containerd's introspection and task services. */
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

  #call<Answer>(method: string, request: object, options: CallOptions = {}): Promise<Answer> {
    const { timeoutMs = this.#answerMs, signal } = options;
    const definition = methodNamed(method);
    if (signal?.aborted) return Promise.reject(signal.reason);
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    const metadata = new Metadata();
    metadata.set('containerd-namespace', NAMESPACE);
    const call = this.#client.makeUnaryRequest(
      definition.path,
      definition.requestSerialize,
      definition.responseDeserialize,
      request,
      metadata,
      timeoutMs === null ? {} : { deadline: Date.now() + timeoutMs },
      (error, answer) =>
        error === null ? resolve(answer as Answer) : reject(new CriError(method, error, timeoutMs ?? 0)),
    );
    const abort = () => call.cancel();
    signal?.addEventListener('abort', abort, { once: true });
    return promise.finally(() => signal?.removeEventListener('abort', abort));
  }

  /** Name and release of the runtime, such as "containerd" and "v2.4.2". */
  version(options?: CallOptions): Promise<Pick<CriStatus, 'runtimeName' | 'runtimeVersion'>> {
    return this.#call('Version', {}, options);
  }

  /** What the running containerd says of itself and of its handlers. */
  async status(signal?: AbortSignal): Promise<CriStatus> {
    const version = await this.version({ signal });
    const answer = await this.#call<StatusAnswer>('Status', { verbose: true }, { signal });
    const loaded = loadedRuntimes(answer.info.config);
    return { ...version, ...loaded, conditions: answer.status?.conditions ?? [] };
  }

  /** See {@link Cri}; containerd resolves and executes the shim itself, which 1.x cannot be asked to do. */
  async shimInfo(runtime: string, signal?: AbortSignal): Promise<ShimInfo> {
    const options = { typeUrl: 'containerd.types.RuntimeRequest', value: { runtimePath: runtime } };
    const request = { type: 'io.containerd.runtime.v2', id: 'task', options };
    try {
      const { extra } = await this.#call<PluginInfoAnswer>('PluginInfo', request, {
        signal,
        timeoutMs: PROGRAM_MS,
      });
      return { kind: 'ok', name: extra?.value?.name ?? '', version: extra?.value?.version?.version ?? '' };
    } catch (error) {
      if (!(error instanceof CriError) || error.kind === 'unreachable' || error.kind === 'late') throw error;
      return error.kind === 'unsupported'
        ? { kind: 'unsupported' }
        : { kind: 'error', message: error.message };
    }
  }

  /** containerd's own PID in its PID namespace; 0 where it does not say. */
  async serverPid(options?: CallOptions): Promise<number> {
    return (await this.#call<{ pid: number }>('Server', {}, options)).pid;
  }

  /** Starts a sandbox and gives its id. `config` is a PodSandboxConfig; an empty handler is containerd's default. */
  async runSandbox(config: object, handler: string, options?: CallOptions): Promise<string> {
    const request = { config, runtimeHandler: handler };
    return (await this.#call<{ podSandboxId: string }>('RunPodSandbox', request, options)).podSandboxId;
  }

  /** Stops a sandbox; one that is stopped already is no error. */
  async stopSandbox(id: string, options?: CallOptions): Promise<void> {
    await this.#call('StopPodSandbox', { podSandboxId: id }, options);
  }

  /** Removes a sandbox; one that is not there is no error. */
  async removeSandbox(id: string, options?: CallOptions): Promise<void> {
    await this.#call('RemovePodSandbox', { podSandboxId: id }, options);
  }

  /** The state of a sandbox and what containerd knows beyond the CRI; rejects as `absent` when it is not there. */
  async sandbox(id: string, options?: CallOptions): Promise<SandboxInfo> {
    const answer = await this.#call<SandboxAnswer>(
      'PodSandboxStatus',
      { podSandboxId: id, verbose: true },
      options,
    );
    return { state: answer.status?.state ?? 'SANDBOX_NOTREADY', ...parseSandboxInfo(answer.info.info) };
  }

  /** Sandboxes of that state, and with all of these labels. */
  async listSandboxes(
    filter: { readonly state?: SandboxState; readonly labels?: Readonly<Record<string, string>> },
    options?: CallOptions,
  ): Promise<readonly ListedSandbox[]> {
    const { state, labels } = filter;
    const wanted = {
      ...(state === undefined ? {} : { state: { state } }),
      ...(labels === undefined ? {} : { labelSelector: labels }),
    };
    return (await this.#call<{ items: ListedSandbox[] }>('ListPodSandbox', { filter: wanted }, options))
      .items;
  }

  /** The PIDs that the runtime itself tells of a container or sandbox: gVisor's are the guest's, runc's the host's. */
  async listPids(id: string, options?: CallOptions): Promise<readonly number[]> {
    const answer = await this.#call<{ processes: { pid: number }[] }>(
      'ListPids',
      { containerId: id },
      options,
    );
    return answer.processes.map(({ pid }) => pid);
  }

  /** containerd's own records of containers and sandboxes with all of these labels, those too that the CRI forgot. */
  async listContainers(
    labels: Readonly<Record<string, string>>,
    options?: CallOptions,
  ): Promise<readonly ListedContainer[]> {
    const filter = Object.entries(labels).map(([key, value]) => `labels."${key}"=="${value}"`);
    const request = { filters: [filter.join(',')] };
    return (await this.#call<{ containers: ListedContainer[] }>('Containers.List', request, options))
      .containers;
  }

  /** Ends the task of a container, whatever state it is in. */
  async deleteTask(id: string, options?: CallOptions): Promise<void> {
    await this.#call('Tasks.Delete', { containerId: id }, options);
  }

  /** Removes containerd's own record of a container that has no task. */
  async deleteContainer(id: string, options?: CallOptions): Promise<void> {
    await this.#call('Containers.Delete', { id }, options);
  }

  /** Tells of each container that comes or goes, until the signal ends it; rejects when containerd does. */
  async *containerEvents(signal: AbortSignal): AsyncGenerator<unknown> {
    const { path, requestSerialize, responseDeserialize } = methodNamed('GetContainerEvents');
    signal.throwIfAborted();
    const call = this.#client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, {});
    const abort = () => call.cancel();
    signal.addEventListener('abort', abort, { once: true });
    try {
      for await (const event of call) yield event;
    } catch (error) {
      throw new CriError('GetContainerEvents', error as ServiceError);
    } finally {
      signal.removeEventListener('abort', abort);
      call.cancel();
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
type SandboxAnswer = {
  readonly status?: { readonly state: SandboxState } | null;
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

/** A method by its name, with its service before it where two services have one of that name. */
function methodNamed(name: string): MethodDefinition<object, object> {
  const [method = '', service = ''] = name.split('.').reverse();
  for (const known of SERVICES) {
    const found = (DEFINITIONS[known] as Record<string, MethodDefinition<object, object>>)[method];
    if (found !== undefined && known.endsWith(service)) return found;
  }
  throw new Error(`No method "${name}" in the CRI schema`);
}
