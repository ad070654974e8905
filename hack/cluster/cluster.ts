import { fork } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { mkdir, readFile, rm, rmdir, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { ensureImage, type ImageId } from '../images.ts';
import { CLUSTERS, REPO } from '../paths.ts';
import { UsageError, waitFor } from '../run.ts';
import { ensureTools } from '../tools.ts';
import { cgroupOf, removeCgroup } from './cgroups.ts';
import {
  CONTROL_PLANE,
  type ControlPlaneTools,
  HUB_ADDRESS,
  kubeconfig,
  kubectlWith,
  setUpNetwork,
  startControlPlane,
  writeCredentials,
} from './control-plane.ts';
import { endProcesses, Machine } from './machine.ts';
import { ClusterNode } from './node.ts';
import type { NodeSpec } from './node-config.ts';
import { type Authority, openAuthority } from './pki.ts';

/** What may be asked of a node; the rest has defaults. */
export type NodeRequest = Partial<Omit<NodeSpec, 'index'>>;

/** Three nodes, the third without gVisor. */
export const DEFAULT_NODES: readonly NodeRequest[] = [
  { name: 'node-1' },
  { name: 'node-2', containerd: '1.7', gvisor: '2025' },
  { name: 'node-3', gvisor: 'none' },
];

/** What a cluster is started with. */
export type ClusterOptions = {
  readonly name?: string;
  readonly nodes?: readonly NodeRequest[];
  /** The port on the host's loopback for the API server; a free one unless told. */
  readonly port?: number;
  readonly images?: readonly ImageId[];
};

/** A running cluster. */
export class Cluster {
  readonly name: string;
  readonly dir: string;
  readonly hub: Machine;
  readonly #authority: Authority;
  readonly #tools: ControlPlaneTools;

  private constructor(name: string, tools: ControlPlaneTools, authority: Authority) {
    this.name = name;
    this.dir = join(CLUSTERS, name);
    this.hub = new Machine('control-plane', join(this.dir, 'hub'));
    this.#tools = tools;
    this.#authority = authority;
  }

  /** A handle on a cluster that exists, or that is about to. */
  static async open(name: string): Promise<Cluster> {
    const pki = join(CLUSTERS, name, 'pki');
    await mkdir(pki, { recursive: true });
    return new Cluster(name, await ensureTools(['kubernetes', 'etcd']), await openAuthority(pki));
  }

  /** The file that kubectl and client libraries read to reach this cluster from the host. */
  get kubeconfig(): string {
    return join(this.dir, 'kubeconfig');
  }

  /** Runs kubectl against this cluster and gives its standard output. */
  kubectl(args: readonly string[], input?: string, timeoutMs?: number): Promise<string> {
    return kubectlWith(this.#tools, this.kubeconfig)(args, input, timeoutMs);
  }

  /** The nodes, in the order of their index, running or not. */
  nodes(): ClusterNode[] {
    return nodeSpecs(this.dir).map((spec) => this.#node(spec));
  }

  /** One node by name. */
  node(name: string): ClusterNode {
    const found = this.nodes().find((node) => node.name === name);
    if (found !== undefined) return found;
    const names = nodeSpecs(this.dir).map((spec) => spec.name);
    throw new UsageError(
      `No node "${name}" in the cluster "${this.name}": it has ${names.join(', ') || 'none'}.`,
    );
  }

  #node(spec: NodeSpec): ClusterNode {
    return new ClusterNode(spec, join(this.dir, 'nodes', spec.name), this.hub, this.name);
  }

  /** Starts the control plane and waits until the API server is ready. */
  async startControlPlane(port: number | undefined): Promise<void> {
    await this.hub.start();
    await setUpNetwork(this.hub);
    await writeCredentials(this.hub, this.#authority);
    for (const name of CONTROL_PLANE) startControlPlane(this.hub, name, this.#tools);
    await this.#startRelay(port);
    await waitFor(`the API server (see ${this.hub.dir}/kube-apiserver.log)`, 60_000, async () => {
      await this.kubectl(['get', '--raw', '/readyz'], undefined, 5_000);
      return true;
    });
  }

  /** Starts one daemon of the control plane again; harmless when it runs. */
  startDaemon(name: (typeof CONTROL_PLANE)[number]): void {
    startControlPlane(this.hub, name, this.#tools);
  }

  async #startRelay(port: number | undefined): Promise<void> {
    if (this.hub.daemonPid('relay') !== undefined) return;
    const known = existsSync(this.kubeconfig)
      ? Number(/127\.0\.0\.1:(\d+)/.exec(await readFile(this.kubeconfig, 'utf8'))?.[1])
      : undefined;
    const server = createServer();
    server.listen(port ?? known ?? 0, '127.0.0.1');
    await once(server, 'listening').catch((cause) => {
      throw new UsageError(
        `Port ${port ?? known} of 127.0.0.1 is taken (${cause.code}): choose another with --port.`,
      );
    });
    const bound = server.address();
    if (bound === null || typeof bound === 'string') throw new Error('No port for the API server');
    const script = 'echo $$ >/run/daemons/relay; exec "$@"';
    const node = [process.execPath, join(REPO, 'hack/cluster/relay.ts'), HUB_ADDRESS, '443'];
    const [first = '', ...rest] = this.hub.enter('/bin/sh', '-c', script, 'relay', ...node);
    const child = fork(first, rest, {
      execPath: 'nsenter',
      execArgv: [],
      detached: true,
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
      serialization: 'json',
    });
    child.send('listen', server);
    await Promise.race([
      once(child, 'message'),
      once(child, 'exit').then(() => Promise.reject(new Error('The relay to the API server did not start'))),
    ]);
    child.unref();
    if (child.connected) child.disconnect();
    server.close();
    const config = await kubeconfig(this.#authority, `https://127.0.0.1:${bound.port}`, 'admin', [
      'system:masters',
    ]);
    await writeFile(this.kubeconfig, config, { mode: 0o600 });
  }

  /** Adds a node, starts its containerd and kubelet, and loads images. Harmless when it is there. */
  async addNode(request: NodeRequest, images: readonly ImageId[] = []): Promise<ClusterNode> {
    const node = this.#node(this.#allot(request));
    await node.start(this.#authority);
    await node.load(await ensureImage('pause'));
    node.startKubelet();
    for (const id of images) await node.load(await ensureImage(id));
    return node;
  }

  /** Gives a node its place in the address plan; synchronous, so that nodes added together do not collide. */
  #allot(request: NodeRequest): NodeSpec {
    const specs = nodeSpecs(this.dir);
    const free = Array.from({ length: 200 }, (_, at) => at + 1).filter(
      (at) => !specs.some((spec) => spec.index === at),
    );
    const [index] = free;
    if (index === undefined) throw new UsageError(`The cluster "${this.name}" is full: it has 200 nodes.`);
    const name = request.name ?? `node-${index}`;
    const known = specs.find((spec) => spec.name === name);
    if (known !== undefined) return known;
    const spec: NodeSpec = {
      name,
      index,
      containerd: request.containerd ?? '2',
      gvisor: request.gvisor ?? 'current',
    };
    const folder = join(this.dir, 'nodes', name);
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'node.json.new'), JSON.stringify(spec));
    renameSync(join(folder, 'node.json.new'), join(folder, 'node.json'));
    return spec;
  }

  /** Takes a node out of the cluster and off the machine. */
  async removeNode(name: string): Promise<void> {
    const node = this.node(name);
    await this.kubectl(['delete', 'node', name, '--ignore-not-found']);
    await node.machine.stop();
    await removeCgroup(cgroupOf(this.name, name));
    await rm(node.machine.dir, { recursive: true, force: true });
  }

  /** Waits until the named nodes (all unless told) are Ready. */
  async waitForNodes(names = this.nodes().map((node) => node.name), timeoutMs = 60_000): Promise<void> {
    await waitFor(
      `the nodes ${names.join(', ')} to be Ready`,
      timeoutMs,
      async () => {
        const path =
          '{range .items[*]}{.metadata.name}={.status.conditions[?(@.type=="Ready")].status}{"\\n"}{end}';
        const seen = (await this.kubectl(['get', 'nodes', '-o', `jsonpath=${path}`])).split('\n');
        return names.every((name) => seen.includes(`${name}=True`)) ? true : undefined;
      },
      200,
    );
  }

  /** Ends the cluster and removes all that it left on the machine. */
  async down(): Promise<void> {
    await removeCluster(this.name);
  }
}

function nodeSpecs(dir: string): NodeSpec[] {
  const folder = join(dir, 'nodes');
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .map((name) => join(folder, name, 'node.json'))
    .filter((file) => existsSync(file))
    .map((file) => JSON.parse(readFileSync(file, 'utf8')) as NodeSpec)
    .sort((a, b) => a.index - b.index);
}

/** The names of the clusters that this machine holds, running or not. */
export function clusterNames(): string[] {
  return existsSync(CLUSTERS) ? readdirSync(CLUSTERS) : [];
}

/** Starts a cluster, or what is missing of it, and waits until its nodes are Ready. */
export async function startCluster(options: ClusterOptions = {}): Promise<Cluster> {
  const { name = 'dev', nodes = DEFAULT_NODES, port, images = ['workload'] } = options;
  const release = await lock(name);
  try {
    const cluster = await Cluster.open(name);
    const known = cluster.nodes().map((node) => node.spec);
    const wanted = known.length > 0 ? known : nodes;
    for (const id of images) await ensureImage(id);
    await ensureTools(['kubernetes', 'cni', 'runc', ...new Set(wanted.flatMap(toolsOf))]);
    await cluster.startControlPlane(port);
    await Promise.all(wanted.map((request) => cluster.addNode(request, images)));
    await cluster.waitForNodes();
    await waitFor('the default service account, without which no pod is admitted', 30_000, async () => {
      await cluster.kubectl(['get', 'serviceaccount', 'default']);
      return true;
    });
    return cluster;
  } finally {
    release();
  }
}

function toolsOf({ containerd = '2', gvisor = 'current' }: NodeRequest) {
  const runtime = containerd === '2' ? 'containerd' : 'containerd-1.7';
  if (gvisor === 'none') return [runtime] as const;
  return [runtime, gvisor === '2025' ? 'gvisor-2025' : 'gvisor'] as const;
}

/** Ends a cluster that may be half started, and removes its processes, cgroups and files. Harmless when there is none. */
export async function removeCluster(name: string): Promise<void> {
  const release = await lock(name);
  try {
    const dir = join(CLUSTERS, name);
    await endProcesses(dir);
    await removeCgroup(cgroupOf(name));
    await rm(dir, { recursive: true, force: true });
    for (const parent of [CLUSTERS, dirname(CLUSTERS)]) await rmdir(parent).catch(() => {}); // others may live there
  } finally {
    release();
  }
}

/** Keeps a second command off a cluster; the kernel gives the name back when this process ends, however it ends. */
async function lock(name: string): Promise<() => void> {
  const server = createServer();
  server.listen(`\0gvisor-ready-cluster-${name}`);
  await once(server, 'listening').catch((cause) => {
    throw new UsageError(
      `Another command is working on the cluster "${name}"; wait for it to end, or name another with --name.`,
      { cause },
    );
  });
  server.unref();
  return () => server.close();
}
