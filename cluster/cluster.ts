import { existsSync, readFileSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { V1NodeList } from '@kubernetes/client-node';
import { Agent, request } from 'undici';
import { run, UsageError, waitFor } from '../hack/run.ts';
import { replaceFile } from '../hack/unfinished.ts';
import {
  type ControlPlaneDaemon,
  type ControlPlaneTools,
  controlPlaneOf,
  kubeconfig,
  setUpNetwork,
  startDaemon,
  writeCredentials,
} from './control-plane/control-plane.ts';
import { type Authority, openAuthority } from './control-plane/pki.ts';
import { listenOnLoopback, startRelay } from './control-plane/start-relay.ts';
import { cgroupPath, removeCgroup } from './machine/cgroups.ts';
import { explainNodes } from './machine/host-checks.ts';
import type { Machine } from './machine/machine.ts';
import { ClusterNode } from './node/node.ts';
import { CLUSTERS, requireName } from './plan/clusters.ts';
import type { NodeSpec } from './plan/nodes.ts';
import { allotNodes, type NodeRequest, readNodes } from './plan/nodes.ts';
import { ensureImage, type Image } from './tools/images.ts';
import { ensureTools } from './tools/tools.ts';

/** kubectl's, for its harness alone. */
const PREFERENCES = join(import.meta.dirname, 'kuberc.yaml');

const REQUEST_TIMEOUT_MS = 20_000;

export type GetResponse = { readonly code: number; readonly text: string };

export class Cluster {
  readonly name: string;
  readonly dir: string;
  readonly controlPlane: Machine;
  readonly #authority: Authority;
  readonly #tools: ControlPlaneTools;
  #agent: Promise<Agent> | undefined;

  private constructor(name: string, tools: ControlPlaneTools, authority: Authority) {
    this.name = name;
    this.dir = join(CLUSTERS, name);
    this.controlPlane = controlPlaneOf(this.dir);
    this.#tools = tools;
    this.#authority = authority;
  }

  /** The cluster need not exist yet. */
  static async open(name: string): Promise<Cluster> {
    requireName(name);
    const tools = await ensureTools(['kubernetes', 'etcd']);
    const pki = join(CLUSTERS, name, 'pki');
    await mkdir(pki, { recursive: true });
    return new Cluster(name, tools, await openAuthority(pki));
  }

  get kubeconfig(): string {
    return join(this.dir, 'kubeconfig');
  }

  /** Asks as the admin. kubectl takes a tenth of a second of CPU to start, too much for polling. */
  async request(path: string): Promise<GetResponse> {
    const { port } = this;
    if (port === undefined) throw new Error(`The cluster "${this.name}" has no API server yet`);
    this.#agent ??= this.#connect();
    const { statusCode, body } = await request(`https://127.0.0.1:${port}${path}`, {
      dispatcher: await this.#agent,
      signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
    });
    return { code: statusCode, text: await body.text() };
  }

  async #connect(): Promise<Agent> {
    const { cert, key } = await this.#authority.issue('admin', ['system:masters']);
    return new Agent({ connect: { ca: this.#authority.cert, cert, key } });
  }

  /** Rejects if the status is an error. */
  async get(path: string): Promise<string> {
    const { code, text } = await this.request(path);
    if (code < 300) return text;
    throw new Error(`The API server answers ${code} to GET ${path}: ${text.slice(0, 400)}`);
  }

  /** Resolves with standard output. */
  kubectl(args: readonly string[], input?: string, timeoutMs?: number): Promise<string> {
    const { command, args: words } = this.kubectlCommand(args);
    return run(command, words, { input, timeoutMs });
  }

  /** Uses `kuberc.yaml`, for callers that read kubectl's output as it comes. */
  kubectlCommand(args: readonly string[]): { readonly command: string; readonly args: readonly string[] } {
    const command = join(this.#tools.kubernetes, 'kubectl');
    return { command, args: ['--kubeconfig', this.kubeconfig, '--kuberc', PREFERENCES, ...args] };
  }

  /** Running or not, by index. */
  nodes(): ClusterNode[] {
    return readNodes(this.dir).map((spec) => this.#node(spec));
  }

  /** Throws a UsageError if there is no such node. */
  node(name: string): ClusterNode {
    const found = this.nodes().find((node) => node.name === name);
    if (found !== undefined) return found;
    const names = readNodes(this.dir).map((spec) => spec.name);
    throw new UsageError(
      `There is no node "${name}" in the cluster "${this.name}". There is: ${names.join(', ') || 'none'}.`,
    );
  }

  #node(spec: NodeSpec): ClusterNode {
    return new ClusterNode(spec, join(this.dir, 'nodes', spec.name), this.controlPlane);
  }

  /** Idempotent. */
  async startControlPlane(): Promise<void> {
    await this.startApiServer();
    await this.#startDaemon('kube-controller-manager'); // exits after 10 s without an API server
    await this.#startDaemon('kube-scheduler');
  }

  /** Idempotent. */
  async startApiServer(): Promise<void> {
    await this.controlPlane.start();
    await setUpNetwork(this.controlPlane);
    await writeCredentials(this.controlPlane, this.#authority);
    await this.#startRelay();
    await waitFor(`the API server (see ${this.controlPlane.dir}/kube-apiserver.log)`, 120_000, async () => {
      await this.#startDaemon('etcd');
      await this.#startDaemon('kube-apiserver'); // retried: exits after 20 s without etcd
      await this.get('/readyz');
      return true;
    });
  }

  async #startDaemon(name: ControlPlaneDaemon): Promise<void> {
    await startDaemon(this.controlPlane, name, this.#tools);
  }

  async #startRelay(): Promise<void> {
    if (this.controlPlane.daemonPid('relay') !== undefined) return;
    const { server, port } = await listenOnLoopback(this.port);
    const url = `https://127.0.0.1:${port}`;
    const config = await kubeconfig(this.#authority, url, 'admin', ['system:masters']);
    await replaceFile(this.kubeconfig, config, 0o600);
    await startRelay(this.controlPlane, server);
  }

  /** A port of loopback; undefined before the first start. */
  get port(): number | undefined {
    if (!existsSync(this.kubeconfig)) return undefined;
    return Number(/127\.0\.0\.1:(\d+)/.exec(readFileSync(this.kubeconfig, 'utf8'))?.[1]);
  }

  /** Idempotent. */
  async addNode(request: NodeRequest, images: readonly Image[] = []): Promise<ClusterNode> {
    const [spec] = allotNodes(this.dir, [request]);
    if (spec === undefined) throw new Error('No place for the node');
    const node = this.#node(spec);
    const all = [await ensureImage('pause', spec.arch), ...images];
    await node.start(this.#authority, all).catch((error) => explainNodes(error));
    await node.startKubelet();
    return node;
  }

  async removeNode(name: string): Promise<void> {
    const node = this.node(name);
    await node.machine.stop();
    await node.disconnect();
    await removeCgroup(cgroupPath(node.machine.dir));
    await this.kubectl(['delete', 'node', name, '--ignore-not-found']);
    await rm(node.machine.dir, { recursive: true, force: true });
  }

  /** Waits for all by default. */
  async waitForNodes(names = this.nodes().map((node) => node.name), timeoutMs?: number): Promise<void> {
    const usual = names.some((name) => this.node(name).spec.machine === 'vm') ? 300_000 : 60_000;
    await waitFor(`the nodes ${names.join(', ')} to be Ready`, timeoutMs ?? usual, async () => {
      const { items } = JSON.parse(await this.get('/api/v1/nodes')) as V1NodeList;
      const ready = items.filter(({ status }) =>
        status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True'),
      );
      const seen = ready.map(({ metadata }) => metadata?.name);
      return names.every((name) => seen.includes(name)) || undefined;
    }).catch((error) => explainNodes(error));
  }

  /** Restarts the controller manager, which creates the service account, if it has exited meanwhile. */
  async waitForServiceAccount(): Promise<void> {
    const { dir } = this.controlPlane;
    const what = `the default service account, without which no pod is admitted (see ${dir}/kube-controller-manager.log)`;
    await waitFor(what, 30_000, async () => {
      await this.#startDaemon('kube-controller-manager');
      await this.get('/api/v1/namespaces/default/serviceaccounts/default');
      return true;
    });
  }
}
