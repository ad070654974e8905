import { mkdtemp, rm } from 'node:fs/promises';
import type { Server as NetServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { type Metadata, Server, ServerCredentials, status } from '@grpc/grpc-js';
import { CriClient } from '../../../lib/containerd/client.ts';
import { PATIENT_MS, tempHost } from '../host/temp-host.ts';
import { type Refusal, type Request, type Script, SERVICES } from './containerd-scripts.ts';
import { FakeSandboxes } from './fake-sandboxes.ts';

/** Configuration in the status of a containerd with the handler "runsc". */
export const CONFIG = JSON.stringify({
  stateDir: '/run/containerd/io.containerd.grpc.v1.cri',
  containerd: {
    defaultRuntimeName: 'runc',
    runtimes: {
      runc: { runtimeType: 'io.containerd.runc.v2' },
      runsc: { runtimeType: 'io.containerd.runsc.v1' },
    },
  },
});

/**
 * A fake containerd: a real gRPC server on a socket in a temporary directory, with sandboxes whose processes are in /proc of
 * the host at `root`. `scripts` replace the responses of methods, named as in "RunPodSandbox" and "Tasks.Delete".
 */
export class FakeContainerd {
  readonly socket: string;
  readonly sandboxes: FakeSandboxes;
  /** Methods called, in order. */
  readonly calls: string[] = [];
  /** All requests in order; `deadline`: whether the client set one. */
  readonly requests: { readonly method: string; readonly request: Request; readonly deadline: boolean }[] =
    [];
  /** Methods whose call the client cancelled. */
  readonly cancelled: string[] = [];
  scripts: Readonly<Record<string, Script>> = {};
  #server: Server | undefined;
  readonly #waiting = new Set<{ readonly method: string; readonly resolve: () => void }>();

  constructor(socket: string, root?: string) {
    this.socket = socket;
    this.sandboxes = new FakeSandboxes(root);
  }

  async start(): Promise<void> {
    const server = new Server({ 'grpc.max_send_message_length': -1 });
    for (const { definition, nameOf } of SERVICES) {
      const entries = Object.entries(definition);
      const methods = entries.map(([name, method]) => [
        name,
        { ...method, responseSerialize: serialize(method) },
      ]);
      const handlers = entries.map(([name]) => [name, this.#handler(nameOf(name))]);
      server.addService(Object.fromEntries(methods) as never, Object.fromEntries(handlers) as never);
    }
    const bound = Promise.withResolvers<void>();
    server.bindAsync(`unix:${this.socket}`, ServerCredentials.createInsecure(), (error) =>
      error === null ? bound.resolve() : bound.reject(error),
    );
    await bound.promise;
    this.#server = server;
  }

  /** Stops the server at once, as a crash does, and removes the socket. */
  async stop(): Promise<void> {
    this.#server?.forceShutdown();
    this.#server = undefined;
    await rm(this.socket, { force: true });
  }

  /** Resolves at the next call of a method. */
  called(method: string): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiting.add({ method, resolve });
    return promise;
  }

  /** Number of calls of a method. */
  count(method: string): number {
    return this.calls.filter((each) => each === method).length;
  }

  /** The response of a healthy containerd, for scripts that only add something. */
  usual(method: string, request: Request): object {
    const { sandboxes } = this;
    switch (method) {
      case 'Version':
        return { runtimeName: 'containerd', runtimeVersion: 'v2.4.2' };
      case 'Status':
        return { status: { conditions: [{ type: 'RuntimeReady', status: true }] }, info: { config: CONFIG } };
      case 'RunPodSandbox':
        return { podSandboxId: sandboxes.run(request) };
      case 'StopPodSandbox':
        sandboxes.end(request.podSandboxId);
        return {};
      case 'RemovePodSandbox':
        sandboxes.remove(request.podSandboxId);
        return {};
      case 'PodSandboxStatus':
        return sandboxes.status(request.podSandboxId);
      case 'ListPodSandbox':
        return { items: sandboxes.list(request.filter) };
      case 'PluginInfo':
        return { extra: { value: { name: 'io.containerd.runsc.v1', version: { version: 'v1' } } } };
      case 'Tasks.ListPids':
        return sandboxes.pids(request.containerId);
      case 'Tasks.Delete':
        return sandboxes.deleteTask(request.containerId);
      case 'Containers.List':
        return { containers: sandboxes.recorded(request.filters) };
      case 'Containers.Delete':
        return sandboxes.deleteRecord(request.id);
      default:
        return {};
    }
  }

  #handler(method: string) {
    return (call: Call, respond?: (error: object | null, value?: object) => void) => {
      const { request } = call;
      this.calls.push(method);
      // grpc-js reports no deadline as Infinity.
      this.requests.push({ method, request, deadline: Number.isFinite(Number(call.getDeadline())) });
      let responded = false;
      call.on('cancelled', () => responded || this.cancelled.push(method));
      for (const waiting of this.#waiting) {
        if (waiting.method !== method) continue;
        this.#waiting.delete(waiting);
        waiting.resolve();
      }
      if (respond === undefined) return; // streaming methods never respond
      const script = this.scripts[method] ?? ((each) => this.usual(method, each));
      const end = (error: object | null, value?: object) => {
        responded = true;
        respond(error, value);
      };
      const [namespace = ''] = call.metadata.get('containerd-namespace').map(String);
      Promise.resolve(request)
        .then((each) => script(each, namespace))
        .then(
          (value: object) => end(null, value),
          (error: Refusal) => end({ code: error.code ?? status.UNKNOWN, details: error.message }),
        );
    };
  }
}

type Call = {
  readonly request: Request;
  readonly metadata: Metadata;
  getDeadline(): Date | number;
  on(event: 'cancelled', listener: () => void): void;
};

function serialize({ responseSerialize }: { responseSerialize: (value: object) => Buffer }) {
  return (value: object) => ('garbage' in value ? Buffer.alloc(64, 0xff) : responseSerialize(value));
}

/** A running fake and its client; both are closed after the test. */
export async function fakeContainerd(
  context: TestContext,
  scripts: Readonly<Record<string, Script>> = {},
  { responseMs = PATIENT_MS, root }: { readonly responseMs?: number; readonly root?: string } = {},
): Promise<{ readonly containerd: FakeContainerd; readonly client: CriClient }> {
  const directory = await mkdtemp(join(tmpdir(), 'cri-'));
  const containerd = new FakeContainerd(join(directory, 'containerd.sock'), root);
  containerd.scripts = scripts;
  await containerd.start();
  const timeouts = { call: responseMs, list: responseMs, shim: responseMs };
  const client = new CriClient('/run/containerd/containerd.sock', containerd.socket, timeouts);
  context.after(async () => {
    client.close();
    await containerd.stop();
    await rm(directory, { recursive: true, force: true });
  });
  return { containerd, client };
}

/** A client of any server; both are closed after the test. */
export async function clientOf(context: TestContext, server: NetServer): Promise<CriClient> {
  const { root } = await tempHost(context);
  const socket = join(root, 'containerd.sock');
  server.listen(socket);
  const client = new CriClient(socket, socket);
  context.after(() => {
    client.close();
    server.close();
  });
  return client;
}
