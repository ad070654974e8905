import timers from 'node:timers/promises';
import { waitUpTo } from '../async.ts';
import { readPressure } from '../host/pressure.ts';
import { type BootOptions, boot } from './boot.ts';
import { Control } from './control.ts';
import {
  type ControlResult,
  inconclusive,
  type Outcome,
  outcomeOfControl,
  type Unproven,
} from './outcome.ts';
import { type SweepOptions, sweepForgotten, sweepSandboxes } from './sandbox.ts';
import type { Witness } from './witness.ts';

/** What a prover needs besides the boot's own; times in milliseconds. */
export type ProverOptions = BootOptions &
  OrphansOptions & {
    /** Called when a boot ends that no look waits for. */
    readonly onEnd: () => void;
    /** How long a look waits for a boot before it goes on without, */
    readonly patienceMs?: number;
    /** and how long a boot may take before sandboxes count as hanging, unless runc's are as slow. */
    readonly hangMs?: number;
    /** How long a control is waited for. */
    readonly controlMs?: number;
  };

/**
 * Measured: 0.3 s on an idle node, 2 to 6 s on one that is ten times slower, and twice that where the kubelet stopped the
 * first sandbox. A look that waits sees nothing else.
 */
const PATIENCE_MS = 15_000;
/**
 * The kubelet gives up on a sandbox that does not start after twice its runtimeRequestTimeout.
 * Source: https://github.com/kubernetes/kubernetes/blob/v1.36.3/staging/src/k8s.io/cri-client/pkg/remote_runtime.go
 */
const HANG_MS = 240_000;
/** A boot that takes more than this many times as long as runc's is not slow because of the node. Measured: 1 to 3 times. */
const MAX_RATIO = 10;
/** So many boots that hang, or whose sandbox stays, are left to themselves before another begins, and after that one an hour. */
const MOST_HANGING = 3;
const RETRY_HANGING_MS = 3_600_000;

/**
 * `begunMs`: when the sandbox was `asked` for; while earlier probes are still swept away, when that began. `left` is aborted
 * when the boot is left to itself: it sweeps no more, and makes no further attempt.
 */
type Boot = { begunMs: number; asked: boolean; done?: Done; ended: Promise<void>; left: AbortController };
type Done = { readonly outcome: Outcome; readonly atMs: number };

/**
 * Proves, and remembers what proofs showed. A look waits for a boot only so long; one that takes longer goes on, and its
 * end is taken by the next look. Beside the one that is waited for, up to three that were given up may go on.
 */
export class Prover {
  readonly #options: ProverOptions;
  readonly #leftovers: Orphans;
  readonly #control: Control;
  #boot: Boot | undefined;
  #waiting = false;
  #witness: Witness | undefined;
  /** Boots that were given up on; their sandboxes are removed when they end after all. */
  #hanging = 0;
  #hungMs: number | undefined;
  /** How the last boot ended, if nothing has changed since. */
  #last: Done | undefined;
  /** When something last changed. */
  #changedMs = Number.NEGATIVE_INFINITY;

  constructor(options: ProverOptions) {
    this.#options = options;
    this.#leftovers = new Orphans(options);
    this.#control = new Control(options, options.controlMs ?? PATIENCE_MS);
  }

  /** What the last proof showed. */
  get witness(): Witness | undefined {
    return this.#witness;
  }

  /** Tells that something happened on the node: a boot that runs says nothing of it, and it may have repaired what hung. */
  changed(): void {
    this.#changedMs = this.#options.now();
    this.#last = undefined;
  }

