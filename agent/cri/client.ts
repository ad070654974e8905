import { type CallOptions, Connection } from './connection.ts';
import type { CriStatus, ShimInfo } from './cri.ts';
import { CriError } from './error.ts';
import { loadedRuntimes } from './loaded-runtimes.ts';
import { parseSandboxInfo, type SandboxInfo, type SandboxState } from './sandbox-info.ts';

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
      if (!(error instanceof CriError) || error.kind === 'unreachable' || error.kind === 'late') throw error;
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
