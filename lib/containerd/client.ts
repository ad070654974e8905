import { posix } from 'node:path';
import { type Cni, parseLoadedCni } from './cni.ts';
import { CriError, CriPluginUnavailable } from './error.ts';
import { GrpcClient } from './grpc.ts';
import { SCHEMA } from './schema.ts';

/** Timeouts of calls that set none, in milliseconds. */
const TIMEOUTS = {
  /** containerd answers status calls from memory. */
  call: 3_000,
  /** The list grows with the pods, and no proof begins without it. */
  list: 20_000,
  /** containerd executes the shim, which may wait for a busy disk. */
  shim: 5_000,
};

const NAMESPACE = 'k8s.io';

/** An answer from memory takes a millisecond. */
const LATE_MS = 500;
const RECENT_MS = 60_000;

/** Options of one call. `timeoutMs: null` means no deadline. */
export type CallOptions = {
  readonly timeoutMs?: number | null;
  /** containerd's namespace; the CRI's by default. */
  readonly namespace?: string;
  readonly signal?: AbortSignal | undefined;
};

/** A runtime handler, as loaded by containerd or as configured in its files. */
export type Runtime = {
  /** For example "io.containerd.runsc.v1". */
  readonly runtimeType: string;
  /** Absolute path of the shim; "" if containerd looks it up by the type. */
  readonly runtimePath: string;
  readonly options: Readonly<Record<string, unknown>>;
  readonly snapshotter: string;
  /** Patterns (Go's path.Match) of pod annotations copied into the OCI spec. */
  readonly podAnnotations: readonly string[];
  /** Path of the OCI spec of containers, not sandboxes; "" for containerd's own. */
  readonly baseRuntimeSpec: string;
  /** Directory of its CNI configuration; "" for the node's. */
  readonly cniConfDir: string;
  /** How containers' output is carried; "" for named pipes. */
  readonly ioType: string;
};

/**
 * From CRI `Version` and `Status(verbose)`. Other fields are dropped: containerd 1.x shows registry
 * credentials there.
 */
export type CriStatus = {
  readonly runtimeName: string;
  /** As reported, for example "v2.4.2" or "1.7.24~ds1". */
  readonly runtimeVersion: string;
  readonly runtimes: ReadonlyMap<string, Runtime>;
  /** Why a handler's directory gave no network configuration, by handler. */
  readonly cniErrors: ReadonlyMap<string, string>;
  /** The node's. */
  readonly cni: Cni;
  readonly conditions: readonly { type: string; status: boolean; reason: string; message: string }[];
};

/**
 * The kubelet's cgroup driver, which a kubelet from 1.34 on asks for in the same way. containerd 1.7 does not
 * say it, and is guessed by the options of its handlers. Source:
 * https://github.com/containerd/containerd/blob/v2.4.2/internal/cri/server/runtime_config_linux.go
 */
export async function usesSystemdCgroup(client: CriClient, { runtimes }: CriStatus): Promise<boolean> {
  const asked = client.call<RuntimeConfig>('RuntimeConfig', {});
  const { linux } = await asked.catch((error: unknown) => {
    if (error instanceof CriError && error.kind === 'unsupported') return { linux: null };
    throw error;
  });
  if (linux !== null) return linux.cgroupDriver === 'SYSTEMD';
  return [...runtimes.values()].some(({ options }) => options.SystemdCgroup === true);
}

/** containerd 2.x's answer when asked to execute a shim; 1.x does not support the call. */
export type ShimInfo =
  | { readonly kind: 'ok'; readonly name: string }
  | { readonly kind: 'error'; readonly message: string }
  | { readonly kind: 'unsupported' };

export type SandboxState = 'SANDBOX_READY' | 'SANDBOX_NOTREADY';

