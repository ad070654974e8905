import type { Logger } from 'pino';
import { repeat } from '../../lib/base/async.ts';
import type { CriClient } from '../../lib/containerd/client.ts';
import type { Host } from '../../lib/host/host.ts';
import {
  MAX_READ_INTERVAL_MS,
  mustBeInGvisor,
  type ObservedPods,
  type Pod,
  type PodsReport,
  type ProbeFlags,
  podsReport,
  weakenedPods,
} from '../../lib/pods/pod.ts';
import { PodReader, type PodSentry, type SeenSandbox } from '../../lib/pods/pod-reader.ts';
import { FailedStarts, type FailedStartsOptions } from './failed-starts.ts';
import type { RequiredNamespaces } from './namespaces.ts';

/**
 * containerd's events would be faster, but it starts and stops no pods while a subscriber does not read them. Source:
 * https://github.com/containerd/containerd/blob/v2.4.2/internal/eventq/eventq.go
 */
const READ_MS = 3_000;
/** A sandbox is listed as ready, or no longer, some time after its bundle was created or removed. */
const SETTLED_MS = 10_000;

export type PodMonitorOptions = {
  readonly client: CriClient;
  readonly host: Host;
  readonly namespaces: Pick<RequiredNamespaces, 'known' | 'names'>;
  /** Those that are proven here: a pod that asks for one requires gVisor. */
  readonly handlers?: readonly string[];
  /** Must not throw. */
  readonly onRead?: (observed: ObservedPods, required: ReadonlySet<string>) => void;
  /** A pod could not start; without inotify watches also if a task began or ended and the list of pods is the same. */
  readonly onFailedStart?: (() => void) | undefined;
  readonly isProbe?: FailedStartsOptions['isProbe'];
  /** Pods of these handlers run outside gVisor, and did not at the last read. */
  readonly onOutside?: ((handlers: ReadonlySet<string>) => void) | undefined;
  readonly probes?: () => readonly ProbeFlags[];
  readonly log: Logger;
  readonly everyMs?: number;
  readonly settledMs?: number;
};

/** Complete until this fingerprint changes. */
type SettledPods = {
  readonly pods: readonly Pod[];
  readonly fingerprint: string;
  readonly readMs: number;
};

export class PodMonitor {
  readonly #options: PodMonitorOptions;
  readonly #reader: PodReader;
  readonly #starts: FailedStarts;
  #last: ObservedPods | undefined;
  #settled: SettledPods | undefined;
  #before: { readonly fingerprint: string; readonly uids: string } | undefined;

  constructor(options: PodMonitorOptions) {
    this.#options = options;
    this.#reader = new PodReader(options.client, options.host);
    this.#starts = new FailedStarts(options);
  }

  async run(signal: AbortSignal): Promise<void> {
    const { everyMs = READ_MS, log } = this.#options;
    const onProblem = (line: string) => log.warn(`cannot read the pods of this node: ${line}`);
    const options = { everyMs, maxRestMs: MAX_READ_INTERVAL_MS, signal, onProblem };
    await repeat(async () => this.#publish(await this.#read(signal)), options);
    this.#starts.close();
  }

  async readOnce(signal: AbortSignal): Promise<PodsReport | undefined> {
    this.#last = this.#sort(await this.#reader.read(signal));
    return this.report();
  }

  /** Sentries of running gVisor pods, by sandbox. */
  get sentries(): ReadonlyMap<string, PodSentry> {
    return this.#reader.sentries;
  }

  /** Those that run, as of the last read. */
  get sandboxes(): readonly SeenSandbox[] {
    return this.#reader.sandboxes;
  }

  report(): PodsReport | undefined {
    const { known, names } = this.#options.namespaces;
    return this.#last && podsReport(this.#last, known ? names : undefined, Date.now());
  }

  /** Lists the pods only if a task began or ended since: lists are most of an agent's CPU time. */
  async #read(signal: AbortSignal): Promise<readonly Pod[]> {
    const { client, host, settledMs = SETTLED_MS } = this.#options;
    const bundles = await host.stat(client.bundles).catch(() => undefined);
    const [readMs, settled] = [performance.now(), this.#settled];
    const isUnchanged = settled !== undefined && settled.fingerprint === bundles?.fingerprint;
    if (isUnchanged && readMs - settled.readMs < MAX_READ_INTERVAL_MS) return settled.pods;
    const isSettled = bundles !== undefined && Date.now() - bundles.changedMs > settledMs;
    const pods = await this.#reader.read(signal);
    const isSame = this.#isSame(bundles?.fingerprint, pods);
    const failed = await this.#starts.look(signal).catch(() => undefined);
    if (failed === undefined ? isSame : failed.length > 0) this.#options.onFailedStart?.();
    const isKnown = pods.every(({ sandboxed }) => sandboxed !== undefined);
    this.#settled = isSettled && isKnown ? { pods, fingerprint: bundles.fingerprint, readMs } : undefined;
    return pods;
  }

  /** Whether a task began or ended, and the pods are the same. */
  #isSame(fingerprint: string | undefined, pods: readonly Pod[]): boolean {
    const before = this.#before;
    const uids = pods
      .map(({ uid }) => uid)
      .sort()
      .join();
    this.#before = fingerprint === undefined ? undefined : { fingerprint, uids };
    return before?.uids === uids && before.fingerprint !== this.#before?.fingerprint;
  }

  #publish(pods: readonly Pod[]): void {
    const before = new Set(this.#last?.unsandboxed.map(({ uid }) => uid));
    this.#last = this.#sort(pods);
    const { handlers = [], namespaces, onRead, onOutside } = this.#options;
    const outside = this.#last.unsandboxed.filter(
      ({ uid, handler }) => handlers.includes(handler) && !before.has(uid),
    );
    if (outside.length > 0) onOutside?.(new Set(outside.map(({ handler }) => handler)));
    onRead?.(this.#last, namespaces.names);
  }

  #sort(pods: readonly Pod[]): ObservedPods {
    const { namespaces, handlers = [] } = this.#options;
    const required = namespaces.names;
    const unsandboxed = pods.filter(
      (pod) => pod.sandboxed === false && mustBeInGvisor(pod, handlers, required),
    );
    return {
      pods,
      unsandboxed,
      weakened: weakenedPods(pods, this.#options.probes?.() ?? []),
      atMs: Date.now(),
    };
  }
}
