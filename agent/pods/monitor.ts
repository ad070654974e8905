import timers from 'node:timers/promises';
import type { Logger } from 'pino';
import type { CriClient } from '../containerd/client.ts';
import type { Host } from '../host/host.ts';
import { errorLine } from '../sanitize.ts';
import type { RequiredNamespaces } from './namespaces.ts';
import {
  MAX_READ_INTERVAL_MS,
  type ObservedPods,
  type Pod,
  type PodsReport,
  type ProbeFlags,
  podsReport,
  weakenedPods,
} from './pod.ts';
import { PodReader } from './pod-reader.ts';

/**
 * How often pods are read. containerd's events would tell of one sooner, but it starts and stops no pod any more while a
 * subscriber does not read them.
 * Source: https://github.com/containerd/containerd/blob/v2.4.2/internal/eventq/eventq.go
 */
const READ_MS = 3_000;
/** Pods decide how long the list is: the time between two is so many times what the last one took, up to a limit. */
const TIMES_AS_LONG = 20;

/** What pods are read with, and where what was seen of them goes. */
export type PodMonitorOptions = {
  readonly client: CriClient;
  readonly host: Host;
  /** The namespaces that require gVisor, followed by the API's watches. */
  readonly namespaces: RequiredNamespaces;
  /** Receives what each read found; must not throw. */
  readonly onRead?: (observed: ObservedPods, required: ReadonlySet<string>) => void;
  /** The handler that is proven here and the flags of its last probe; undefined before the first proof. */
  readonly probe?: () => ProbeFlags | undefined;
  readonly log: Logger;
  /** How often they are read, in milliseconds; 3 s unless said otherwise. */
  readonly everyMs?: number;
};

/** The pods of this node: watches them, and remembers what it saw last. */
export class PodMonitor {
  readonly #options: PodMonitorOptions;
  readonly #reader: PodReader;
  #last: ObservedPods | undefined;

  constructor(options: PodMonitorOptions) {
    this.#options = options;
    this.#reader = new PodReader(options.client, options.host);
  }

  /** Reads the pods again and again until the signal ends it. */
  async run(signal: AbortSignal): Promise<void> {
    const { everyMs = READ_MS } = this.#options;
    let problem = '';
    while (!signal.aborted) {
      const begunMs = performance.now();
      try {
        this.#publish(await this.#reader.read(signal));
        problem = '';
      } catch (error) {
        if (signal.aborted) return;
        const line = errorLine(error);
        if (line !== problem) this.#options.log.warn(`cannot read the pods of this node: ${line}`);
        problem = line;
      }
      const restMs = Math.min(TIMES_AS_LONG * (performance.now() - begunMs), MAX_READ_INTERVAL_MS);
      await timers.setTimeout(Math.max(everyMs, restMs), undefined, { signal }).catch(() => {});
    }
  }

  /** Reads the pods once, and gives what {@link outside} says then. */
  async readOnce(signal: AbortSignal): Promise<PodsReport | undefined> {
    this.#last = this.#sort(await this.#reader.read(signal));
    return this.outside();
  }

  /** Which pods run outside of gVisor; undefined before they were read. */
  outside(): PodsReport | undefined {
    return this.#last && podsReport(this.#last, this.#options.namespaces.known, Date.now());
  }

  #publish(pods: readonly Pod[]): void {
    this.#last = this.#sort(pods);
    this.#options.onRead?.(this.#last, this.#options.namespaces.names);
  }

  #sort(pods: readonly Pod[]): ObservedPods {
    const required = this.#options.namespaces.names;
    const unsandboxed = pods.filter((pod) => pod.sandboxed === false && required.has(pod.namespace));
    return { pods, unsandboxed, weakened: weakenedPods(pods, this.#options.probe?.()), atMs: Date.now() };
  }
}
