import { waitUpTo } from '../../lib/base/async.ts';
import { type ControlResult, isTimeout } from '../../lib/proof/outcome.ts';
import { type ProbeOptions, tearDown } from '../../lib/proof/probe.ts';
import { findPlace, newSandbox, podIn } from '../../lib/proof/sandbox.ts';
import { REQUEST_MS } from '../../lib/proof/witness.ts';

type Running = {
  readonly handler: string;
  readonly startedMs: number;
  readonly sandbox: Promise<string>;
  readonly started: Promise<ControlResult>;
  /** Resolves with false if it could not be removed. */
  removed: Promise<boolean>;
  remains: boolean;
};

const RUNC = 'io.containerd.runc.v2';

/**
 * A sandbox of runc in the same cgroup, for a probe that is slow or failed without a known cause: shows
 * whether gVisor or the node is to blame. Measured on idle nodes and under 32 times their load: gVisor takes
 * 1.0 to 3.0 times as long as runc. The next one starts when the last is gone, so that they fill no broken node.
 */
export class Control {
  readonly #options: ProbeOptions;
  readonly #waitMs: number;
  readonly #onEnd: (startedMs: number) => void;
  #running: Running | undefined;
  #hasStarted = false;

  /** `onEnd` is told when one that is gone, or did not start, began. */
  constructor(
    options: ProbeOptions,
    { waitMs, onEnd }: { readonly waitMs: number; readonly onEnd: (startedMs: number) => void },
  ) {
    this.#options = options;
    this.#waitMs = waitMs;
    this.#onEnd = onEnd;
  }

  /** Whether the cgroup of {@link podIn} is there: runc makes parents, and leaves them. */
  get madePod(): boolean {
    return this.#hasStarted;
  }

  /**
   * Waits until it has started, or is removed again. An earlier one that is not gone yet is the result, however long
   * ago it began. Undefined without a handler for runc, or if containerd refuses to say. Rejects when the signal is
   * aborted.
   */
  async run(
    signal: AbortSignal,
    until: 'started' | 'removed' = 'started',
  ): Promise<ControlResult | undefined> {
    const { now } = this.#options;
    const begunMs = now();
    let running = this.#running;
    try {
      running ??= await this.#start(signal);
    } catch (error) {
      signal.throwIfAborted();
      const took = { handler: 'runc', tookMs: now() - begunMs, ended: true };
      return isTimeout(error) ? { ...took, error } : undefined;
    }
    if (running === undefined) return undefined;
    if (running.remains) running.removed = this.#remove(running);
    const isOld = running.startedMs < begunMs;
    const awaited = until === 'started' && !isOld ? running.started : this.#removal(running);
    const result = await waitUpTo(awaited, this.#waitMs, signal);
    signal.throwIfAborted();
    return result ?? { handler: running.handler, tookMs: now() - running.startedMs, ended: false };
  }

  async finish(): Promise<void> {
    await this.#running?.removed;
  }

  async #start(signal: AbortSignal): Promise<Running | undefined> {
    const { client, handler: proven, now, owner, ownPod } = this.#options;
    const { runtimes } = await client.status(signal);
    const names = [...runtimes].flatMap(([name, { runtimeType }]) =>
      name !== proven && runtimeType === RUNC ? name : [],
    );
    const handler = names.includes('runc') ? 'runc' : names[0];
    if (handler === undefined) return undefined;
    const config = newSandbox(podIn(await findPlace(client, ownPod)), owner);
    const startedMs = now();
    const sandbox = client.runSandbox(config, handler, { timeoutMs: null });
    const failure = sandbox
      .then((id) => {
        this.#hasStarted = true;
        return this.#examine(id);
      })
      .then(
        () => ({}),
        (error: unknown) => ({ error }),
      );
    const started = failure.then((seen) => ({ handler, tookMs: now() - startedMs, ended: true, ...seen }));
    const running = { handler, startedMs, sandbox, started, removed: Promise.resolve(true), remains: false };
    this.#running = running;
    running.removed = this.#remove(running);
    return running;
  }

  /** Asks what a probe is asked. Rejects only if that takes too long: the kubelet may have stopped it. */
  async #examine(id: string): Promise<void> {
    const { client } = this.#options;
    const limits = { timeoutMs: REQUEST_MS };
    const answers = Promise.all([client.listPids(id, limits), client.sandbox(id, limits)]);
    await answers.catch((error: unknown) => {
      if (isTimeout(error)) throw error;
    });
  }

  async #remove(running: Running): Promise<boolean> {
    running.remains = false;
    await running.started;
    const failure = await running.sandbox.then(
      (id) => tearDown(this.#options, id).catch(() => 'remains'),
      () => undefined,
    );
    running.remains = failure !== undefined;
    if (running.remains) return false;
    this.#running = undefined;
    this.#onEnd(running.startedMs);
    return true;
  }

  /** Undefined if it remains. */
  async #removal({ started, startedMs, removed }: Running): Promise<ControlResult | undefined> {
    const isGone = await removed;
    return isGone ? { ...(await started), tookMs: this.#options.now() - startedMs } : undefined;
  }
}
