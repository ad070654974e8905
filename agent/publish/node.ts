import timers from 'node:timers/promises';
import type { Logger } from 'pino';
import type { Kube } from '../kube.ts';
import { KubeError } from '../kube-error.ts';
import { labelsFor } from '../labels.ts';
import type { Report } from '../report.ts';
import type { Publisher } from './publisher.ts';

type Condition = {
  readonly type: string;
  readonly status: string;
  readonly reason: string;
  readonly message: string;
  readonly lastTransitionTime: string;
};
type Node = {
  readonly metadata?: { readonly labels?: Readonly<Record<string, string>> };
  readonly status?: { readonly conditions?: readonly Condition[] };
};

const CONDITION = 'GVisorReady';
const FIRST_RETRY_MS = 500;
const LAST_RETRY_MS = 30_000;

/** What a publisher of a Node needs; `now` gives the wall clock's milliseconds. */
export type NodePublisherOptions = {
  readonly kube: Kube;
  readonly node: string;
  readonly labelDomain: string;
  readonly log: Logger;
  readonly now: () => number;
};

/**
 * Writes the verdict into the Node: its labels with one PATCH, its condition with another, and each only
 * when it differs from what is there. While the API server does not answer it tries again, with growing
 * pauses; of several verdicts that waited, only the newest is written.
 */
export class NodePublisher implements Publisher {
  readonly name = 'node';
  readonly #options: NodePublisherOptions;
  #wanted: Report | undefined;
  #wake = Promise.withResolvers<void>();
  #labels: Readonly<Record<string, string>> | undefined;
  #condition: Condition | undefined;

  constructor(options: NodePublisherOptions) {
    this.#options = options;
  }

  publish(report: Report): void {
    this.#wanted = report;
    this.#wake.resolve();
  }

  /** Writes until the signal ends it. */
  async run(signal: AbortSignal): Promise<void> {
    const stopped = new Promise<void>((resolve) =>
      signal.addEventListener('abort', () => resolve(), { once: true }),
    );
    let pauseMs = FIRST_RETRY_MS;
    while (!signal.aborted) {
      await Promise.race([this.#wake.promise, stopped]);
      const report = this.#wanted;
      if (signal.aborted || report === undefined) return;
      this.#wake = Promise.withResolvers<void>();
      try {
        await this.#write(report, signal);
        pauseMs = FIRST_RETRY_MS;
      } catch (err) {
        if (signal.aborted) return;
        this.#labels = undefined; // what is there is not known any more
        const wait =
          (err instanceof KubeError ? err.retryAfterMs : undefined) ?? pauseMs * (0.5 + Math.random());
        this.#options.log.warn({ err, retryInMs: Math.round(wait) }, 'cannot write the node');
        pauseMs = Math.min(pauseMs * 2, LAST_RETRY_MS);
        this.#wake.resolve();
        await timers.setTimeout(wait, undefined, { signal }).catch(() => {});
      }
    }
  }

  async #write(report: Report, signal: AbortSignal): Promise<void> {
    const { kube, node, labelDomain, log } = this.#options;
    const path = `/api/v1/nodes/${node}`;
    if (this.#labels === undefined) this.#remember((await kube.get(path, signal)) as Node);
    const wanted = labelsFor(report.verdict, report.facts, labelDomain);
    const labels = Object.fromEntries(
      Object.entries(wanted).filter(([key, value]) => (this.#labels?.[key] ?? null) !== value),
    );
    if (Object.keys(labels).length > 0) {
      this.#remember((await kube.patch(path, { metadata: { labels } }, 'merge', signal)) as Node);
      log.info({ labels }, 'labels written');
    }
    const condition = this.#conditionFor(report);
    if (condition !== undefined) {
      const patch = { status: { conditions: [condition] } };
      this.#remember((await kube.patch(`${path}/status`, patch, 'strategic', signal)) as Node);
      log.info({ status: condition.status, reason: condition.reason }, 'condition written');
    }
  }

  #remember(node: Node): void {
    this.#labels = node.metadata?.labels ?? {};
    this.#condition = node.status?.conditions?.find(({ type }) => type === CONDITION);
  }

  /** The condition to write, or undefined when what is there says the same. */
  #conditionFor({ verdict }: Report): Condition | undefined {
    const { status, reason, message } = verdict;
    const old = this.#condition;
    if (old?.status === status && old.reason === reason) return undefined;
    const kept = old?.status === status ? old.lastTransitionTime : undefined;
    const lastTransitionTime = kept || new Date(this.#options.now()).toISOString().replace(/\.\d+Z$/, 'Z');
    return { type: CONDITION, status, reason, message: message.slice(0, 1024), lastTransitionTime };
  }
}
