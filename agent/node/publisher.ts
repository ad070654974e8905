import timers from 'node:timers/promises';
import type { Publisher, Report } from '../agent.ts';
import { hasTraces } from '../expected.ts';
import { Backoff } from '../kube/backoff.ts';
import type { WatchEvent } from '../kube/client.ts';
import { KubeError } from '../kube/error.ts';
import { keepWatching } from '../kube/watch.ts';
import { errorLine } from '../sanitize.ts';
import type { Verdict } from '../verdict.ts';
import { claimFor, desiredState } from './desired.ts';
import { desiredHandlers, type HandlerVerdicts } from './handlers.ts';
import {
  type DesiredEntry,
  handlerKey,
  isOlder,
  type NodeMetadata,
  type NodeObject,
  type NodeWrites,
  nodeWritesOf,
  OWN_KEYS,
} from './object.ts';
import { type NodeOptions, NodeWriter } from './writer.ts';

const FIRST_RETRY_MS = 500;
const MAX_RETRY_MS = 30_000;
/** Writes that fail for this long, and at least this often, make the agent unready. */
const OUTAGE_MS = 300_000;
const OUTAGE_TRIES = 5;
const UNGUARDED_RETRY_MS = 5_000;
/** The longest delay that a timer takes. */
const FOREVER_MS = 2 ** 31 - 1;

/** Written instead of a proof while no admission policy limits the agent to its own Node. */
const UNGUARDED: Verdict = {
  status: 'Unknown',
  reason: 'WritesUnguarded',
  message:
    'gVisor works here, but no admission policy keeps this agent from writing other nodes: the label is not granted',
};

/**
 * Keeps a Node in its desired state:
 * 1. Labels, annotations and condition are one PATCH, the taint another, and each is sent only for a difference.
 * 2. A watch of the Node shows what other clients change; that is restored, with a backoff per key.
 * 3. The label is granted only after the API server has refused a dry run of a write that is not the agent's.
 * 4. Failed writes are retried with backoff, and only the latest report is written.
 */
export class NodePublisher implements Publisher {
  readonly #options: NodeOptions;
  readonly #writer: NodeWriter;
  readonly #backoff = new Backoff(FIRST_RETRY_MS, MAX_RETRY_MS);
  #failingSinceMs: number | undefined;
  #isOutage = false;
  #report: Report | undefined;
  /** The reports of additional handlers. */
  readonly #handlers = new Map<string, Report>();
  /** The last known result of {@link hasTraces}. */
  #traces: boolean | undefined;
  /** The latest event of the watch that has not been processed. */
  #event: WatchEvent | undefined;
  /** Metadata of the last event that was processed. */
  #watched: NodeMetadata | undefined;
  #wake = new AbortController();
  /** The Node as last seen; undefined if it must be read. */
  #node: NodeObject | undefined;
  /** Until then the Node counts as deleted, unless the watch shows it. */
  #goneUntilMs = 0;
  #wrote = false;
  /** Whether the admission policy has refused a write that is not the agent's. */
  #guarded = false;
  #unready: string | undefined = 'no verdict has been published yet';

  constructor(options: NodeOptions) {
    this.#options = options;
    this.#writer = new NodeWriter(options);
  }

  /** Why this agent is not Ready, so that a rollout stops; undefined if it is. */
  get unready(): string | undefined {
    return this.#unready;
  }

  /** What the Node says about gVisor, and what keeps the agent from writing. */
  get nodeWrites(): NodeWrites {
    return nodeWritesOf(this.#node, this.#report === undefined ? undefined : this.#unready);
  }

  /** Publishes the report of an additional handler. */
  publishHandler(report: Report): void {
    this.#handlers.set(report.handler, report);
    this.#wake.abort();
  }

  publish(report: Report): void {
    this.#report = report;
    this.#traces = hasTraces(report.findings) ?? this.#traces;
    this.#wake.abort();
  }

  /** Watches and writes until the signal is aborted. */
  async run(signal: AbortSignal): Promise<void> {
    const { kube, node, log } = this.#options;
    const path = `/api/v1/nodes?fieldSelector=metadata.name%3D${node}`;
    const onEvent = (event: WatchEvent) => this.#onEvent(event);
    await Promise.all([
      keepWatching({ kube, path, whole: true, log, onEvent }, signal),
      this.#keepWriting(signal),
    ]);
  }

  #onEvent(event: WatchEvent): void {
    if (event.type === 'BOOKMARK') return;
    this.#event = event;
    this.#wake.abort();
  }

