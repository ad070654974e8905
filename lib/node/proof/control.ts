import { waitUpTo } from '../../base/async.ts';
import type { CriClient } from '../containerd/client.ts';
import type { ControlResult } from './outcome.ts';
import { type ProbeOptions, tearDown } from './probe.ts';
import { findPlace, newSandbox } from './sandbox.ts';

type Running = {
  readonly handler: string;
  readonly startedMs: number;
  readonly started: Promise<ControlResult>;
  readonly removed: Promise<void>;
};

const RUNC = 'io.containerd.runc.v2';
/** Keeps controls that cannot be removed from filling a broken node. */
const REST_MS = 3_600_000;

/**
 * A sandbox of runc in the same cgroup, for a probe that is slow or failed without a known cause: shows
 * whether gVisor or the node is to blame. Measured on idle nodes and under 32 times their load: gVisor takes
 * 1.0 to 3.0 times as long as runc.
 */
export class Control {
  readonly #options: ProbeOptions;
  readonly #waitMs: number;
  #running: Running | undefined;
  #restUntilMs = Number.NEGATIVE_INFINITY;

  constructor(options: ProbeOptions, waitMs: number) {
    this.#options = options;
    this.#waitMs = waitMs;
  }

  /** Undefined without a handler for runc or a response. Rejects when the signal is aborted. */
  async run(signal: AbortSignal): Promise<ControlResult | undefined> {
    const { client, handler, now } = this.#options;
    if (now() < this.#restUntilMs) return undefined;
    this.#running ??= await this.#start(client, handler, signal).catch(() => undefined);
    signal.throwIfAborted();
    const running = this.#running;
    if (running === undefined) return undefined;
    const result = await waitUpTo(running.started, this.#waitMs, signal);
    signal.throwIfAborted();
    return result ?? { handler: running.handler, tookMs: now() - running.startedMs, ended: false };
  }

  async finish(): Promise<void> {
    await this.#running?.removed;
  }

  async #start(client: CriClient, proven: string, signal: AbortSignal): Promise<Running | undefined> {
    const { runtimes } = await client.status(signal);
    const names = [...runtimes].flatMap(([name, { runtimeType }]) =>
      name !== proven && runtimeType === RUNC ? name : [],
    );
    const handler = names.includes('runc') ? 'runc' : names[0];
    if (handler === undefined) return undefined;
    const { now, owner, ownPod } = this.#options;
    const config = newSandbox(await findPlace(client, ownPod), owner);
    // Only the start is timed: pods shape the list, and the kubelet may delay the removal.
    const startedMs = now();
    const sandbox = client.runSandbox(config, handler, { timeoutMs: null });
    const failure = sandbox.then(
      () => ({}),
      (error: unknown) => ({ error }),
    );
    const started = failure.then((seen) => ({ handler, tookMs: now() - startedMs, ended: true, ...seen }));
    return { handler, startedMs, started, removed: this.#remove(sandbox) };
  }

  async #remove(sandbox: Promise<string>): Promise<void> {
    const failure = await sandbox.then(
      (id) => tearDown(this.#options, id).catch(() => 'remains'),
      () => undefined,
    );
    if (failure !== undefined) this.#restUntilMs = this.#options.now() + REST_MS;
    this.#running = undefined;
  }
}
