import timers from 'node:timers/promises';
import { Backoff } from '../kube/backoff.ts';
import type { WatchEvent } from '../kube/client.ts';
import { KubeError } from '../kube/error.ts';
import { keepWatching } from '../kube/watch.ts';
import type { Publisher, Report } from '../report.ts';
import { errorLine } from '../sanitize.ts';
import type { Verdict } from '../verdict.ts';
import { claimFor, isNotReady, want } from './desired.ts';
import {
  isOlder,
  type NodeMetadata,
  type NodeObject,
  type NodeWrites,
  OWN_KEYS,
  writersOf,
  writtenIn,
} from './object.ts';
import { type NodeOptions, NodeWriter } from './writer.ts';

/** A shorter failure is none that anybody has to act on. */
const LONG_MS = 300_000;
/** A few slow tries prove nothing. */
const LEAST_TRIES = 5;

/** How long something has failed without a break. Times are milliseconds of a monotonic clock. */
export class FailureDuration {
  #sinceMs: number | undefined;
  #tries = 0;

  /** Notes a failure; gives the duration of the outage once it is at least five minutes and five failures long. */
  failed(nowMs: number): number | undefined {
    this.#sinceMs ??= nowMs;
    this.#tries++;
    const forMs = nowMs - this.#sinceMs;
    return forMs >= LONG_MS && this.#tries >= LEAST_TRIES ? forMs : undefined;
  }

  /** Notes a success; gives the duration of the outage that it ends, undefined when there was none. */
  ended(nowMs: number): number | undefined {
    const forMs = this.#sinceMs === undefined ? undefined : nowMs - this.#sinceMs;
    this.#sinceMs = undefined;
    this.#tries = 0;
    return forMs;
  }
}

const FIRST_RETRY_MS = 500;
const LAST_RETRY_MS = 30_000;
const UNGUARDED_RETRY_MS = 5_000;
/** What an agent says of a proven node where nothing would keep it from writing other nodes. */
const UNGUARDED: Verdict = {
  status: 'Unknown',
  reason: 'WritesUnguarded',
  message:
    'gVisor works here, but no admission policy keeps this agent from writing other nodes: the label is not granted',
};
/** The longest that a timer takes. */
const FOREVER_MS = 2 ** 31 - 1;

/**
 * Keeps the verdict in the Node: labels, annotations and condition with one PATCH, the taint with another,
 * and each only when it differs from what is there. A watch of the Node's metadata tells when somebody else
 * changed it. No label is granted before the API server has refused, in a dry run, what is not the agent's to write.
 * While the API server does not answer it tries again, with growing pauses; of several verdicts that waited, only the
 * newest is written.
 */
export class NodePublisher implements Publisher {
  readonly #options: NodeOptions;
  readonly #writer: NodeWriter;
  readonly #outage = new FailureDuration();
  readonly #backoff = new Backoff(FIRST_RETRY_MS, LAST_RETRY_MS);
  #report: Report | undefined;
  #event: WatchEvent | undefined;
  /** What the watch told before that. */
  #told: NodeMetadata | undefined;
  #wake = new AbortController();
  #node: NodeObject | undefined;
  /** Until when the Node counts as gone, unless the watch shows it. */
  #goneUntilMs = 0;
  #wrote = false;
  /** Whether it waits for something that the watch of metadata does not show: the Node's boot, or that it is Ready. */
  #waitsForKubelet = false;
  /** Whether an admission policy has refused what is not the agent's to write. */
  #guarded = false;
  /** Whether writes have failed for minutes. */
  #failing = false;
  #unready: string | undefined = 'the first verdict is not settled yet';

  constructor(options: NodeOptions) {
    this.#options = options;
    this.#writer = new NodeWriter(options);
  }

  /** Why a rollout must not go on to the next node; undefined when it may. */
  get unready(): string | undefined {
    return this.#unready;
  }