  async #keepWriting(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        const waitMs = (await this.#reconcile(signal)) ?? FOREVER_MS;
        const woken = AbortSignal.any([signal, this.#wake.signal]);
        await timers.setTimeout(waitMs, undefined, { signal: woken }).catch(() => {});
      } catch (err) {
        if (signal.aborted) return;
        const retryInMs = this.#failed(err);
        if (retryInMs > 0) await timers.setTimeout(retryInMs, undefined, { signal }).catch(() => {});
      }
    }
  }

  /** Brings the Node closer to its desired state. Returns the time until it must run again, undefined for the next event. */
  async #reconcile(signal: AbortSignal): Promise<number | undefined> {
    this.#wake = new AbortController();
    this.#processEvent();
    const goneMs = this.#goneUntilMs - this.#options.now();
    if (goneMs > 0) return Math.min(goneMs, FOREVER_MS);
    this.#node ??= await this.#writer.read(signal);
    const report = this.#report;
    const claim = claimFor(report, this.#node, this.#options.boot);
    const handlers = desiredHandlers(this.#verdicts, this.#node, this.#options.boot);
    if (claim === undefined && handlers.length === 0) return undefined;
    const isProven = claim?.verdict.status === 'True';
    // Only a grant needs the guard; a withdrawal must not wait for it.
    const needsGuard = isProven || handlers.some(isGrant);
    if (needsGuard) this.#guarded ||= await this.#writer.isGuarded(signal);
    const isUnguarded = isProven && !this.#guarded;
    // An existing label stays: policies that are missing for a moment must not end pods.
    const isGranted = this.#node.metadata.labels?.[OWN_KEYS.labels.ready] === 'true';
    const verdict = isUnguarded && !isGranted ? UNGUARDED : claim?.verdict;
    const main =
      claim &&
      verdict &&
      desiredState({ ...claim, verdict, traces: this.#traces }, this.#node, this.#options);
    const desired = [
      ...(main?.desired ?? []),
      ...handlers.filter((entry) => this.#guarded || !isGrant(entry)),
    ];
    const before = this.#node;
    const { node, waitMs } = await this.#writer.write(before, { verdict, desired }, signal);
    this.#node = node;
    this.#recovered();
    this.#reportHandlers(before, node);
    const retryMs = needsGuard && !this.#guarded ? UNGUARDED_RETRY_MS : FOREVER_MS;
    const nextMs = Math.min(waitMs ?? FOREVER_MS, retryMs);
    if (report === undefined || claim === undefined) return nextMs;
    this.#wrote = true;
    const isWithheld = claim.verdict !== report.verdict;
    const unguarded = isUnguarded ? `${UNGUARDED.reason}: ${UNGUARDED.message}` : undefined;
    this.#setUnready(unguarded ?? (isWithheld ? claim.verdict.message : main?.refusal));
    return nextMs;
  }

  get #verdicts(): HandlerVerdicts {
    const { additionalHandlers } = this.#options;
    return new Map(additionalHandlers.map((handler) => [handler, this.#handlers.get(handler)?.verdict]));
  }

  /** Reports the additional handlers whose labels have changed. */
  #reportHandlers({ metadata: before }: NodeObject, { metadata: after }: NodeObject): void {
    for (const [handler, verdict] of this.#verdicts) {
      const key = handlerKey('ready', handler);
      if (verdict === undefined || before.labels?.[key] === after.labels?.[key]) continue;
      const message = `handler "${handler}": ${verdict.message}`;
      this.#options.onChange?.({ ...verdict, message }, after.uid);
    }
  }

  #setUnready(unready: string | undefined): void {
    if (unready !== undefined && unready !== this.#unready)
      this.#options.log.warn({ unready }, 'not ready: the rollout waits');
    this.#unready = unready;
  }

  #processEvent(): void {
    const event = this.#event;
    this.#event = undefined;
    if (event === undefined) return;
    if (event.type === 'DELETED') {
      this.#options.log.warn('the node is gone: waiting for it to return');
      this.#node = undefined;
      this.#goneUntilMs = Number.POSITIVE_INFINITY;
      this.#resetFailures();
      return;
    }
    this.#goneUntilMs = 0;
    const node = event.object as NodeObject;
    // A new watch may start with an older version, from an API server that lags behind or after a restore of etcd: a read decides.
    const wentBack = this.#watched !== undefined && isOlder(node.metadata, this.#watched);
    this.#watched = node.metadata;
    const known = this.#node;
    // An event may be older than the response to the agent's own write.
    if (known === undefined || (!wentBack && isOlder(node.metadata, known.metadata))) return;
    this.#node = wentBack || node.metadata.uid !== known.metadata.uid ? undefined : node;
  }

  /** Records a failure and returns the time until the next try. */
  #failed(err: unknown): number {
    this.#node = undefined; // Its state is unknown now.
    const { log, node, now } = this.#options;
    if (err instanceof KubeError && err.status === 404) {
      log.warn({ err }, 'the node does not exist: waiting for it');
      this.#unready = `there is no Node "${node}": is NODE_NAME right?`;
      // Tried again later even without an event, since the 404 may be a proxy's.
      this.#goneUntilMs = now() + MAX_RETRY_MS;
      return 0;
    }
    const retryInMs = this.#backoff.next(err);
    log.warn({ err, retryInMs }, 'cannot write the node');
    if (!this.#wrote) this.#unready = `the first verdict is not in the Node yet: ${errorLine(err)}`;
    this.#failingSinceMs ??= now();
    const failedForMs = now() - this.#failingSinceMs;
    if (failedForMs < OUTAGE_MS || this.#backoff.tries < OUTAGE_TRIES) return retryInMs;
    if (!this.#isOutage)
      log.warn({ err, failedForMs }, 'not ready: the node could not be written for minutes');
    this.#isOutage = true;
    const minutes = Math.floor(failedForMs / 60_000);
    this.#unready = `the Node could not be written for ${minutes} min: ${errorLine(err)}`;
    return retryInMs;
  }

  #recovered(): void {
    const failedForMs = this.#failingSinceMs && this.#options.now() - this.#failingSinceMs;
    if (this.#isOutage) this.#options.log.info({ failedForMs }, 'the node can be written again');
    this.#resetFailures();
  }

  #resetFailures(): void {
    this.#failingSinceMs = undefined;
    this.#isOutage = false;
    this.#backoff.reset();
  }
}

/** Whether an entry claims that an additional handler is proven. */
function isGrant({ value }: DesiredEntry): boolean {
  return value !== null && value !== 'false';
}
