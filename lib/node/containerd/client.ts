import { addAbortListener } from 'node:events';
import { posix } from 'node:path';
import { Client, type ClientUnaryCall, credentials, Metadata } from '@grpc/grpc-js';
import { CriError, CriPluginUnavailable } from './error.ts';
import { SCHEMA } from './schema.ts';

/** Timeouts of calls that set none, in milliseconds. */
const TIMEOUTS = {
  /** containerd answers status calls from memory, so this is generous even for a node under load. */
  call: 3_000,
  /** The list grows with the number of pods on the node, and no proof begins without it. */
  list: 20_000,
  /** containerd executes the shim to describe it, which may wait for a busy disk. */
  shim: 5_000,
};

const NAMESPACE = 'k8s.io';

/** Options of one call. `timeoutMs: null` means no deadline. */
export type CallOptions = {
  readonly timeoutMs?: number | null;
  /** containerd's namespace; the CRI's by default. */
  readonly namespace?: string;
  readonly signal?: AbortSignal | undefined;
};

/** A runtime handler, as the running containerd holds it in memory or as its files configure it. */
export type Runtime = {
  /** For example "io.containerd.runsc.v1". */
  readonly runtimeType: string;
  /** Absolute path of the shim, or "" when containerd looks it up by the name of the type. */
  readonly runtimePath: string;
  readonly options: Readonly<Record<string, unknown>>;
  readonly snapshotter: string;
  /** Patterns (Go's path.Match) of the pod annotations that are copied into the OCI spec. */
  readonly podAnnotations: readonly string[];
  /** Path of the OCI spec that containers, not sandboxes, are created from; "" for containerd's own. */
  readonly baseRuntimeSpec: string;
  /** Directory of the CNI configuration for its pods; "" for the node's. */
  readonly cniConfDir: string;
};

/**
 * The result of CRI `Version` and `Status(verbose)`. Only these fields are kept, because the configuration in the
 * status of containerd 1.x can contain registry credentials.
 */
export type CriStatus = {
  readonly runtimeName: string;
  /** As reported, for example "v2.4.2" or "1.7.24~ds1". */
  readonly runtimeVersion: string;
  readonly runtimes: ReadonlyMap<string, Runtime>;
  /** Why containerd has no network configuration from the directory of a handler, by handler. */
  readonly cniErrors: ReadonlyMap<string, string>;
  readonly conditions: readonly { type: string; status: boolean; reason: string; message: string }[];
};

/** The kubelet's cgroup driver, which the options of runc's handler show. */
export function usesSystemdCgroup({ runtimes }: CriStatus): boolean {
  return [...runtimes.values()].some(({ options }) => options.SystemdCgroup === true);
}

/** The result of asking containerd 2.x to resolve and execute a shim; 1.x does not support the call. */
export type ShimInfo =
  | { readonly kind: 'ok'; readonly name: string }
  | { readonly kind: 'error'; readonly message: string }
  | { readonly kind: 'unsupported' };

export type SandboxState = 'SANDBOX_READY' | 'SANDBOX_NOTREADY';

/** containerd's verbose status of a sandbox; "" or absent where it reports nothing. */
export type SandboxInfo = {
  readonly state: SandboxState;
  /** False if a shim made the status (sandboxer = "shim"), which then tells none of the following. */
  readonly isContainerds: boolean;
  /** PID of the sandbox's first process, in containerd's PID namespace. */
  readonly pid?: number;
  /** The runtime type that started the sandbox, whatever is configured now. */
  readonly runtimeType: string;
  readonly cgroupParent: string;
  /** The file of gVisor's settings that the sandbox was started with, whatever is configured now. */
  readonly configPath: string;
  /** Annotations of the OCI spec: the CRI's own, and the pod's that its handler passes on. */
  readonly annotations: ReadonlyMap<string, string>;
};

export type ListedSandbox = {
  readonly id: string;
  readonly metadata: { readonly name: string; readonly uid: string; readonly namespace: string } | null;
  /** Nanoseconds since 1970. */
  readonly createdAt: number;
  readonly state: SandboxState;
  readonly runtimeHandler: string;
};

/** A container of a pod, as the CRI lists it. */
export type PodContainer = {
  readonly id: string;
  readonly podSandboxId: string;
  readonly state: 'CONTAINER_CREATED' | 'CONTAINER_RUNNING' | 'CONTAINER_EXITED' | 'CONTAINER_UNKNOWN';
};

