import '@grpc/grpc-js/build/src/channel.js';
import { addAbortListener } from 'node:events';
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

/** One runtime handler, as the running containerd holds it in memory or would read it from disk. */
export type Runtime = {
  /** For example "io.containerd.runsc.v1". */
  readonly runtimeType: string;
  /** Absolute path of the shim, or "" when containerd looks it up by the type's name. */
  readonly runtimePath: string;
  readonly options: Readonly<Record<string, unknown>>;
  readonly snapshotter: string;
  /** Patterns of pod annotations that reach the OCI spec, as Go's path.Match reads them. */
  readonly podAnnotations: readonly string[];
};

/**
 * What CRI `Status(verbose)` and `Version` say of the running containerd.
 * Only these fields are kept: the blob of containerd 1.x can carry registry credentials.
 */
export type CriStatus = {
  /** "containerd". */
  readonly runtimeName: string;
  /** As reported, for example "v2.4.2" or "1.7.24~ds1". */
  readonly runtimeVersion: string;
  readonly runtimes: ReadonlyMap<string, Runtime>;
  readonly conditions: readonly { type: string; status: boolean; reason: string; message: string }[];
};

/** What containerd (2.0 and newer) answers when it resolves and executes a shim itself. */
export type ShimInfo =
  | { readonly kind: 'ok'; readonly name: string }
  | { readonly kind: 'error'; readonly message: string }
  | { readonly kind: 'unsupported' };

/** What a sandbox is, in the CRI's words. */
export type SandboxState = 'SANDBOX_READY' | 'SANDBOX_NOTREADY';

/** What containerd knows of one sandbox; "" and absent where it does not say. */
export type SandboxInfo = {
  readonly state: SandboxState;
  /** The PID of the sandbox's first process, in containerd's PID namespace. */
  readonly pid?: number;
  /** The runtime that it was started with, such as "io.containerd.runsc.v1", whatever is configured now. */
  readonly runtimeType: string;
  readonly cgroupParent: string;
  /** The annotations of its OCI spec: the CRI's, and those of the pod that its handler passes on. */
  readonly annotations: ReadonlyMap<string, string>;
};

type Linux = { readonly linux?: { readonly cgroup_parent?: unknown } | null };
type Raw = {
  readonly pid?: unknown;
  readonly runtimeType?: unknown;
  readonly config?: Linux | null;
  readonly runtimeSpec?: { readonly annotations?: Readonly<Record<string, unknown>> | null } | null;
} | null;

/**
 * Reads the document `info` of a verbose status; nothing is told by one that is no JSON.
 * Source: https://github.com/containerd/containerd/blob/v2.4.2/internal/cri/types/sandbox_info.go
 */
export function parseSandboxInfo(document: string | undefined): Omit<SandboxInfo, 'state'> {
  const raw = parse(document);
  const pid = raw?.pid;
  return {
    ...(typeof pid === 'number' && pid > 0 ? { pid } : {}),
    runtimeType: text(raw?.runtimeType),
    cgroupParent: text(raw?.config?.linux?.cgroup_parent),
    annotations: new Map(
      Object.entries(raw?.runtimeSpec?.annotations ?? {}).map(([key, value]) => [key, text(value)]),
    ),
  };
}

function parse(document: string | undefined): Raw {
  try {
    return JSON.parse(document ?? 'null') as Raw;
  } catch {
    return null;
  }
}