  /** What the Node says of gVisor, and what keeps the agent from writing there. */
  get written(): NodeWrites {
    const problem = this.#report === undefined ? undefined : this.#unready;
    return writtenIn(this.#node, problem);
  }

  publish(report: Report): void {
    this.#report = report;
    this.#wake.abort();
  }

  /** Writes until the signal ends it. */
  async run(signal: AbortSignal): Promise<void> {
    const { kube, node, log } = this.#options;
    const path = `/api/v1/nodes?fieldSelector=metadata.name%3D${node}`;
    await Promise.all([
      keepWatching({ kube, path, log, onEvent: (event) => this.#onEvent(event) }, signal),
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
        const waitMs = (await this.#step(signal)) ?? FOREVER_MS;
        const woken = AbortSignal.any([signal, this.#wake.signal]);
        await timers.setTimeout(waitMs, undefined, { signal: woken }).catch(() => {});
      } catch (err) {
        if (signal.aborted) return;
        const retryInMs = this.#failed(err);
        if (retryInMs > 0) await timers.setTimeout(retryInMs, undefined, { signal }).catch(() => {});
      }
    }
  }

  /** One step towards what is wanted; gives the milliseconds until the next, or undefined for when something happens. */
  async #step(signal: AbortSignal): Promise<number | undefined> {
    this.#wake = new AbortController();
    this.#takeEvent();
    const goneMs = this.#goneUntilMs - this.#options.now();
    if (goneMs > 0) return Math.min(goneMs, FOREVER_MS);
    this.#node ??= await this.#writer.read(signal);
    const report = this.#report;
    const claim = claimFor(report, this.#node, this.#options.boot);
    if (claim === undefined) return undefined;
    const isProven = claim.verdict.status === 'True';
    // Only a grant depends on it: nothing may hold up a withdrawal.
    if (isProven) this.#guarded ||= await this.#writer.isGuarded(signal);
    const isUnguarded = isProven && !this.#guarded;
    // A label that stands is not withdrawn: policies that are missing for a moment must not end pods.
    const isGranted = this.#node.metadata.labels?.[OWN_KEYS.labels.ready] === 'true';
    const verdict = isUnguarded && !isGranted ? UNGUARDED : claim.verdict;
    const { wanted, refusal: rollout } = want({ ...claim, verdict }, this.#node, this.#options);
    const { node, waitMs } = await this.#writer.write(this.#node, { verdict, wanted }, signal);
    this.#node = node;
    this.#recovered();
    if (report === undefined) return waitMs;
    const isHeldBack = claim.verdict !== report.verdict;
    this.#waitsForKubelet = isHeldBack || (this.#options.taint && isNotReady(node));
    this.#wrote = true;
    const unguarded = isUnguarded ? `${UNGUARDED.reason}: ${UNGUARDED.message}` : undefined;
    const refusal = unguarded ?? (isHeldBack ? claim.verdict.message : rollout);
    if (refusal !== undefined && refusal !== this.#unready)
      this.#options.log.warn({ refusal }, 'not ready: the rollout waits');
    this.#unready = refusal;
    return isUnguarded ? Math.min(waitMs ?? UNGUARDED_RETRY_MS, UNGUARDED_RETRY_MS) : waitMs;
  }

  /** Takes note of what the watch told last. */
  #takeEvent(): void {
    const event = this.#event;
    this.#event = undefined;
    if (event === undefined) return;
    if (event.type === 'DELETED') {
      this.#options.log.warn('the node is gone: waiting for it to return');
      this.#node = undefined;
      this.#goneUntilMs = Number.POSITIVE_INFINITY;
      this.#failing = false;
      this.#outage.ended(this.#options.now());
      this.#backoff.reset();
      return;
    }
    this.#goneUntilMs = 0;
    const known = this.#node;
    const { metadata } = event.object as { readonly metadata: NodeMetadata };
    // Watches go back only where the store was restored from a backup.
    const wentBack = this.#told !== undefined && isOlder(metadata, this.#told);
    this.#told = metadata;
    if (known === undefined || (!wentBack && isOlder(metadata, known.metadata))) return;
    const withTaints = this.#options.taint;
    const isAll =
      !wentBack &&
      !this.#waitsForKubelet &&
      metadata.uid === known.metadata.uid &&
      writersOf(metadata, withTaints) === writersOf(known.metadata, withTaints);
    this.#node = isAll ? { ...known, metadata } : undefined; // else it must be read
  }

  /** Notes a failure, and gives the milliseconds to wait. */
  #failed(err: unknown): number {
    this.#node = undefined; // what is there is not known any more
    const { log, node } = this.#options;
    if (err instanceof KubeError && err.status === 404) {
      log.warn({ err }, 'the node does not exist: waiting for it');
      this.#unready = `there is no Node "${node}": is NODE_NAME right?`;
      // Asked again now and then: it may have been a proxy that did not know it.
      if (this.#event === undefined) this.#goneUntilMs = this.#options.now() + LAST_RETRY_MS;
      return 0;
    }
    const retryInMs = this.#backoff.next(err);
    log.warn({ err, retryInMs }, 'cannot write the node');
    if (!this.#wrote) this.#unready = `the first verdict is not in the Node yet: ${errorLine(err)}`;
    const failedForMs = this.#outage.failed(this.#options.now());
    if (failedForMs === undefined) return retryInMs;
    if (!this.#failing)
      log.warn({ err, failedForMs }, 'not ready: the node could not be written for minutes');
    this.#failing = true;
    const minutes = Math.floor(failedForMs / 60_000);
    this.#unready = `the Node could not be written for ${minutes} min: ${errorLine(err)}`;
    return retryInMs;
  }

  #recovered(): void {
    const failedForMs = this.#outage.ended(this.#options.now());
    this.#backoff.reset();
    if (this.#failing) this.#options.log.info({ failedForMs }, 'the node is written again');
    this.#failing = false;
  }
}
