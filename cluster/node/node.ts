import { join } from 'node:path';
import { UsageError, waitFor } from '../../hack/run.ts';
import type { Journal } from '../../installer/journal/schema.ts';
import { generationAt, runscToml as generationToml } from '../../installer/release/generation.ts';
import { installJournal } from '../../lib/host/installation.ts';
import type { Authority } from '../control-plane/pki.ts';
import { Machine } from '../machine/machine.ts';
import { unplug } from '../machine/veth.ts';
import { GVISOR_TOOLS, type NodeSpec } from '../plan/nodes.ts';
import type { Image } from '../tools/images.ts';
import { toolVersion } from '../tools/tool-groups.ts';
import { toolsFor } from '../tools/tools.ts';
import {
  additionalFiles,
  CONTAINERD_CONFIG,
  gvisorConfig,
  gvisorTable,
  KUBELET_CONFIG,
  LOADED_CONFIG,
  PREWARMER,
  PREWARMER_SCRIPT,
  RUNSC,
  RUNSC_CONFIG,
  SENTRY,
  SHIM,
} from './config.ts';
import { endProbeShims } from './dead-shims.ts';
import { installKubelet, installRuntime } from './install.ts';
import { NamespaceSystem } from './namespace-system.ts';
import { importOptions, LOADED_IMAGES, provideStorage, STORAGE } from './storage.ts';
import type { NodeDaemon, NodeSystem } from './system.ts';
import { VmSystem } from './vm-system.ts';

export { RUNSC, SHIM };

/** It usually takes 0.1 to 0.3 s. */
const STARTED_MS = 3_000;

export type NodeGvisor = {
  /** The name that `--gvisor` takes. */
  readonly name: keyof typeof GVISOR_TOOLS;
  readonly runsc: string;
  readonly shim: string;
  /** The handler's ConfigPath. */
  readonly config: { readonly file: string; readonly text: string };
  readonly handler: string;
};

/** containerd and kubelet are at the standard paths. */
export class ClusterNode {
  readonly spec: NodeSpec;
  /** Those of qemu for a virtual machine. */
  readonly machine: Machine;
  readonly system: NodeSystem;
  /** Undefined for a node that belongs to no cluster. */
  readonly #controlPlane: Machine | undefined;

  constructor(spec: NodeSpec, dir: string, controlPlane?: Machine) {
    const isVm = spec.machine === 'vm';
    this.spec = spec;
    this.machine = new Machine(spec.name, dir, isVm ? 'parent' : 'own');
    this.system = isVm ? new VmSystem(this.machine, spec) : new NamespaceSystem(this.machine, spec);
    this.#controlPlane = controlPlane;
  }

  get name(): string {
    return this.spec.name;
  }

  /** The path on the host. Throws a UsageError for a virtual machine. */
  path(inside: string): string {
    if (this.spec.machine === 'namespaces') return this.machine.path(inside);
    throw new UsageError(
      `No path of this host leads to "${inside}" of ${this.name}, which is a virtual machine: read it with \`system.read\`.`,
    );
  }

  /** Atomic; creates the directory. */
  write(inside: string, content: string, mode = 0o644): Promise<void> {
    return this.system.write(inside, content, mode);
  }

  async remove(inside: string): Promise<void> {
    await this.system.run(['rm', '-f', inside]);
  }

  /** Returns how many processes it has killed. */
  async killWhere(match: (argv: readonly string[]) => boolean): Promise<number> {
    const pids = (await this.system.processes()).filter(({ argv }) => match(argv)).map(({ pid }) => pid);
    if (pids.length > 0) await this.system.kill('KILL', pids);
    return pids.length;
  }

  /** Starts everything but the kubelet, and imports the images. Idempotent. */
  async start(authority: Authority, images: readonly Image[]): Promise<void> {
    await this.#startSystem(images);
    // Before containerd starts, which then asks runc what it can do: read-only mounts that are recursive, for one.
    if ((await this.system.read(KUBELET_CONFIG)) === '')
      await installKubelet(this.system, this.spec, authority);
    await this.#startOnSystem(images);
  }

  /** Starts containerd, with gVisor if the node has it, and imports the images. Idempotent. */
  async startRuntime(images: readonly Image[]): Promise<void> {
    await this.#startSystem(images);
    await this.#startOnSystem(images);
  }