/** A text, "" for anything else. */
export function text(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

/**
 * Reads the handlers out of the `config` document of a verbose status. Only named fields are taken:
 * containerd 1.x puts registry credentials beside them.
 * Source: https://github.com/containerd/containerd/blob/v2.4.2/internal/cri/config/config.go
 */
export function loadedRuntimes(config: string | undefined): ReadonlyMap<string, Runtime> {
  if (config === undefined) throw new Error("containerd's status carries no configuration");
  let parsed: { containerd?: { runtimes?: Record<string, RawRuntime> } } | null;
  try {
    parsed = JSON.parse(config) as typeof parsed;
  } catch {
    throw new Error("containerd's status carries a configuration that is not JSON"); // its text may hold credentials
  }
  const runtimes = new Map<string, Runtime>();
  for (const [name, raw] of Object.entries(parsed?.containerd?.runtimes ?? {})) {
    runtimes.set(name, {
      runtimeType: text(raw?.runtimeType),
      runtimePath: text(raw?.runtimePath),
      options: typeof raw?.options === 'object' ? { ...raw.options } : {},
      snapshotter: text(raw?.snapshotter),
      podAnnotations: texts(raw?.PodAnnotations),
    });
  }
  return runtimes;
}

function texts(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.filter((each) => typeof each === 'string') : [];
}

type RawRuntime = Readonly<Record<string, unknown>> | null;

/** The list of sandboxes is as long as pods make it, and no proof begins without it. */
const LIST_MS = 20_000;
/** To describe a shim containerd executes it, which a busy disk may have to bring first. */
const PROGRAM_MS = 5_000;

/** A sandbox as the CRI lists it. */
export type ListedSandbox = {
  readonly id: string;
  readonly metadata: { readonly name: string; readonly uid: string; readonly namespace: string } | null;
  /** Nanoseconds since 1970. */
  readonly createdAt: number;
  readonly runtimeHandler: string;
};

/** A container as containerd itself records it. */
export type ListedContainer = {
  readonly id: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly createdAt: { readonly seconds: number } | null;
};

/** A connection to containerd's socket: the CRI, and containerd's introspection, task and container services. */
export class CriClient extends Connection {
  /** Name and release of the runtime, such as "containerd" and "v2.4.2". */
  version(options?: CallOptions): Promise<Pick<CriStatus, 'runtimeName' | 'runtimeVersion'>> {
    return this.call('Version', {}, options);
  }

  /** What the running containerd says of itself and of its handlers. */
  async status(signal?: AbortSignal): Promise<CriStatus> {
    const version = await this.version({ signal });
    const request = { verbose: true };
    const answer = await this.call<Verbose<Pick<CriStatus, 'conditions'>>>('Status', request, { signal });
    const runtimes = loadedRuntimes(answer.info.config);
    return { ...version, runtimes, conditions: answer.status?.conditions ?? [] };
  }

  /**
   * What containerd says of a runtime type, or of the absolute path of a shim: it resolves and executes the shim itself,
   * which 1.x cannot be asked to do.
   */
  async shimInfo(runtime: string, signal?: AbortSignal): Promise<ShimInfo> {
    const options = { typeUrl: 'containerd.types.RuntimeRequest', value: { runtimePath: runtime } };
    const request = { type: 'io.containerd.runtime.v2', id: 'task', options };
    try {
      const limits = { signal, timeoutMs: PROGRAM_MS };
      const answer = await this.call<PluginInfo>('Introspection.PluginInfo', request, limits);
      return { kind: 'ok', name: answer.extra?.value?.name ?? '' };
    } catch (error) {
      if (!(error instanceof CriError) || error.kind === 'unreachable' || error.kind === 'timeout')
        throw error;
      return error.kind === 'unsupported'
        ? { kind: 'unsupported' }
        : { kind: 'error', message: error.message };
    }
  }

  /** containerd's own PID in its PID namespace; 0 where it does not say. */
  async serverPid(options?: CallOptions): Promise<number> {
    return (await this.call<{ pid: number }>('Introspection.Server', {}, options)).pid;
  }

  /** Starts a sandbox and gives its id. `config` is a PodSandboxConfig; an empty handler is containerd's default. */
  async runSandbox(config: object, handler: string, options?: CallOptions): Promise<string> {
    const request = { config, runtimeHandler: handler };
    return (await this.call<{ podSandboxId: string }>('RunPodSandbox', request, options)).podSandboxId;
  }

  /** Stops a sandbox; one that is stopped already is no error. */
  async stopSandbox(id: string, options?: CallOptions): Promise<void> {
    await this.call('StopPodSandbox', { podSandboxId: id }, options);
  }

  /** Removes a sandbox; one that is not there is no error. */
  async removeSandbox(id: string, options?: CallOptions): Promise<void> {
    await this.call('RemovePodSandbox', { podSandboxId: id }, options);
  }

  /** The state of a sandbox and what containerd knows beyond the CRI; rejects as `absent` when it is not there. */
  async sandbox(id: string, options?: CallOptions): Promise<SandboxInfo> {
    const request = { podSandboxId: id, verbose: true };
    const answer = await this.call<Verbose<Pick<SandboxInfo, 'state'>>>('PodSandboxStatus', request, options);
    return { state: answer.status?.state ?? 'SANDBOX_NOTREADY', ...parseSandboxInfo(answer.info.info) };
  }

  /** Sandboxes of that state, or all. */
  async listSandboxes(state: SandboxState | 'all', options?: CallOptions): Promise<readonly ListedSandbox[]> {
    const filter = state === 'all' ? {} : { state: { state } };
    const limits = { timeoutMs: LIST_MS, ...options };
    return (await this.call<{ items: ListedSandbox[] }>('ListPodSandbox', { filter }, limits)).items;
  }

  /** The PIDs that the runtime itself reports for a container or sandbox: gVisor reports the guest's, runc the host's. */
  async listPids(id: string, options?: CallOptions): Promise<readonly number[]> {
    const request = { containerId: id };
    const answer = await this.call<{ processes: { pid: number }[] }>('Tasks.ListPids', request, options);
    return answer.processes.map(({ pid }) => pid);
  }

  /**
   * containerd's own records of containers and sandboxes with all of these labels and without that one, those too that the
   * CRI forgot. An absent label matches like an empty one:
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

  /** Ends the task of a container, whatever state it is in. */
  async deleteTask(id: string, options?: CallOptions): Promise<void> {
    await this.call('Tasks.Delete', { containerId: id }, options);
  }

  /** Removes containerd's own record of a container that has no task. */
  async deleteContainer(id: string, options?: CallOptions): Promise<void> {
    await this.call('Containers.Delete', { id }, options);
  }
}

/** What the CRI answers with details: a message, null where there is none, and documents by name. */
type Verbose<Status> = { readonly status: Status | null; readonly info: Readonly<Record<string, string>> };
type PluginInfo = { readonly extra: { readonly value: { readonly name: string } | null } | null };