  /** The outcome of the running boot, or of a new one. Rejects when the signal is aborted. */
  async prove(signal: AbortSignal): Promise<Outcome> {
    signal.throwIfAborted();
    if (this.#boot === undefined && !this.#mayBegin()) return this.#hangs();
    this.#boot ??= this.#begin();
    let running = this.#boot;
    await this.#waitFor(running, signal);
    if (this.#isPast(running) && this.#isOver(running)) {
      running = this.#boot = this.#begin();
      await this.#waitFor(running, signal);
    }
    if (running.done === undefined) return this.#unfinished(running, signal);
    this.#boot = undefined;
    this.#hungMs = undefined;
    const { outcome } = running.done;
    if (outcome.kind === 'proven') this.#witness = outcome.witness;
    return outcome;
  }

  async #waitFor(running: Boot, signal: AbortSignal): Promise<void> {
    const { now, patienceMs = PATIENCE_MS } = this.#options;
    this.#waiting = true;
    await waitUpTo(running.ended, Math.max(running.begunMs + patienceMs - now(), 0), signal);
    this.#waiting = false;
    signal.throwIfAborted();
  }

  /** Whether a boot says nothing about the present state: something has changed since it began, or it ended long ago. */
  #isPast({ begunMs, done }: Boot): boolean {
    const { now, hangMs = HANG_MS } = this.#options;
    return begunMs < this.#changedMs || (done !== undefined && now() - done.atMs > hangMs);
  }

  /**
   * Whether a new boot may replace this one.
   * Measured: if runsc is removed while containerd creates a sandbox, it answers four minutes later.
   */
  #isOver(running: Boot): boolean {
    if (running.done !== undefined) return true;
    if (this.#hanging >= MOST_HANGING) return false;
    this.#leave(running);
    return true;
  }

  /** Gives up on a boot; its sandbox is removed when it ends after all. */
  #leave(running: Boot): void {
    this.#hanging += 1;
    running.left.abort();
    this.#boot = undefined;
    void running.ended.then(() => {
      this.#hanging -= 1;
    });
  }

  /** Waits for the boot that runs, but no longer than that: an agent that ends in the middle of one cuts it off. */
  async finish(mostMs: number): Promise<void> {
    const ended = Promise.all([this.#boot?.ended, this.#control.finish()]);
    await Promise.race([ended, timers.setTimeout(mostMs, undefined, { ref: false })]);
  }

  /**
   * The same failure where a sandbox of runc starts; an impossible proof where it does not, since the node is to blame
   * then. Rejects when the signal is aborted.
   */
  async compare(failed: Unproven, signal: AbortSignal): Promise<Outcome> {
    const control = await this.#control.run(signal);
    return control === undefined || (control.ended && control.error === undefined)
      ? failed
      : outcomeOfControl(control, failed);
  }

  #begin(): Boot {
    const { now, onEnd } = this.#options;
    const left = new AbortController();
    const signal = AbortSignal.any([this.#options.signal, left.signal]);
    const sweptAway = this.#sweep(signal).catch(inconclusive);
    const running: Boot = {
      begunMs: now(),
      asked: false,
      left,
      ended: sweptAway.then(async (held) => {
        running.begunMs = now();
        running.asked = held === undefined;
        const outcome = held ?? (await boot({ ...this.#options, signal }));
        running.done = { outcome, atMs: now() };
        if (running.asked) this.#heed(running, outcome);
        if (!this.#waiting) onEnd();
      }),
    };
    return running;
  }

  /** Remembers how a boot ended, for the next; one that was left or began before a change frees or holds none. */
  #heed(running: Boot, outcome: Outcome): void {
    if (outcome.kind !== 'proven' || running === this.#boot) this.#leftovers.note(outcome);
    if (running === this.#boot) this.#last = this.#isPast(running) ? undefined : running.done;
  }

  /** Removes what earlier probes left; an outcome where no other may begin. */
  async #sweep(signal: AbortSignal): Promise<Outcome | undefined> {
    // A boot that hangs has a container that must not be swept away.
    await this.#leftovers.sweep(this.#hanging === 0, signal);
    const last = this.#last;
    if (last === undefined || this.#leftovers.grown < MOST_HANGING) return undefined;
    // One more would stay as well, and the agent itself would fill a broken node.
    return this.#options.now() - last.atMs < RETRY_HANGING_MS ? last.outcome : undefined;
  }

  async #unfinished(running: Boot, signal: AbortSignal): Promise<Outcome> {
    const { host, now, hangMs = HANG_MS } = this.#options;
    const control = running.asked ? await this.#control.run(signal) : undefined;
    const forMs = now() - running.begunMs;
    const tolerated = running.asked
      ? control !== undefined && forMs < control.tookMs * MAX_RATIO
      : (await readPressure(host)) !== undefined;
    if (this.#hungMs !== undefined && forMs < hangMs && !tolerated) return this.#hangs();
    if (!running.asked || forMs < hangMs || tolerated) {
      const what = running.asked ? 'a sandbox has been booting' : 'earlier probes have been swept away';
      const message = `${what} for ${Math.round(forMs / 1_000)} s${running.asked ? beside(control) : ''}`;
      return { kind: 'slow', reason: 'SandboxSlow', message, tolerated };
    }
    this.#leave(running);
    this.#hungMs = now();
    return this.#hangs();
  }

  #mayBegin(): boolean {
    const lastMs = this.#hungMs ?? Number.NEGATIVE_INFINITY;
    const isOver = this.#changedMs >= lastMs || this.#options.now() - lastMs >= RETRY_HANGING_MS;
    return this.#hanging < MOST_HANGING || isOver;
  }

  #hangs(): Outcome {
    const { hangMs = HANG_MS } = this.#options;
    const message = `no sandbox booted within ${Math.round(hangMs / 1_000)} s, after which the kubelet gives up on a pod's; ${this.#hanging} of them still hang`;
    return { kind: 'failed', reason: 'SandboxHangs', message };
  }
}

/** The control's part of a message. */
function beside(control: ControlResult | undefined): string {
  if (control === undefined) return '; there is no sandbox of runc to compare it with';
  const { handler, ended, tookMs } = control;
  return `; one of handler "${handler}" ${ended ? 'started in' : 'has been starting for'} ${(tookMs / 1_000).toFixed(1)} s`;
}

/** Where probes leave something, and who hears of it. */
export type OrphansOptions = SweepOptions & {
  /** Called with how many sandboxes of earlier probes containerd cannot remove, when that changes. */
  readonly onLeft: (left: number) => void;
};

/** What probes leave on the node: removes it, and remembers what does not go. */
export class Orphans {
  readonly #options: OrphansOptions;
  #left = 0;
  /** How many there were before the latest boots. */
  #before = Number.POSITIVE_INFINITY;
  /** Whether the last boot proved, so that its sandbox should be gone. */
  #proved = false;
  /** Those that the CRI does not list. They are looked for where a boot may have left one: at the start, by a predecessor. */
  #forgotten: readonly string[] | undefined;
  #mayHaveForgotten = true;

  constructor(options: OrphansOptions) {
    this.#options = options;
  }

  /** How many of the latest boots have left something that does not go. */
  get grown(): number {
    return Math.max(this.#left - this.#before, 0);
  }

  /** Heeds how a boot ended. */
  note({ kind }: Outcome): void {
    this.#proved = kind === 'proven';
    if (!this.#proved) this.#mayHaveForgotten = true;
  }

  /**
   * Removes what goes, also what the CRI forgot where `forgotten` allows that. Rejects when containerd does not list its
   * sandboxes; where it does not list its containers in time, they are looked for again the next time.
   */
  async sweep(forgotten: boolean, signal: AbortSignal): Promise<void> {
    const { onLeft } = this.#options;
    const sandboxes = await sweepSandboxes(this.#options, signal);
    if (forgotten && this.#mayHaveForgotten) {
      const found = await sweepForgotten(this.#options, signal).catch(() => undefined);
      this.#mayHaveForgotten = found === undefined || found.inUse || found.left.length > 0;
      // What is found only now is a predecessor's.
      if (this.#forgotten === undefined && found !== undefined) this.#before = Number.POSITIVE_INFINITY;
      this.#forgotten = found?.left ?? this.#forgotten;
    }
    const left = new Set([...sandboxes, ...(this.#forgotten ?? [])]).size;
    // What stays though another came and went is not of the latest.
    if (this.#proved && left <= this.#left) this.#before = left;
    this.#proved = false;
    if (left !== this.#left) onLeft(left);
    this.#left = left;
    this.#before = Math.min(this.#before, left);
  }
}
