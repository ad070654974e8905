import { errorLine } from '../base/sanitize.ts';
import type { CriClient } from '../containerd/client.ts';
import { ShimCalls, type ShimCallsOptions } from '../containerd/shim-calls.ts';
import type { Host } from '../host/host.ts';
import type { PodSentry } from '../pods/pod-reader.ts';
import { hasTextPages, type RunscProgram, type RunscPrograms } from '../runsc/program.ts';
import { type Bundle, Bundles } from './bundles.ts';
import { type Observation, type Owner, ownerOf } from './judge.ts';
import { ProcessScanner, type Shim } from './processes.ts';

export type SandboxScannerOptions = Pick<ShimCallsOptions, 'patienceMs'> & {
  readonly client: CriClient;
  readonly host: Host;
  /** By id of the sandbox. */
  readonly sentries: () => ReadonlyMap<string, PodSentry>;
  readonly programs: RunscPrograms;
  /** Monotonic clock, milliseconds. */
  readonly now: () => number;
  readonly wallMs: () => number;
};

export class SandboxScanner {
  readonly #options: SandboxScannerOptions;
  readonly #processes: ProcessScanner;
  readonly #bundles: Bundles;
  readonly #calls: ShimCalls;
  /** By PID and start: containerd may forget a shim's owner before the shim ends. */
  #owners = new Map<string, Owner>();

  constructor(options: SandboxScannerOptions) {
    this.#options = options;
    this.#processes = new ProcessScanner(options.host);
    this.#bundles = new Bundles(options.host, options.client.bundles);
    this.#calls = new ShimCalls(options);
  }

  /** Rejects if processes, bundles or containerd's lists cannot be read. */
  async scan(signal: AbortSignal): Promise<Observation> {
    const { client, now, wallMs } = this.#options;
    const list = (await this.#bundles.read(signal)) ?? [];
    const bundles = new Map(list.map((bundle) => [bundle.id, bundle]));
    // Before containerd's lists: a shim that ends meanwhile is in neither.
    const processes = await this.#processes.scan(bundles, signal);
    const sandboxes = byId(await client.listSandboxes('all', { signal }));
    const containers = byId(await client.listPodContainers({ signal }));
    const owners = this.#ownersOf(processes.shims, list, { sandboxes, containers });
    const responses = await this.#calls.call(
      list.flatMap(({ address }) => address ?? []),
      signal,
    );
    const { missing, unseen } = await this.#findPrograms(list);
    if (processes.shims.length === 0 && list.length > 0)
      unseen.push(
        'no shim is visible in /proc, although containerd has sandboxes: is it mounted with hidepid?',
      );
    if (list.length === 0 && [...sandboxes.values()].some(({ state }) => state === 'SANDBOX_READY'))
      unseen.push(`containerd's records of shims are not beside its socket ${client.socket}`);
    const hidden = list.filter(
      ({ address }) => address !== undefined && responses.get(address.socket)?.kind === 'unreachable',
    );
    if (hidden.length > 0)
      unseen.push(
        `${hidden.length} sockets of shims cannot be opened, whose directory containerd 1.7 closes to root without capabilities`,
      );
    const outdated = await this.#findOutdated();
    return {
      nowMs: now(),
      atMs: wallMs(),
      sandboxes,
      containers,
      processes,
      bundles,
      owners,
      responses,
      missing,
      unseen,
      outdated,
    };
  }

  close(): void {
    this.#calls.close();
  }

  #ownersOf(
    shims: readonly Shim[],
    bundles: readonly Bundle[],
    lists: Pick<Observation, 'sandboxes' | 'containers'>,
  ): ReadonlyMap<number, Owner> {
    const recorded = new Map(
      bundles.flatMap(({ shimPid, id }) => (shimPid === undefined ? [] : [[shimPid, id]])),
    );
    const owners = new Map<string, Owner>();
    const byPid = new Map<number, Owner>();
    for (const { pid, startTicks, id: own } of shims) {
      const key = `${pid} ${startTicks}`;
      const before = this.#owners.get(key);
      const id = own ?? recorded.get(pid) ?? before?.id;
      const owner = id === undefined ? {} : ownerOf(lists, id);
      const known = owner.sandbox === undefined ? { ...before, id } : owner;
      owners.set(key, known);
      byPid.set(pid, known);
    }
    this.#owners = owners;
    return byPid;
  }

  async #findPrograms(bundles: readonly Bundle[]) {
    const missing = new Set<string>();
    const unseen: string[] = [];
    for (const program of new Set(bundles.flatMap(({ program }) => program ?? []))) {
      try {
        if ((await this.#options.host.stat(program)) === undefined) missing.add(program);
      } catch (error) {
        unseen.push(errorLine(error));
      }
    }
    return { missing, unseen };
  }

  /** Their sentry is none of the programs that their settings name now. A wrapper script is no evidence. */
  async #findOutdated(): Promise<ReadonlySet<string>> {
    const { host, programs: files, sentries } = this.#options;
    const outdated = new Set<string>();
    const programs = new Map<string, Promise<readonly RunscProgram[]>>();
    for (const [id, { textPages, configPath }] of sentries()) {
      const found = programs.get(configPath) ?? files.named(host, configPath).catch(() => []);
      programs.set(configPath, found);
      const known = await found;
      const runs = (program: RunscProgram) => hasTextPages(program, textPages);
      if (known.length > 0 && known.every(({ textBytes }) => textBytes.size > 0) && !known.some(runs))
        outdated.add(id);
    }
    return outdated;
  }
}

function byId<Item extends { readonly id: string }>(items: readonly Item[]): ReadonlyMap<string, Item> {
  return new Map(items.map((item) => [item.id, item]));
}
