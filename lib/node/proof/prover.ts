import timers from 'node:timers/promises';
import { waitUpTo } from '../../base/async.ts';
import { readPressure } from '../host/pressure.ts';
import { Control } from './control.ts';
import { Orphans, type OrphansOptions } from './orphans.ts';
import {
  type ControlResult,
  inconclusive,
  type Outcome,
  outcomeOfControl,
  type Unproven,
} from './outcome.ts';
import { type ProbeOptions, runProbe } from './probe.ts';
import { Turns } from './turns.ts';
import type { Witness } from './witness.ts';

/** Options of a prover; times are in milliseconds. */
export type ProverOptions = ProbeOptions &
  OrphansOptions & {
    /** Called when a probe ends while no `prove` waits for it. */
    readonly onLateEnd: () => void;
    /** How long `prove` waits for a probe, from the probe's start. */
    readonly waitMs?: number;
    /** Duration after which a probe counts as hanging, unless runc is as slow. */
    readonly hangMs?: number;
    readonly controlWaitMs?: number;
    /** Shared with the provers of other handlers. */
    readonly turns?: Turns;
  };

/**
 * Measured: 0.3 s on an idle node, 2 to 6 s on one that is ten times slower, and twice that if the kubelet stopped the first
 * sandbox. An evaluation that waits sees no other change.
 */
const WAIT_MS = 15_000;
/**
 * The kubelet gives up on a sandbox that does not start after twice its runtimeRequestTimeout.
 * Source: https://github.com/kubernetes/kubernetes/blob/v1.36.3/staging/src/k8s.io/cri-client/pkg/remote_runtime.go
 */
const HANG_MS = 240_000;
/** A start that takes more than this many times as long as runc's is gVisor's fault. Measured: 1 to 3 times. */
const MAX_RATIO = 10;
/** The same for the last boot that proved the handler, which may always take its minutes. */
const MAX_OWN_RATIO = 2;
/** Limit of abandoned probes, and of orphans added by the latest probes; beyond it, one probe an hour. */
const MAX_ABANDONED = 3;
const RETRY_MS = 3_600_000;

/** A probe that runs, or has ended and was not collected yet. */
type RunningProbe = {
  /** When it began; reset when the sweep before it is over and its turn has come. */
  startedMs: number;
  /** False until then. */
  starting: boolean;
  result?: ProbeResult;
  readonly ended: Promise<void>;
  /** Aborts further sweeps and attempts; the running call is not cancelled. */
  readonly abandoned: AbortController;
};
type ProbeResult = { readonly outcome: Outcome; readonly atMs: number };

/**
 * Runs one probe at a time for the evaluations that ask. `prove` waits only so long for it; a slower probe keeps running
 * and the next `prove` collects it. A probe that hangs, or that a change made obsolete, is abandoned: its sandbox is
 * removed if it ever ends, and meanwhile another may run. Limits keep abandoned probes and orphans from filling a node.
 */
export class Prover {
  readonly #options: ProverOptions & { readonly turns: Turns };
  readonly #orphans: Orphans;
  readonly #control: Control;
  /** The probe that the next `prove` collects. */
  #current: RunningProbe | undefined;
  #awaited = false;
  /** Number of abandoned probes that still run. */
  #abandoned = 0;
  /** When a probe last hung; undefined once one has ended since. */
  #hungMs: number | undefined;
  /** Result of the last probe; undefined if something has changed since. */
  #last: ProbeResult | undefined;
  #changedMs = Number.NEGATIVE_INFINITY;
  #witness: Witness | undefined;
  /** Duration of the last boot that was proven. */
  #provenBootMs = 0;

  constructor(options: ProverOptions) {
    this.#options = { turns: new Turns(), ...options };
    this.#orphans = new Orphans(options);
    this.#control = new Control(options, options.controlWaitMs ?? WAIT_MS);
  }

  /** Witness of the last probe that was proven. */
  get witness(): Witness | undefined {
    return this.#witness;
  }

  /** Reports a change on the node, which makes a running probe obsolete and may have repaired a hang. */
  changed(): void {
    this.#changedMs = this.#options.now();
    this.#last = undefined;
  }

