import { waitUpTo } from '../async.ts';
import type { CriClient } from '../containerd/client.ts';
import type { BootOptions } from './boot.ts';
import { tearDown } from './boot.ts';
import type { ControlResult } from './outcome.ts';
import { findPlace, newSandbox } from './sandbox.ts';

type Running = {
  readonly handler: string;
  readonly begunMs: number;
  readonly started: Promise<ControlResult>;
  readonly removed: Promise<void>;
};

const RUNC = 'io.containerd.runc.v2';
/** After a control that could not be removed, none is made for this long: a broken node must not fill up. */
const REST_MS = 3_600_000;

/**
 * The control experiment beside a proof: a sandbox of runc in the same place. A runc sandbox that starts quickly while
 * gVisor's does not shows that gVisor is to blame; one that is slow or fails as well shows that the node is. Measured
 * on idle nodes and on nodes with 32 times their work, with full CPUs and full disks: gVisor's boot takes 1.0 to 3.0
 * times as long as runc's.
 */
export class Control {
  readonly #options: BootOptions;
  readonly #waitMs: number;
  #running: Running | undefined;
  #restUntilMs = Number.NEGATIVE_INFINITY;

  constructor(options: BootOptions, waitMs: number) {
    this.#options = options;
    this.#waitMs = waitMs;
  }

  /**
   * Starts a sandbox of runc unless one is starting already, and waits up to `waitMs` for it. Undefined where containerd has
   * no other handler that runs runc, or does not answer, or keeps an earlier control. Rejects when the signal is aborted.
   */
  async run(signal: AbortSignal): Promise<ControlResult | undefined> {
    const { client, handler, now } = this.#options;
    if (now() < this.#restUntilMs) return undefined;
    this.#running ??= await this.#start(client, handler, signal).catch(() => undefined);
    signal.throwIfAborted();
    const running = this.#running;
    if (running === undefined) return undefined;
    const result = await waitUpTo(running.started, this.#waitMs, signal);
    signal.throwIfAborted();
    return result ?? { handler: running.handler, tookMs: now() - running.begunMs, ended: false };
  }

  /** Resolves when no control is running. */
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
    // Only the start counts: pods shape the list before it, and the kubelet may be in the way of the removal.
    const begunMs = now();
    const started = client.runSandbox(config, handler, { timeoutMs: null }).then(
      (id) => ({ id, result: { handler, tookMs: now() - begunMs, ended: true } }),
      (error: unknown) => ({
        id: undefined,
        result: { handler, tookMs: now() - begunMs, ended: true, error },
      }),
    );
    const removed = started.then(({ id }) => this.#remove(id));
    return { handler, begunMs, started: started.then(({ result }) => result), removed };
  }

  /** Like the probe's, the boot is never cancelled; a sandbox that stays is cleared up by the next sweep. */
  async #remove(id: string | undefined): Promise<void> {
    const left = id === undefined ? undefined : await tearDown(this.#options, id).catch(() => 'stays');
    if (left !== undefined) this.#restUntilMs = this.#options.now() + REST_MS;
    this.#running = undefined;
  }
}
