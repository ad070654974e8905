import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { Server, ServerCredentials, status } from '@grpc/grpc-js';
import { CriClient } from '../../../agent/host/cri-client.ts';
import { Refusal, type Request, type Script, SERVICES } from './containerd-scripts.ts';

/** A sandbox of the fake, with the request's configuration. */
export type FakeSandbox = {
  state: 'SANDBOX_READY' | 'SANDBOX_NOTREADY';
  readonly labels: Readonly<Record<string, string>>;
  readonly config: Request;
};

/** gVisor's kernel as a probe sees it. */
export const GUEST = 'Linux version 4.4.0 #1 SMP Sun Jan 10 15:06:54 PST 2016\nb3e0c5d2-0000-4b5c\n';

/** The status document of a containerd with the handler "runsc". */
export const CONFIG = JSON.stringify({
  stateDir: '/run/containerd/io.containerd.grpc.v1.cri',
  containerd: {
    defaultRuntimeName: 'runc',
    runtimes: { runsc: { runtimeType: 'io.containerd.runsc.v1' } },
  },
});

/**
 * A containerd on a socket in a temporary folder: a real gRPC server that keeps sandboxes and answers as
 * a healthy one does, save for what `scripts` says of a method.
 */
export class FakeContainerd {
  readonly socket: string;
  readonly sandboxes = new Map<string, FakeSandbox>();
  /** Names of the methods called, in order. */
  readonly calls: string[] = [];
  /** The requests of each call, in order. */
  readonly requests: { readonly method: string; readonly request: Request }[] = [];
  scripts: Readonly<Record<string, Script>> = {};
  /** The most sandboxes of a probe that ever existed at a time. */
  mostProbes = 0;
  #server: Server | undefined;
  #made = 0;
  readonly #heard = new Set<{ readonly method: string; readonly resolve: () => void }>();

  constructor(socket: string) {
    this.socket = socket;
  }

  async start(): Promise<void> {
    const server = new Server({ 'grpc.max_send_message_length': -1 });
    for (const service of SERVICES) {
      const entries = Object.entries(service);
      const definition = Object.fromEntries(
        entries.map(([name, method]) => [name, { ...method, responseSerialize: serialize(method) }]),
      );
      const handlers = Object.fromEntries(entries.map(([name]) => [name, this.#handler(name)]));
      server.addService(definition as never, handlers as never);
    }
    const bound = Promise.withResolvers<void>();
    server.bindAsync(`unix:${this.socket}`, ServerCredentials.createInsecure(), (error) =>
      error === null ? bound.resolve() : bound.reject(error),
    );
    await bound.promise;
    this.#server = server;
  }

  /** Ends the server at once, as a crash does; the socket's file goes with it. */
  async stop(): Promise<void> {
    this.#server?.forceShutdown();
    this.#server = undefined;
    await rm(this.socket, { force: true });
  }

  /** Resolves when that method is called the next time. */
  called(method: string): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#heard.add({ method, resolve });
    return promise;
  }

  /** Puts a sandbox there. */
  add(id: string, labels: Readonly<Record<string, string>>, config: Request = {}): void {
    this.sandboxes.set(id, { state: 'SANDBOX_READY', labels, config });
    const probes = [...this.sandboxes.values()].filter(
      (sandbox) => sandbox.labels['app.kubernetes.io/component'] === 'probe',
    );
    this.mostProbes = Math.max(this.mostProbes, probes.length);
  }

  /** What a healthy containerd would answer, for scripts that only want to add something. */
  usual(method: string, request: Request): object {
    switch (method) {
      case 'Version':
        return { runtimeName: 'containerd', runtimeVersion: 'v2.4.2' };
      case 'Status':
        return { status: { conditions: [{ type: 'RuntimeReady', status: true }] }, info: { config: CONFIG } };
      case 'RunPodSandbox': {
        this.#made += 1;
        const id = `sandbox-${this.#made}`;
        this.add(id, request.config.labels, request.config);
        return { podSandboxId: id };
      }
      case 'StopPodSandbox': {
        const sandbox = this.sandboxes.get(request.podSandboxId);
        if (sandbox !== undefined) sandbox.state = 'SANDBOX_NOTREADY';
        return {};
      }
      case 'RemovePodSandbox':
        this.sandboxes.delete(request.podSandboxId);
        return {};
      case 'PodSandboxStatus':
        return this.#sandboxStatus(request.podSandboxId);
      case 'ListPodSandbox':
        return { items: this.#list(request.filter?.labelSelector ?? {}) };
      case 'CreateContainer':
        return { containerId: `of-${request.podSandboxId}` };
      case 'ExecSync':
        return { stdout: Buffer.from(GUEST) };
      case 'PluginInfo':
        return { extra: { value: { name: 'io.containerd.runsc.v1', version: { version: 'v1' } } } };
      default:
        return {};
    }
  }

  #sandboxStatus(id: string): object {
    const sandbox = this.sandboxes.get(id);
    if (sandbox === undefined) throw new Refusal(`sandbox "${id}": not found`, status.NOT_FOUND);
    const cgroup = sandbox.config.linux?.cgroupParent;
    const config = cgroup === undefined ? {} : { linux: { cgroup_parent: cgroup } };
    return {
      status: { id, state: sandbox.state },
      info: { info: JSON.stringify({ image: 'pause', config }) },
    };
  }

  #list(selector: Readonly<Record<string, string>>): object[] {
    return [...this.sandboxes]
      .filter(([, { labels }]) => Object.entries(selector).every(([key, value]) => labels[key] === value))
      .map(([id, { labels, state }]) => ({ id, labels, state }));
  }

  #handler(method: string) {
    return ({ request }: { request: Request }, answer?: (error: object | null, value?: object) => void) => {
      this.calls.push(method);
      this.requests.push({ method, request });
      for (const waiting of this.#heard) {
        if (waiting.method !== method) continue;
        this.#heard.delete(waiting);
        waiting.resolve();
      }
      if (answer === undefined) return; // a method that streams: nothing happens here, so nothing is told
      const script = this.scripts[method] ?? ((asked) => this.usual(method, asked));
      Promise.resolve(request)
        .then(script)
        .then(
          (value: object) => answer(null, value),
          (error: Refusal) => answer({ code: error.code ?? status.UNKNOWN, details: error.message }),
        );
    };
  }
}

function serialize({ responseSerialize }: { responseSerialize: (value: object) => Buffer }) {
  return (value: object) => ('garbage' in value ? Buffer.alloc(64, 0xff) : responseSerialize(value));
}

/** A running fake and a client of it; both end with the test. */
export async function fakeContainerd(
  context: TestContext,
  scripts: Readonly<Record<string, Script>> = {},
  answerMs?: number,
): Promise<{ readonly containerd: FakeContainerd; readonly client: CriClient }> {
  const folder = await mkdtemp(join(tmpdir(), 'cri-'));
  const containerd = new FakeContainerd(join(folder, 'containerd.sock'));
  containerd.scripts = scripts;
  await containerd.start();
  const client = new CriClient('/run/containerd/containerd.sock', containerd.socket, answerMs);
  context.after(async () => {
    client.close();
    await containerd.stop();
    await rm(folder, { recursive: true, force: true });
  });
  return { containerd, client };
}
