import { existsSync } from 'node:fs';
import { chmod, copyFile, mkdir, readFile, rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Image } from '../images.ts';
import { isCopy, replaceFile } from '../replace-file.ts';
import { waitFor } from '../run.ts';
import { ensureTools } from '../tools.ts';
import { endDeadShims, endProbeShims } from './dead-shims.ts';
import { installNode } from './install-node.ts';
import { MACHINE_PATH, Machine } from './machine.ts';
import { plugIn, unplug } from './node-cable.ts';
import {
  CONTAINERD_CONFIG,
  KUBELET_CONFIG,
  kubeletCommand,
  type NodeSpec,
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

/** Measured: 0.1 to 0.3 s. */
const STARTED_MS = 3_000;

const LOADED_IMAGES = '/var/lib/containerd/loaded-images.json';

/** One node: a machine with containerd and a kubelet at the standard paths. */
export class ClusterNode {
  readonly spec: NodeSpec;
  readonly machine: Machine;
  readonly #hub: Machine;

  constructor(spec: NodeSpec, dir: string, hub: Machine) {
    this.spec = spec;
    this.machine = new Machine(spec.name, dir);
    this.#hub = hub;
  }

  get name(): string {
    return this.spec.name;
  }

  /** The host's path of a file of the node. */
  path(inside: string): string {
    return this.machine.path(inside);
  }

  /** Writes a file of the node, with its folders; who reads it sees the old content or the new. */
  async write(inside: string, content: string, mode = 0o644): Promise<void> {
    await mkdir(dirname(this.path(inside)), { recursive: true });
    await replaceFile(this.path(inside), content, mode);
  }

  /** Starts the machine with its network and containerd; the kubelet waits for {@link startKubelet}. Harmless when they run. */
  async start(authority: Authority): Promise<void> {
    await this.machine.start(this.#hub);
    await plugIn(this.#hub, this.machine, this.spec);
    if (!existsSync(this.path(KUBELET_CONFIG))) await installNode(this, authority);
    await this.startContainerd();
  }

  /** Takes the node off the cluster's network; for a node whose machine has ended. */
  async disconnect(): Promise<void> {
    await unplug(this.#hub, this.spec);
  }

  /** Installs runsc, its shim and its configuration of the node's generation, as a package would: each file at once. */
  async installGvisor(): Promise<void> {
    await this.installProgram(RUNSC);
    await this.installProgram(SHIM);
    await this.write(RUNSC_CONFIG, RUNSC_TOML);
  }

  /** Puts runsc or its shim in place, unless the very same file is there; running sandboxes keep the old one. */
  async installProgram(inside: typeof RUNSC | typeof SHIM): Promise<void> {
    const group = this.spec.gvisor === '2025' ? 'gvisor-2025' : 'gvisor';
    const tools = await ensureTools([group]);
    const source = join(tools[group], inside === SHIM ? 'shim' : 'runsc');
    const target = this.path(inside);
    if (await isCopy(source, target)) return;
    await copyFile(source, `${target}.new`);
    await chmod(`${target}.new`, 0o755);
    await rename(`${target}.new`, target);
  }

  /** Starts containerd, or lets it go on, and waits until its socket answers; harmless when it does. */
  async startContainerd(): Promise<void> {
    if (this.machine.daemonPid('containerd') === undefined) {
      await endDeadShims(this.machine, SHIM);
      await copyFile(this.path(CONTAINERD_CONFIG), this.#loadedConfig).catch(() => {});
      await this.machine.daemon('containerd', ['containerd'], { PATH: MACHINE_PATH });
    } else {
      await this.machine.signal('containerd', 'CONT');
    }
    // One that takes longer may wait for the shim of a probe.
    await this.#containerdAnswers(STARTED_MS).catch(() => endProbeShims(this.machine, SHIM));
    await this.#containerdAnswers(20_000);
  }

  async #containerdAnswers(timeoutMs: number): Promise<void> {
    const what = `containerd on ${this.name} (see ${this.machine.dir}/containerd.log)`;
    const ask = async () => {
      await this.ctr(['version'], 5_000);
      return true;
    };
    await waitFor(what, timeoutMs, ask, 30);
  }

  get #loadedConfig(): string {
    return join(this.machine.dir, 'containerd-loaded.toml');
  }

  /** Whether the configuration on disk is what containerd had before it when it started. */
  async hasLoadedConfig(): Promise<boolean> {
    const [loaded, onDisk] = await Promise.all(
      [this.#loadedConfig, this.path(CONTAINERD_CONFIG)].map((file) =>
        readFile(file, 'utf8').catch(() => ''),
      ),
    );
    return loaded === onDisk;
  }

  /** Starts the kubelet; harmless when it runs. */
  async startKubelet(): Promise<void> {
    if (this.machine.daemonPid('kubelet') !== undefined) return;
    await this.machine.daemon('kubelet', kubeletCommand(this.spec), { PATH: MACHINE_PATH });
  }

  /** Ends a daemon and starts it again. */
  async restart(daemon: NodeDaemon): Promise<void> {
    await this.machine.stopDaemon(daemon);
    if (daemon === 'containerd') await this.startContainerd();
    else await this.startKubelet();
  }

  /** Runs containerd's own client in the namespace of Kubernetes. */
  ctr(args: readonly string[], timeoutMs = 60_000): Promise<string> {
    return this.machine.run(['ctr', '--namespace=k8s.io', ...args], { timeoutMs });
  }

  /** Loads an image's archive into containerd; harmless when it is there. */
  async load(image: Image): Promise<void> {
    const loaded = await this.#loadedImages();
    if (loaded.get(image.name) === image.archive) return;
    // ctr of 2 imports through its own transfer service, which 1.7 has half made and 1.6 has not.
    const local = this.spec.containerd === '1.7' ? ['--local'] : [];
    await this.ctr(['images', 'import', ...local, image.archive]);
    await this.write(LOADED_IMAGES, JSON.stringify([...loaded, [image.name, image.archive]]));
  }

  /** Removes an image from containerd, so that the next pod that needs it finds it nowhere. */
  async unload(image: Image): Promise<void> {
    const loaded = await this.#loadedImages();
    loaded.delete(image.name);
    await this.write(LOADED_IMAGES, JSON.stringify([...loaded]));
    const known = (await this.ctr(['images', 'list', '--quiet'])).split('\n');
    if (known.includes(image.name)) await this.ctr(['images', 'remove', '--sync', image.name]);
  }

  /** The archive that each image's name was last loaded from. */
  async #loadedImages(): Promise<Map<string, string>> {
    const text = await readFile(this.path(LOADED_IMAGES), 'utf8').catch(() => '[]');
    return new Map(JSON.parse(text) as [string, string][]);
  }
}