/** containerd's verbose status of a sandbox; "" or absent if unknown. */
export type SandboxInfo = {
  readonly state: SandboxState;
  /** False for a status made by a shim (sandboxer = "shim"), which has none of the following. */
  readonly isContainerds: boolean;
  /** PID of the first process, in containerd's PID namespace. */
  readonly pid?: number;
  /** The runtime type that it was started with. */
  readonly runtimeType: string;
  readonly cgroupParent: string;
  /** gVisor's settings file that it was started with. */
  readonly configPath: string;
  /** Annotations of the OCI spec: the CRI's own, and those passed on from the pod. */
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

export type PodContainer = {
  readonly id: string;
  readonly podSandboxId: string;
  readonly state: 'CONTAINER_CREATED' | 'CONTAINER_RUNNING' | 'CONTAINER_EXITED' | 'CONTAINER_UNKNOWN';
};

export type ContainerStatus = {
  readonly metadata: { readonly name: string } | null;
  readonly state: PodContainer['state'];
  /** Nanoseconds since 1970; 0 while it runs. */
  readonly finishedAt: number;
  /** Of its first process; 0 while it runs. */
  readonly exitCode: number;
};

export type ListedContainer = {
  readonly id: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly createdAt: { readonly seconds: number } | null;
};

/** A gRPC client of containerd's socket. Calls reject with a {@link CriError}. */
export class CriClient {
  readonly socket: string;
  readonly #client: GrpcClient;
  readonly #timeouts: typeof TIMEOUTS;
  #lateMs = Number.NEGATIVE_INFINITY;

  /** `localPath` is the socket as this process sees it. */
  constructor(socket: string, localPath: string, timeouts = TIMEOUTS) {
    this.socket = socket;
    this.#timeouts = timeouts;
    this.#client = new GrpcClient(localPath);
  }

  /**
   * Host path of the bundles, one directory a task, beside the socket:
   * https://github.com/containerd/containerd/blob/v2.4.2/core/runtime/v2/bundle.go
   */
  get bundles(): string {
    return posix.join(posix.dirname(this.socket), 'io.containerd.runtime.v2.task', NAMESPACE);
  }

  /** Whether it has answered within the last minute, and late: it is slow then, and does not hang. */
  get answersLate(): boolean {
    return performance.now() - this.#lateMs < RECENT_MS;
  }

  /** Rejects with a {@link CriPluginUnavailable} if the CRI plugin is missing. */
  async version(options?: CallOptions): Promise<RuntimeVersion> {
    const askedMs = performance.now();
    try {
      const version = await this.call<RuntimeVersion>('Version', {}, options);
      if (performance.now() - askedMs > LATE_MS) this.#lateMs = performance.now();
      return version;
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

  async status(signal?: AbortSignal): Promise<CriStatus> {
    const version = await this.version({ signal });
    const response = await this.call<RuntimeStatus>('Status', { verbose: true }, { signal });
    const runtimes = loadedRuntimes(response.info.config);
    const cniErrors = new Map(
      [...runtimes.keys()].flatMap((handler) => {
        const result = response.info[`lastCNILoadStatus.${handler}`] ?? 'OK';
        return result === 'OK' ? [] : [[handler, result]];
      }),
    );
    const cni = parseLoadedCni(response.info.cniconfig);
    return { ...version, runtimes, cniErrors, cni, conditions: response.status?.conditions ?? [] };
  }

  /** Takes a runtime type or an absolute path. */
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

  /** 0 if containerd reports no PID. */
  async serverPid(options?: CallOptions): Promise<number> {
    return (await this.call<{ pid: number }>('Introspection.Server', {}, options)).pid;
  }

  /** Starts a sandbox from a PodSandboxConfig and returns its id; "" is the default handler. */
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

  /** Rejects as `absent` if there is no such sandbox. */
  async sandbox(id: string, options?: CallOptions): Promise<SandboxInfo> {
    const request = { podSandboxId: id, verbose: true };
    const response = await this.call<SandboxStatus>('PodSandboxStatus', request, options);
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

  /** Rejects as `absent` if there is no such container. */
  async containerStatus(id: string, options?: CallOptions): Promise<ContainerStatus> {
    const { status } = await this.call<{ status: ContainerStatus | null }>(
      'ContainerStatus',
      { containerId: id },
      options,
    );
    return status ?? { metadata: null, state: 'CONTAINER_UNKNOWN', finishedAt: 0, exitCode: 0 };
  }

  /** PIDs as the runtime reports them: the guest's under gVisor, the host's under runc. */
  async listPids(id: string, options?: CallOptions): Promise<readonly number[]> {
    const request = { containerId: id };
    const response = await this.call<{ processes: { pid: number }[] }>('Tasks.ListPids', request, options);
    return response.processes.map(({ pid }) => pid);
  }

  /**
   * containerd's records, also those that the CRI has forgotten, with all of `labels` but not `without`. An
   * absent label matches like an empty one:
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

  async deleteContainer(id: string, options?: CallOptions): Promise<void> {
    await this.call('Containers.Delete', { id }, options);
  }

  /** True once the connection ends, false after `timeoutMs` and without a connection. */
  disconnected(timeoutMs: number): Promise<boolean> {
    return this.#client.disconnected(timeoutMs);
  }

  /** Cancels pending calls, which would keep the process alive. */
  close(): void {
    this.#client.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** Calls a method of {@link SCHEMA}, of the CRI unless a service is named ("Tasks.Delete"). */
  async call<Response>(method: string, request: object, options: CallOptions = {}): Promise<Response> {
    const { timeoutMs = this.#timeouts.call, namespace = NAMESPACE, signal } = options;
    signal?.throwIfAborted();
    const { path, encode, decode } = codecOf(method);
    const metadata = { 'containerd-namespace': namespace };
    const message = encode(request);
    const bytes = await this.#client.unary({ method, path, message, metadata, timeoutMs, signal });
    try {
      return decode(bytes) as Response;
    } catch {
      throw new CriError(method, 'unreachable', 'the answer has another form');
    }
  }
}

type Verbose<Status> = { readonly status: Status | null; readonly info: Readonly<Record<string, string>> };
type RuntimeConfig = { readonly linux: { readonly cgroupDriver: 'SYSTEMD' | 'CGROUPFS' } | null };
type RuntimeVersion = Pick<CriStatus, 'runtimeName' | 'runtimeVersion'>;
type RuntimeStatus = Verbose<Pick<CriStatus, 'conditions'>>;
type SandboxStatus = Verbose<Pick<SandboxInfo, 'state'>>;
/** Disabled plugins are not listed; the error includes those of plugins that this one needs. */
type Plugin = { readonly initErr: { readonly message: string } | null };
type PluginInfo = { readonly extra: { readonly value: { readonly name: string } | null } | null };

/** Enums by name, and a default for every field not sent. */
const PLAIN = { longs: Number, enums: String, defaults: true };

/** A method's path, encoder and decoder. */
function codecOf(name: string) {
  const [method = '', service = 'RuntimeService'] = name.split('.').reverse();
  const { fullName, methods } = SCHEMA.lookupService(service);
  const { resolvedRequestType: request, resolvedResponseType: response } = methods[method] ?? {};
  if (!request || !response) throw new Error(`No method "${name}" in the schema`);
  return {
    path: `/${fullName.slice(1)}/${method}`,
    encode: (value: object) => request.encode(request.fromObject(value)).finish(),
    decode: (bytes: Buffer): object => response.toObject(response.decode(bytes), PLAIN),
  };
}

/**
 * Handlers from the `config` document of a verbose status.
 * https://github.com/containerd/containerd/blob/v2.4.2/internal/cri/config/config.go
 */
export function loadedRuntimes(config: string | undefined): ReadonlyMap<string, Runtime> {
  if (config === undefined) throw new Error("containerd's status carries no configuration");
  let parsed: { containerd?: { runtimes?: Record<string, Fields | null> } } | null;
  try {
    parsed = JSON.parse(config) as typeof parsed;
  } catch {
    // No cause: its message quotes the document, which may contain credentials.
    throw new Error("containerd's status carries a configuration that is not JSON");
  }
  const runtimes = Object.entries(parsed?.containerd?.runtimes ?? {});
  return new Map(
    runtimes.map(([name, raw]) => [
      name,
      runtimeOf({ ...raw, podAnnotations: raw?.PodAnnotations, ioType: raw?.io_type }),
    ]),
  );
}

type Fields = Readonly<Record<string, unknown>>;

/** containerd fills it in when it loads its configuration. */
const DEFAULT_IO = 'fifo';

/** A field of another type counts as absent. */
export function runtimeOf(fields: Fields): Runtime {
  const { options, podAnnotations } = fields;
  return {
    runtimeType: text(fields.runtimeType),
    runtimePath: text(fields.runtimePath),
    options: typeof options === 'object' ? { ...options } : {},
    snapshotter: text(fields.snapshotter),
    podAnnotations: Array.isArray(podAnnotations) ? podAnnotations.filter((each) => text(each) === each) : [],
    baseRuntimeSpec: text(fields.baseRuntimeSpec),
    cniConfDir: text(fields.cniConfDir),
    ioType: text(fields.ioType) === DEFAULT_IO ? '' : text(fields.ioType),
  };
}

/**
 * The `info` document of a verbose sandbox status; nothing if it is not JSON.
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
