import { waitFor } from '../async.ts';
import type { CriClient } from '../cri/client.ts';
import type { BootOptions } from './boot.ts';
import { tearDown } from './boot.ts';
import type { ControlResult } from './outcome.ts';
import { findPlace, newSandbox } from './sandbox.ts';

type Running = { readonly handler: string; readonly begunMs: number; readonly ended: Promise<ControlResult> };

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
    const result = await waitFor(running.ended, this.#waitMs, signal);
    signal.throwIfAborted();
    return result ?? { handler: running.handler, tookMs: now() - running.begunMs, ended: false };
  }

  /** Resolves when no control is running. */
  async finish(): Promise<void> {
    await this.#running?.ended;
  }

  async #start(client: CriClient, proven: string, signal: AbortSignal): Promise<Running | undefined> {
    const { runtimes } = await client.status(signal);
    const names = [...runtimes].flatMap(([name, { runtimeType }]) =>
      name !== proven && runtimeType === RUNC ? name : [],
    );
    const handler = names.includes('runc') ? 'runc' : names[0];
    if (handler === undefined) return undefined;
    const begunMs = this.#options.now();
    return { handler, begunMs, ended: this.#boot(handler, begunMs) };
  }

  /** Like the probe's, its boot is never cancelled; one that leaves something is cleared up by the next sweep. */
  async #boot(handler: string, begunMs: number): Promise<ControlResult> {
    const { client, now, owner, ownPod } = this.#options;
    let result: ControlResult;
    try {
      const config = newSandbox(await findPlace(client, ownPod), owner);
      const id = await client.runSandbox(config, handler, { timeoutMs: null });
      result = { handler, tookMs: now() - begunMs, ended: true };
      const left = await tearDown(this.#options, id).catch(() => 'stays');
      if (left !== undefined) this.#restUntilMs = now() + REST_MS;
    } catch (error) {
      result = { handler, tookMs: now() - begunMs, ended: true, error };
    }
    this.#running = undefined;
    return result;
  }
}