  async #startOnSystem(images: readonly Image[]): Promise<void> {
    if ((await this.system.read(CONTAINERD_CONFIG)) === '') {
      await this.installGvisor();
      await installRuntime(this.system, this.spec);
    }
    await this.startContainerd();
    for (const image of images) await this.load(image);
  }

  async #startSystem(images: readonly Image[]): Promise<void> {
    if (this.spec.machine === 'namespaces')
      await provideStorage(join(this.machine.dir, 'containerd'), this.spec.containerd, images);
    await this.system.start(this.#controlPlane);
  }

  /** The machine has ended. */
  async disconnect(): Promise<void> {
    if (this.#controlPlane !== undefined) await unplug(this.#controlPlane, this.spec);
  }

  /**
   * The release that the installer committed under a handler, else the node's first; undefined for a node without
   * gVisor.
   */
  async gvisor(handler = 'runsc'): Promise<NodeGvisor | undefined> {
    const journal = await this.system.read(installJournal(handler));
    const installed = journal === '' ? undefined : (JSON.parse(journal) as Journal).installed;
    if (installed === undefined) return this.#ownGvisor();
    const generation = generationAt(installed.generation);
    const { runsc, shim, config, release } = generation;
    const flags = new Map(this.spec.machine === 'vm' ? [['systemd-cgroup', 'true']] : []);
    const text = generationToml(generation, flags);
    return {
      runsc,
      shim,
      config: { file: config, text },
      handler: installed.written.text,
      name: await nameOfRelease(release),
    };
  }

  #ownGvisor(): NodeGvisor | undefined {
    const { spec } = this;
    if (spec.gvisor === 'none') return undefined;
    const config = { file: RUNSC_CONFIG, text: gvisorConfig(spec) };
    const handler = gvisorTable(spec);
    return { name: spec.gvisor, runsc: RUNSC, shim: SHIM, config, handler };
  }

  /** Each file is renamed into place, as packages do. */
  async installGvisor(): Promise<void> {
    const own = this.#ownGvisor();
    if (own === undefined) return;
    await this.installProgram(own, 'runsc');
    await this.installProgram(own, 'shim');
    if (this.spec.gvisor === '2026-09') {
      await this.write(PREWARMER, PREWARMER_SCRIPT, 0o755);
      await this.installProgram({ ...own, runsc: SENTRY }, 'runsc'); // a copy of runsc
    }
    await this.write(own.config.file, own.config.text);
    for (const handler of this.spec.additional ?? []) await this.#installAdditional(own, handler);
  }

  async #installAdditional(own: NodeGvisor, handler: string): Promise<void> {
    const { runsc, shim, config } = additionalFiles(handler);
    await this.write(config, `binary_name = "${runsc}"\n${own.config.text}`);
    await this.installProgram({ ...own, runsc }, 'runsc');
    await this.installProgram({ ...own, shim }, 'shim');
  }

  /** Running sandboxes keep the old file. */
  async installProgram(gvisor: NodeGvisor, program: 'runsc' | 'shim'): Promise<void> {
    const group = GVISOR_TOOLS[gvisor.name];
    const tools = await toolsFor(this.spec.arch, [group]);
    await this.system.install(join(tools[group], program), gvisor[program]);
  }

  /** Starts or continues it and waits for its socket. Idempotent. */
  async startContainerd(): Promise<void> {
    const state = await this.system.daemonState('containerd');
    if (state === undefined) await this.system.startDaemon('containerd');
    else await this.system.signalDaemon('containerd', 'CONT');
    // A containerd that takes longer may be waiting for the shim of a probe.
    if (this.spec.machine === 'namespaces') {
      await this.#containerdAnswers(STARTED_MS).catch(() => endProbeShims(this.machine));
    }
    await this.#containerdAnswers(20_000 * this.#slowness);
  }

  /** A virtual machine may be emulated. */
  get #slowness(): number {
    return this.spec.machine === 'vm' ? 10 : 1;
  }

  async #containerdAnswers(timeoutMs: number): Promise<void> {
    const what = `containerd on ${this.name} (see \`npm run cluster -- logs ${this.name} containerd\`)`;
    const ask = async () => {
      await this.ctr(['version'], 5_000 * this.#slowness);
      return true;
    };
    await waitFor(what, timeoutMs, ask, 30);
  }

  /** The configuration on disk. */
  async hasLoadedConfig(): Promise<boolean> {
    const [loaded, onDisk] = await Promise.all(
      [LOADED_CONFIG, CONTAINERD_CONFIG].map((file) => this.system.read(file)),
    );
    return loaded === onDisk;
  }

  /** Idempotent. */
  startKubelet(): Promise<void> {
    return this.system.startDaemon('kubelet');
  }

  async restart(daemon: NodeDaemon): Promise<void> {
    await this.system.stopDaemon(daemon);
    if (daemon === 'containerd') await this.startContainerd();
    else await this.startKubelet();
  }

  /** The namespace is Kubernetes'. */
  ctr(args: readonly string[], timeoutMs = 60_000 * this.#slowness): Promise<string> {
    return this.system.run(['ctr', '--namespace=k8s.io', ...args], { timeoutMs });
  }

  /** Does nothing if the image is there. */
  async load(image: Image): Promise<void> {
    const loaded = await this.#loadedImages();
    if (loaded.get(image.name) === image.archive) return;
    await this.ctr(['images', 'import', ...importOptions(this.spec.containerd), image.archive]);
    await this.write(join(STORAGE, LOADED_IMAGES), JSON.stringify([...loaded, [image.name, image.archive]]));
  }

  async unload(image: Image): Promise<void> {
    const loaded = await this.#loadedImages();
    loaded.delete(image.name);
    await this.write(join(STORAGE, LOADED_IMAGES), JSON.stringify([...loaded]));
    const known = (await this.ctr(['images', 'list', '--quiet'])).split('\n');
    if (known.includes(image.name)) await this.ctr(['images', 'remove', '--sync', image.name]);
  }

  async #loadedImages(): Promise<Map<string, string>> {
    const text = await this.system.read(join(STORAGE, LOADED_IMAGES));
    return new Map(text === '' ? [] : (JSON.parse(text) as [string, string][]));
  }
}

/** The release is such as "release-20260223.0". */
async function nameOfRelease(release: string): Promise<NodeGvisor['name']> {
  for (const name of Object.keys(GVISOR_TOOLS) as NodeGvisor['name'][])
    if ((await toolVersion(GVISOR_TOOLS[name])) === release) return name;
  throw new UsageError(`gVisor ${release} is none of the releases that are built here.`);
}