  /** The outcome of the running probe, or of a new one. Rejects when the signal is aborted. */
  async prove(signal: AbortSignal): Promise<Outcome> {
    signal.throwIfAborted();
    if (this.#current === undefined && !this.#mayStart()) return this.#hangs();
    this.#current ??= this.#start();
    let probe = this.#current;
    await this.#waitFor(probe, signal);
    if (this.#isObsolete(probe) && (probe.result !== undefined || this.#abandoned < MAX_ABANDONED)) {
      // Measured: if runsc is removed while containerd creates a sandbox, the call takes four minutes.
      if (probe.result === undefined) this.#abandon(probe);
      probe = this.#current = this.#start();
      await this.#waitFor(probe, signal);
    }
    if (probe.result === undefined) return this.#judgeUnfinished(probe, signal);
    this.#current = undefined;
    this.#hungMs = undefined;
    const { outcome } = probe.result;
    if (outcome.kind === 'proven') {
      this.#witness = outcome.witness;
      this.#provenBootMs = outcome.bootMs;
    }
    return outcome;
  }

  /**
   * Compares a failure with a control: `cleared` if runc's sandbox starts, an inconclusive proof if it does not, since the
   * node is to blame then, and the same failure without a control. Rejects when the signal is aborted.
   */
  async compare(failed: Unproven, cleared: Outcome, signal: AbortSignal): Promise<Outcome> {
    const control = await this.#control.run(signal);
    if (control === undefined) return failed;
    return control.ended && control.error === undefined ? cleared : outcomeOfControl(control, failed);
  }

  /** Waits up to `timeoutMs` for the running probe and control, so that the agent does not exit in the middle of a call. */
  async finish(timeoutMs: number): Promise<void> {
    const ended = Promise.all([this.#current?.ended, this.#control.finish()]);
    await Promise.race([ended, timers.setTimeout(timeoutMs, undefined, { ref: false })]);
  }

  #mayStart(): boolean {
    const hungMs = this.#hungMs ?? Number.NEGATIVE_INFINITY;
    const retry = this.#changedMs >= hungMs || this.#options.now() - hungMs >= RETRY_MS;
    return this.#abandoned < MAX_ABANDONED || retry;
  }

  #start(): RunningProbe {
    const { now, onLateEnd, turns } = this.#options;
    const abandoned = new AbortController();
    const signal = AbortSignal.any([this.#options.signal, abandoned.signal]);
    const swept = this.#sweep(signal).catch(inconclusive);
    const probe: RunningProbe = {
      startedMs: now(),
      starting: false,
      abandoned,
      ended: swept.then(async (refusal) => {
        const run = () => {
          probe.startedMs = now();
          probe.starting = true;
          return runProbe({ ...this.#options, signal });
        };
        const outcome = refusal ?? (await turns.run(run));
        probe.result = { outcome, atMs: now() };
        if (probe.starting) this.#record(probe, outcome);
        if (!this.#awaited) onLateEnd();
      }),
    };
    return probe;
  }

  /** Removes orphans. Resolves with the last outcome if they must not become more. */
  async #sweep(signal: AbortSignal): Promise<Outcome | undefined> {
    // An abandoned probe has a container that the CRI does not list yet.
    await this.#orphans.sweep(this.#abandoned === 0, signal);
    const last = this.#last;
    if (last === undefined || this.#orphans.added < MAX_ABANDONED) return undefined;
    return this.#options.now() - last.atMs < RETRY_MS ? last.outcome : undefined;
  }

  /** An abandoned or obsolete probe may show new orphans, but not that earlier ones are old. */
  #record(probe: RunningProbe, outcome: Outcome): void {
    const isCurrent = probe === this.#current;
    if (outcome.kind !== 'proven' || isCurrent) this.#orphans.record(outcome);
    if (isCurrent) this.#last = this.#isObsolete(probe) ? undefined : probe.result;
  }

  async #waitFor(probe: RunningProbe, signal: AbortSignal): Promise<void> {
    const { now, waitMs = WAIT_MS } = this.#options;
    this.#awaited = true;
    await waitUpTo(probe.ended, Math.max(probe.startedMs + waitMs - now(), 0), signal);
    this.#awaited = false;
    signal.throwIfAborted();
  }

  /** Whether something changed after the probe started, or it ended too long ago. */
  #isObsolete({ startedMs, result }: RunningProbe): boolean {
    const { now, hangMs = HANG_MS } = this.#options;
    return startedMs < this.#changedMs || (result !== undefined && now() - result.atMs > hangMs);
  }

  #abandon(probe: RunningProbe): void {
    this.#abandoned += 1;
    probe.abandoned.abort();
    this.#current = undefined;
    void probe.ended.then(() => {
      this.#abandoned -= 1;
    });
  }

  /** Slow until it takes as long as the kubelet waits for a pod's sandbox, and as long as runc shows the node to be slow. */
  async #judgeUnfinished(probe: RunningProbe, signal: AbortSignal): Promise<Outcome> {
    const { host, now, hangMs = HANG_MS } = this.#options;
    const { starting } = probe;
    const control = starting ? await this.#control.run(signal) : undefined;
    const forMs = now() - probe.startedMs;
    const usualMs = Math.min(this.#provenBootMs * MAX_OWN_RATIO, hangMs);
    const tolerated = starting
      ? forMs < Math.max((control?.tookMs ?? 0) * MAX_RATIO, usualMs)
      : (await readPressure(host)) !== undefined;
    if (this.#hungMs !== undefined && forMs < hangMs && !tolerated) return this.#hangs();
    if (!starting || forMs < hangMs || tolerated) {
      const seconds = Math.round(forMs / 1_000);
      const message = starting
        ? `a sandbox has been booting for ${seconds} s; ${comparison(control)}`
        : `no sandbox could be started for ${seconds} s: earlier ones are being removed, or another handler's boots`;
      return { kind: 'slow', reason: 'SandboxSlow', message, tolerated };
    }
    this.#abandon(probe);
    this.#hungMs = now();
    return this.#hangs();
  }

  #hangs(): Outcome {
    const { hangMs = HANG_MS } = this.#options;
    const message = `no sandbox booted within ${Math.round(hangMs / 1_000)} s, after which the kubelet gives up on a pod's; ${this.#abandoned} of them still hang`;
    return { kind: 'failed', reason: 'SandboxHangs', message };
  }
}

function comparison(control: ControlResult | undefined): string {
  if (control === undefined) return 'there is no sandbox of runc to compare it with';
  const { handler, ended, tookMs } = control;
  return `one of handler "${handler}" ${ended ? 'started in' : 'has been starting for'} ${(tookMs / 1_000).toFixed(1)} s`;
}
