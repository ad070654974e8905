import { copyFileSync, existsSync } from 'node:fs';
import { appendFile, chmod, mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Image } from '../images.ts';
import { run, waitFor } from '../run.ts';
import { ensureTools } from '../tools.ts';
import { cgroupOf, createCgroup } from './cgroups.ts';
import { HUB_ADDRESS, kubeconfig } from './control-plane.ts';
import { MACHINE_PATH, Machine } from './machine.ts';
import {
  addressOf,
  CONTAINERD_CONFIG,
  cniConfig,
  containerdConfig,
  kubeletConfig,
  type NodeSpec,
  podCidrOf,
  RUNSC_CONFIG,
  RUNSC_TOML,
} from './node-config.ts';
import type { Authority } from './pki.ts';

/** A daemon of a node that can be restarted. */
export type NodeDaemon = 'containerd' | 'kubelet';

/** Where the node's gVisor programs are. */
export const SHIM = '/usr/local/bin/containerd-shim-runsc-v1';
/** See {@link SHIM}. */
export const RUNSC = '/usr/local/bin/runsc';

/** One node: a machine with containerd and a kubelet at the standard paths. */
export class ClusterNode {
  readonly spec: NodeSpec;
  readonly machine: Machine;
  readonly #hub: Machine;
  readonly #cluster: string;

  constructor(spec: NodeSpec, dir: string, hub: Machine, cluster: string) {
    this.spec = spec;
    this.machine = new Machine(spec.name, dir);
    this.#hub = hub;
    this.#cluster = cluster;
  }

  get name(): string {
    return this.spec.name;
  }

  /** The host's path of a file of the node. */
  path(inside: string): string {
    return this.machine.path(inside);
  }

  /** Writes a file of the node, with its folders. */
  async write(inside: string, content: string, mode = 0o644): Promise<void> {
    await mkdir(dirname(this.path(inside)), { recursive: true });
    await writeFile(this.path(inside), content, { mode });
    await chmod(this.path(inside), mode);
  }

  /** Starts the machine with its network and containerd; the kubelet waits for {@link startKubelet}. Harmless when they run. */
  async start(authority: Authority): Promise<void> {
    await this.machine.start(this.#hub);
    await this.#connect();
    if (!existsSync(this.path('/etc/kubernetes/kubelet.json'))) await this.#install(authority);
    await createCgroup(cgroupOf(this.#cluster, this.name));
    await this.startContainerd();
  }

  /** A cable from the machine to the control plane's bridge, and the routes to the node's pods and out. */
  async #connect(): Promise<void> {
    const port = `node${this.spec.index}`;
    const ip = (...args: string[]) =>
      run('nsenter', [`--target=${this.#hub.pid()}`, '--net', '--', 'ip', ...args]);
    const own = (...args: string[]) => this.machine.run(['ip', ...args]);
    if (!(await own('-br', 'link')).includes('eth0')) {
      const peer = ['peer', 'name', 'eth0', 'netns', String(this.machine.pid())];
      await ip('link', 'add', port, 'type', 'veth', ...peer);
    }
    await ip('link', 'set', port, 'master', 'br0', 'up');
    await own('addr', 'replace', `${addressOf(this.spec)}/24`, 'dev', 'eth0');
    await own('link', 'set', 'eth0', 'up');
    await own('route', 'replace', 'default', 'via', HUB_ADDRESS);
    await ip('route', 'replace', podCidrOf(this.spec), 'via', addressOf(this.spec));
  }

  async #install(authority: Authority): Promise<void> {
    const group = this.spec.containerd === '2' ? 'containerd' : 'containerd-1.7';
    const tools = await ensureTools(['kubernetes', 'cni', 'runc', group]);
    const link = (target: string, inside: string) => symlink(target, this.path(inside));
    for (const program of ['containerd', 'ctr', 'containerd-shim-runc-v2']) {
      await link(join(tools[group], program), `/usr/local/bin/${program}`);
    }
    await link(join(tools.runc, 'runc'), '/usr/local/bin/runc');
    await link(join(tools.kubernetes, 'kubelet'), '/usr/local/bin/kubelet');
    await mkdir(this.path('/opt/cni'), { recursive: true });
    await link(tools.cni, '/opt/cni/bin');
    if (this.spec.gvisor !== 'none') await this.installGvisor();
    await this.write('/etc/cni/net.d/10-cluster.conflist', cniConfig(this.spec));
    await this.write(CONTAINERD_CONFIG, containerdConfig(this.spec));
    await this.write('/etc/kubernetes/pki/ca.crt', authority.cert);
    const server = `https://${HUB_ADDRESS}`;
    const config = await kubeconfig(authority, server, `system:node:${this.name}`, ['system:nodes']);
    await this.write('/etc/kubernetes/kubelet.kubeconfig', config, 0o600);
    await this.write(
      '/etc/kubernetes/kubelet.json',
      kubeletConfig(this.spec, cgroupOf(this.#cluster, this.name)),
    );
  }

  /** Installs runsc, its shim and its configuration of the node's generation, as a package would. */
  async installGvisor(): Promise<void> {
    const group = this.spec.gvisor === '2025' ? 'gvisor-2025' : 'gvisor';
    const tools = await ensureTools([group]);
    for (const [from, to] of [
      ['runsc', RUNSC],
      ['shim', SHIM],
    ] as const) {
      copyFileSync(join(tools[group], from), this.path(to));
      await chmod(this.path(to), 0o755);
    }
    await this.write(RUNSC_CONFIG, RUNSC_TOML);
  }

  /** Starts containerd and waits until its socket answers; harmless when it runs. */
  async startContainerd(): Promise<void> {
    if (this.machine.daemonPid('containerd') === undefined) {
      this.machine.daemon('containerd', ['containerd'], { PATH: MACHINE_PATH });
    }
    await waitFor(
      `containerd on ${this.name} (see ${this.machine.dir}/containerd.log)`,
      20_000,
      async () => {
        await this.ctr(['version']);
        return true;
      },
      30,
    );
  }

  /** Starts the kubelet; harmless when it runs. */
  startKubelet(): void {
    if (this.machine.daemonPid('kubelet') !== undefined) return;
    this.machine.daemon(
      'kubelet',
      [
        'kubelet',
        '--config=/etc/kubernetes/kubelet.json',
        '--kubeconfig=/etc/kubernetes/kubelet.kubeconfig',
        `--hostname-override=${this.name}`,
        `--node-ip=${addressOf(this.spec)}`,
      ],
      { PATH: MACHINE_PATH },
    );
  }

  /** Ends a daemon and starts it again. */
  async restart(daemon: NodeDaemon): Promise<void> {
    await this.machine.stopDaemon(daemon);
    if (daemon === 'containerd') await this.startContainerd();
    else this.startKubelet();
  }

  /** Runs containerd's own client in the namespace of Kubernetes. */
  ctr(args: readonly string[], timeoutMs = 60_000): Promise<string> {
    return this.machine.run(['ctr', '--namespace=k8s.io', ...args], { timeoutMs });
  }

  /** Loads an image's archive into containerd; harmless when it is there. */
  async load(image: Image): Promise<void> {
    const seen = this.path('/var/lib/containerd/loaded-images');
    const loaded = existsSync(seen) ? await readFile(seen, 'utf8') : '';
    if (loaded.split('\n').includes(image.archive)) return;
    const local = this.spec.containerd === '2' ? [] : ['--local'];
    await this.ctr(['images', 'import', ...local, image.archive]);
    await appendFile(seen, `${image.archive}\n`);
  }
}