export type ListedContainer = {
  readonly id: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly createdAt: { readonly seconds: number } | null;
};

/**
 * A gRPC client of containerd's socket: the CRI, and containerd's introspection, task and container services. Calls
 * reject with a {@link CriError}.
 */
export class CriClient {
  readonly socket: string;
  readonly #client: Client;
  readonly #timeouts: typeof TIMEOUTS;
  readonly #running = new Set<ClientUnaryCall>();

  /** `localPath` is the socket as this process sees it. */
  constructor(socket: string, localPath: string, timeouts = TIMEOUTS) {
    this.socket = socket;
    this.#timeouts = timeouts;
    this.#client = new Client(`unix:${localPath}`, credentials.createInsecure(), {
      'grpc.default_authority': 'localhost',
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.min_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': 1_000,
      'grpc.max_receive_message_length': 16 * 1024 * 1024,
    });
  }

  /**
   * Host path of the bundles, a directory for each task of a sandbox or container. They are in containerd's state directory,
   * as its socket is: https://github.com/containerd/containerd/blob/v2.4.2/core/runtime/v2/bundle.go
   */
  get bundles(): string {
    return posix.join(posix.dirname(this.socket), 'io.containerd.runtime.v2.task', NAMESPACE);
  }

  /** Rejects with a {@link CriPluginUnavailable} if containerd answers without its CRI plugin. */
  async version(options?: CallOptions): Promise<Pick<CriStatus, 'runtimeName' | 'runtimeVersion'>> {
    try {
      return await this.call('Version', {}, options);
    } catch (error) {
      if (!(error instanceof CriError) || error.kind !== 'unsupported') throw error;
      const filters = ['type==io.containerd.grpc.v1,id==cri'];
      const response = await this.call<{ plugins: Plugin[] }>('Introspection.Plugins', { filters }, options);
      const [plugin] = response.plugins;
      if (plugin !== undefined && plugin.initErr === null) throw error;
      const why = plugin?.initErr?.message ?? 'the plugin is disabled (disabled_plugins)';
      throw new CriPluginUnavailable(
        `the containerd at ${this.socket} runs without its CRI plugin, so no pod starts: ${why}`,
      );
    }
  }

  /** The state of the running containerd and the handlers it has loaded. */
  async status(signal?: AbortSignal): Promise<CriStatus> {
    const version = await this.version({ signal });
    const response = await this.call<Verbose<Pick<CriStatus, 'conditions'>>>(
      'Status',
      { verbose: true },
      { signal },
    );
    const runtimes = loadedRuntimes(response.info.config);
    const cniErrors = new Map(
      [...runtimes.keys()].flatMap((handler) => {
        const result = response.info[`lastCNILoadStatus.${handler}`] ?? 'OK';
        return result === 'OK' ? [] : [[handler, result]];
      }),
    );
    return { ...version, runtimes, cniErrors, conditions: response.status?.conditions ?? [] };
  }

  /** Has containerd resolve and execute a shim, given its runtime type or absolute path. */
  async shimInfo(runtime: string, signal?: AbortSignal): Promise<ShimInfo> {
    const options = { typeUrl: 'containerd.types.RuntimeRequest', value: { runtimePath: runtime } };
    const request = { type: 'io.containerd.runtime.v2', id: 'task', options };
    const limits = { signal, timeoutMs: this.#timeouts.shim };
    try {
      const response = await this.call<PluginInfo>('Introspection.PluginInfo', request, limits);
      return { kind: 'ok', name: response.extra?.value?.name ?? '' };
    } catch (error) {
      if (!(error instanceof CriError) || error.kind === 'unreachable' || error.kind === 'timeout')
        throw error;
      return error.kind === 'unsupported'
        ? { kind: 'unsupported' }
        : { kind: 'error', message: error.message };
    }
  }

  /** containerd's own PID in its PID namespace; 0 where it reports none. */
  async serverPid(options?: CallOptions): Promise<number> {
    return (await this.call<{ pid: number }>('Introspection.Server', {}, options)).pid;
  }

  /** Starts a sandbox from a PodSandboxConfig and returns its id; an empty handler is containerd's default. */
  async runSandbox(config: object, handler: string, options?: CallOptions): Promise<string> {
    const request = { config, runtimeHandler: handler };
    return (await this.call<{ podSandboxId: string }>('RunPodSandbox', request, options)).podSandboxId;
  }

  async stopSandbox(id: string, options?: CallOptions): Promise<void> {
    await this.call('StopPodSandbox', { podSandboxId: id }, options);
  }

  async removeSandbox(id: string, options?: CallOptions): Promise<void> {
    await this.call('RemovePodSandbox', { podSandboxId: id }, options);
  }

  /** The verbose status of a sandbox; rejects as `absent` when there is none. */
  async sandbox(id: string, options?: CallOptions): Promise<SandboxInfo> {
    const request = { podSandboxId: id, verbose: true };
    const response = await this.call<Verbose<Pick<SandboxInfo, 'state'>>>(
      'PodSandboxStatus',
      request,
      options,
    );
    return { state: response.status?.state ?? 'SANDBOX_NOTREADY', ...parseSandboxInfo(response.info.info) };
  }

  async listSandboxes(state: SandboxState | 'all', options?: CallOptions): Promise<readonly ListedSandbox[]> {
    const filter = state === 'all' ? {} : { state: { state } };
    const limits = { timeoutMs: this.#timeouts.list, ...options };
    return (await this.call<{ items: ListedSandbox[] }>('ListPodSandbox', { filter }, limits)).items;
  }

  async listPodContainers(options?: CallOptions): Promise<readonly PodContainer[]> {
    const limits = { timeoutMs: this.#timeouts.list, ...options };
    return (await this.call<{ containers: PodContainer[] }>('ListContainers', {}, limits)).containers;
  }

  /** The PIDs that the runtime reports for a container or sandbox: the guest's under gVisor, the host's under runc. */
  async listPids(id: string, options?: CallOptions): Promise<readonly number[]> {
    const request = { containerId: id };
    const response = await this.call<{ processes: { pid: number }[] }>('Tasks.ListPids', request, options);
    return response.processes.map(({ pid }) => pid);
  }

  /**
   * Lists containerd's records of containers and sandboxes that have all of `labels` but not `without`, including those
   * that the CRI has forgotten. An absent label matches like an empty one:
   * https://github.com/containerd/containerd/blob/v2.4.2/pkg/filters/filter.go
   */
  async listContainers(
    { labels, without }: { readonly labels: Readonly<Record<string, string>>; readonly without: string },
    options?: CallOptions,
  ): Promise<readonly ListedContainer[]> {
    const filter = Object.entries(labels).map(([key, value]) => `labels."${key}"=="${value}"`);
    const request = { filters: [[...filter, `labels."${without}"~="^$"`].join(',')] };
    return (await this.call<{ containers: ListedContainer[] }>('Containers.List', request, options))
      .containers;
  }

  async deleteTask(id: string, options?: CallOptions): Promise<void> {
    await this.call('Tasks.Delete', { containerId: id }, options);
  }

  /** Deletes containerd's record of a container that has no task. */
  async deleteContainer(id: string, options?: CallOptions): Promise<void> {
    await this.call('Containers.Delete', { id }, options);
  }

  /** Resolves true as soon as the state of the connection changes, or false after `timeoutMs` without a change. */
  connectionChange(timeoutMs: number): Promise<boolean> {
    const channel = this.#client.getChannel();
    return new Promise((resolve) => {
      channel.watchConnectivityState(channel.getConnectivityState(false), Date.now() + timeoutMs, (timeout) =>
        resolve(timeout === undefined),
      );
    });
  }

  /** Closes the connection and cancels pending calls, which would otherwise keep the process alive. */
  close(): void {
    for (const call of this.#running) call.cancel();
    this.#client.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** Calls a method of {@link SCHEMA}; the service is the CRI unless named ("Tasks.Delete"). */
  async call<Response>(method: string, request: object, options: CallOptions = {}): Promise<Response> {
    const { timeoutMs = this.#timeouts.call, namespace = NAMESPACE, signal } = options;
    signal?.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<Response>();
    const metadata = new Metadata();
    metadata.set('containerd-namespace', namespace);
    const limits = timeoutMs === null ? {} : { deadline: Date.now() + timeoutMs };
    const codec = codecOf(method);
    const call = this.#client.makeUnaryRequest(...codec, request, metadata, limits, (error, response) =>
      error === null ? resolve(response as Response) : reject(new CriError(method, error, timeoutMs ?? 0)),
    );
    this.#running.add(call);
    using _cancelling = signal && addAbortListener(signal, () => call.cancel());
    return await promise.finally(() => this.#running.delete(call));
  }
}

type Verbose<Status> = { readonly status: Status | null; readonly info: Readonly<Record<string, string>> };
/** containerd lists no plugin that is disabled; this one's error contains that of the plugins it needs. */
type Plugin = { readonly initErr: { readonly message: string } | null };
type PluginInfo = { readonly extra: { readonly value: { readonly name: string } | null } | null };

/** Decoded messages are plain objects: enums by name, a default for every field that was not sent. */
const PLAIN = { longs: Number, enums: String, defaults: true };

/** A method's path, encoder and decoder. */
function codecOf(name: string) {
  const [method = '', service = 'RuntimeService'] = name.split('.').reverse();
  const { fullName, methods } = SCHEMA.lookupService(service);
  const { resolvedRequestType: request, resolvedResponseType: response } = methods[method] ?? {};
  if (!request || !response) throw new Error(`No method "${name}" in the schema`);
  return [
    `/${fullName.slice(1)}/${method}`,
    (value: object) => Buffer.from(request.encode(request.fromObject(value)).finish()),
    (bytes: Buffer): object => response.toObject(response.decode(bytes), PLAIN),
  ] as const;
}

/**
 * Reads the handlers from the `config` document of a verbose status.
 * https://github.com/containerd/containerd/blob/v2.4.2/internal/cri/config/config.go
 */
export function loadedRuntimes(config: string | undefined): ReadonlyMap<string, Runtime> {
  if (config === undefined) throw new Error("containerd's status carries no configuration");
  let parsed: { containerd?: { runtimes?: Record<string, RawRuntime> } } | null;
  try {
    parsed = JSON.parse(config) as typeof parsed;
  } catch {
    // No cause: its message quotes the document, which may contain credentials.
    throw new Error("containerd's status carries a configuration that is not JSON");
  }
  const runtimes = new Map<string, Runtime>();
  for (const [name, raw] of Object.entries(parsed?.containerd?.runtimes ?? {})) {
    const patterns = raw?.PodAnnotations;
    runtimes.set(name, {
      runtimeType: text(raw?.runtimeType),
      runtimePath: text(raw?.runtimePath),
      options: typeof raw?.options === 'object' ? { ...raw.options } : {},
      snapshotter: text(raw?.snapshotter),
      podAnnotations: Array.isArray(patterns) ? patterns.filter((each) => typeof each === 'string') : [],
      baseRuntimeSpec: text(raw?.baseRuntimeSpec),
      cniConfDir: text(raw?.cniConfDir),
    });
  }
  return runtimes;
}

type RawRuntime = Readonly<Record<string, unknown>> | null;

/**
 * Reads the `info` document of a verbose sandbox status; a document that is not JSON yields nothing.
 * https://github.com/containerd/containerd/blob/v2.4.2/internal/cri/types/sandbox_info.go
 */
function parseSandboxInfo(document: string | undefined): Omit<SandboxInfo, 'state'> {
  let raw: RawSandbox = null;
  try {
    raw = JSON.parse(document ?? 'null') as RawSandbox;
  } catch {}
  const pid = raw?.pid;
  return {
    isContainerds: typeof raw?.config === 'object' && raw.config !== null,
    ...(typeof pid === 'number' && pid > 0 ? { pid } : {}),
    runtimeType: text(raw?.runtimeType),
    cgroupParent: text(raw?.config?.linux?.cgroup_parent),
    configPath: text(raw?.runtimeOptions?.config_path),
    annotations: new Map(
      Object.entries(raw?.runtimeSpec?.annotations ?? {}).map(([key, value]) => [key, text(value)]),
    ),
  };
}

type RawSandbox = {
  readonly pid?: unknown;
  readonly runtimeType?: unknown;
  readonly runtimeOptions?: { readonly config_path?: unknown } | null;
  readonly config?: { readonly linux?: { readonly cgroup_parent?: unknown } | null } | null;
  readonly runtimeSpec?: { readonly annotations?: Readonly<Record<string, unknown>> | null } | null;
} | null;

function text(value: unknown): string {
  return typeof value === 'string' ? value : '';
}
