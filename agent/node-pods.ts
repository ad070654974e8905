import timers from 'node:timers/promises';
import type { Logger } from 'pino';
import type { CriClient } from './cri/client.ts';
import { errorLine } from './host/error-line.ts';
import type { Host } from './host/host.ts';
import type { Metrics } from './http/metrics.ts';
import type { ApiPublisher } from './node/api.ts';
import { PodReporter } from './node/pod-reporter.ts';
import {
  MOST_READ_MS,
  type Pod,
  type PodsOutside,
  type PodsSeen,
  type ProbeFlags,
  podsOutside,
  weakenedPods,
} from './pods/pod.ts';
import { PodReader } from './pods/read-pods.ts';
import { RequiredNamespaces } from './pods/required-namespaces.ts';

/**
 * How often pods are read. containerd's events would tell of one sooner, but it starts and stops no pod any more while a
 * subscriber does not read them.
 * Source: https://github.com/containerd/containerd/blob/v2.4.2/internal/eventq/eventq.go
 */
const READ_MS = 3_000;
/** Pods decide how long the list is: the time between two is so many times what the last one took, up to a limit. */
const TIMES_AS_LONG = 20;

/** What pods are read with, and where what was seen of them goes. */
export type NodePodsOptions = {
  readonly client: CriClient;
  readonly host: Host;
  readonly metrics: Metrics;
  /** Where events go, and whose namespaces require gVisor; absent on a single host. */
  readonly api: Pick<ApiPublisher, 'events'> | undefined;
  /** The handler that is proven here and the flags of its last probe; undefined before the first proof. */
  readonly probe?: () => ProbeFlags | undefined;
  readonly log: Logger;
  /** How often they are read, in milliseconds; 3 s unless said otherwise. */
  readonly everyMs?: number;
};

/** The pods of this node: watches them, and remembers what it saw last. */
export class NodePods {
  /** The namespaces that require gVisor, to be followed by the API's watches. */
  readonly namespaces: RequiredNamespaces;
  readonly #options: NodePodsOptions;
  readonly #reader: PodReader;
  readonly #reporter: PodReporter;
  #last: PodsSeen | undefined;

  constructor(options: NodePodsOptions) {
    const { client, host, metrics, api, log } = options;
    this.#options = options;
    this.#reader = new PodReader(client, host);
    this.#reporter = new PodReporter(log, api?.events);
    this.namespaces = new RequiredNamespaces(() => metrics.pods.heardNamespaces(Date.now()));
    if (api !== undefined) metrics.pods.followNamespaces();
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
      const restMs = Math.min(TIMES_AS_LONG * (performance.now() - begunMs), MOST_READ_MS);
      await timers.setTimeout(Math.max(everyMs, restMs), undefined, { signal }).catch(() => {});
    }
  }

  /** Reads the pods once, and gives what {@link outside} says then. */
  async readOnce(signal: AbortSignal): Promise<PodsOutside | undefined> {
    this.#last = this.#sort(await this.#reader.read(signal));
    return this.outside();
  }

  /** Which pods run outside of gVisor; undefined before they were read. */
  outside(): PodsOutside | undefined {
    return this.#last && podsOutside(this.#last, this.namespaces.known, Date.now());
  }

  #publish(pods: readonly Pod[]): void {
    this.#last = this.#sort(pods);
    this.#options.metrics.pods.publish(this.#last, this.namespaces.names);
    this.#reporter.publish(this.#last.unsandboxed, this.#last.weakened);
  }

  #sort(pods: readonly Pod[]): PodsSeen {
    const required = this.namespaces.names;
    const unsandboxed = pods.filter((pod) => pod.sandboxed === false && required.has(pod.namespace));
    return { pods, unsandboxed, weakened: weakenedPods(pods, this.#options.probe?.()), atMs: Date.now() };
  }
}
