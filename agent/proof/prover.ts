import timers from 'node:timers/promises';
import { waitUpTo } from '../../lib/base/async.ts';
import { readPressure } from '../../lib/host/pressure.ts';
import { Orphans, type OrphansOptions } from '../../lib/proof/orphans.ts';
import {
  comparison,
  inconclusive,
  isAsSlow,
  type Outcome,
  outcomeOfControl,
  outcomeOfSlowNode,
  type Unproven,
} from '../../lib/proof/outcome.ts';
import { type ProbeOptions, runProbe } from '../../lib/proof/probe.ts';
import { REQUEST_MS, type Witness } from '../../lib/proof/witness.ts';
import { Control } from './control.ts';
import { ProofTurns } from './turns.ts';

export type ProverOptions = ProbeOptions &
  OrphansOptions & {
    /** Called for a probe that ends while no `prove` waits. */
    readonly onLateEnd: () => void;
    /** Wait of `prove`, counted from the probe's start. */
    readonly waitMs?: number;
    /** After this a probe counts as hanging, unless runc is as slow. */
    readonly hangMs?: number;
    readonly controlWaitMs?: number;
    /** Shared with the provers of other handlers. */
    readonly turns?: ProofTurns;
  };

/** Measured: 0.3 s on an idle node, 2 to 6 s on one ten times slower, twice that after an interruption. */
const WAIT_MS = 15_000;
/**
 * Twice the kubelet's runtimeRequestTimeout, after which it gives up. Source:
 * https://github.com/kubernetes/kubernetes/blob/v1.36.3/staging/src/k8s.io/cri-client/pkg/remote_runtime.go
 */
const HANG_MS = 240_000;
/** Beyond this many times the last proven boot, a boot must be compared with runc's. */
const MAX_OWN_RATIO = 2;
/** runsc has made the sandbox's cgroup, and the sentry or the gofer ended while it started. */
const LEAVES_CGROUP = /cannot create (?:sandbox|gofer process)/;
/** Limit of abandoned probes and of recent orphans; beyond it, one probe an hour. */
const MAX_ABANDONED = 3;
const RETRY_MS = 3_600_000;
/** More than end between two reads of the pods. */
const MAX_RUNS = 16;
/** A file event may be handled after the response that it precedes. */
const EVENT_DELAY_MS = 1_000;

/** Running, or ended and not yet collected. */
type RunningProbe = {
  /** Reset once its sweep is over and its turn has come. */
  startedMs: number;
  /** False until then. */
  starting: boolean;
  /** Since when a sandbox boots and is examined; undefined while none is. */
  sandboxMs?: number | undefined;
  /** The longest that one of its sandboxes took for that. */
  longestMs: number;
  result?: ProbeResult;
  readonly ended: Promise<void>;
  /** Aborts further sweeps and attempts, not the running call. */
  readonly abandoned: AbortController;
};
type ProbeResult = { readonly outcome: Outcome; readonly atMs: number };

/**
 * Runs one probe at a time. A probe slower than `prove` waits is collected by the next `prove`; one that
 * hangs or is obsolete is abandoned, and its sandbox removed if it ever ends. Limits keep abandoned probes
 * and orphans from filling a node.
 */
export class Prover {
  readonly #options: ProverOptions & Required<Pick<ProverOptions, 'waitMs' | 'hangMs' | 'turns'>>;
  readonly #orphans: Orphans;
  readonly #control: Control;
  /** The probe that the next `prove` collects. */
  #current: RunningProbe | undefined;
  #awaited = false;
  /** Number of abandoned probes that still run. */
  #abandoned = 0;
  /** Undefined once a probe has ended since. */
  #hungMs: number | undefined;
  /** Undefined if something has changed since. */
  #last: ProbeResult | undefined;
  #changedMs = Number.NEGATIVE_INFINITY;
  #witness: Witness | undefined;
  /** When the last probes and controls began and ended. */
  #runs: readonly (readonly [fromMs: number, toMs: number])[] = [];
  #provenBootMs = 0;
  /** A control whose result nobody awaits. */
  #podMade: Promise<unknown> = Promise.resolve();

  constructor(options: ProverOptions) {
    this.#options = { waitMs: WAIT_MS, hangMs: HANG_MS, turns: new ProofTurns(), ...options };
    this.#orphans = new Orphans(options);
    this.#control = new Control(options, {
      waitMs: options.controlWaitMs ?? WAIT_MS,
      onEnd: (fromMs) => this.#noteRun(fromMs),
    });
  }

  /** Witness of the last probe that was proven. */
  get witness(): Witness | undefined {
    return this.#witness;
  }

  /** Whether a probe or control ran then that has ended. */
  ranAt(ms: number): boolean {
    return this.#runs.some(([fromMs, toMs]) => fromMs <= ms && ms <= toMs + EVENT_DELAY_MS);
  }

  #noteRun(fromMs: number): void {
    this.#runs = [[fromMs, this.#options.now()] as const, ...this.#runs].slice(0, MAX_RUNS);
  }

  /** A change on the node makes a running probe obsolete and may have repaired a hang. */
  changed(): void {
    this.#changedMs = this.#options.now();
    this.#last = undefined;
  }

  /** Rejects when the signal is aborted. */
  async prove(signal: AbortSignal): Promise<Outcome> {
    signal.throwIfAborted();
    if (this.#current === undefined && !this.#mayStart()) return this.#hangs();
    this.#current ??= this.#start();
    let probe = this.#current;
    await this.#waitFor(probe, signal);
    if (this.#isObsolete(probe) && (probe.result !== undefined || this.#abandoned < MAX_ABANDONED)) {
      // Measured: removing runsc while containerd creates a sandbox makes the call take four minutes.
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
    // The next boot that fails then leaves no cgroup.
    if (LEAVES_CGROUP.test(outcome.message) && !this.#control.madePod)
      this.#podMade = this.#control.run(signal).catch(() => {});
    return outcome;
  }

  /**
   * `cleared` if runc's sandbox starts, inconclusive if it does not, `failed` without a control. What took too long is
   * tolerated if runc's takes long too.
   */
  async compare(failed: Unproven, cleared: Outcome, signal: AbortSignal): Promise<Outcome> {
    const isLate = failed.kind === 'stuck' || failed.reason === 'CheckTimedOut';
    const control = await this.#control.run(signal, failed.kind === 'stuck' ? 'removed' : 'started');
    if (control === undefined) return failed;
    if (isLate && isAsSlow(control, REQUEST_MS)) return outcomeOfSlowNode(control, failed);
    if (isLate) return failed;
    return control.ended && control.error === undefined ? cleared : outcomeOfControl(control, failed);
  }

  /** Keeps the agent from exiting in the middle of a call. */
  async finish(timeoutMs: number): Promise<void> {
    const ended = Promise.all([this.#current?.ended, this.#podMade.then(() => this.#control.finish())]);
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
      longestMs: 0,
      abandoned,
      ended: swept.then(async (refusal) => {
        const run = () => {
          probe.startedMs = now();
          probe.starting = true;
          const onSandbox = (fromMs: number, toMs?: number) => {
            probe.sandboxMs = toMs === undefined ? fromMs : undefined;
            probe.longestMs = Math.max(probe.longestMs, (toMs ?? fromMs) - fromMs);
          };
          return runProbe({ ...this.#options, inPod: this.#control.madePod, signal, onSandbox });
        };
        const outcome = refusal ?? (await turns.run(run));
        probe.result = { outcome, atMs: now() };
        if (probe.starting) {
          this.#noteRun(probe.startedMs);
          this.#record(probe, outcome);
        }
        if (!this.#awaited) onLateEnd();
      }),
    };
    return probe;
  }

  /** Resolves with the last outcome if orphans must not become more. */
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
    const { now, waitMs } = this.#options;
    this.#awaited = true;
    await waitUpTo(probe.ended, Math.max(probe.startedMs + waitMs - now(), 0), signal);
    this.#awaited = false;
    signal.throwIfAborted();
  }

  #isObsolete({ startedMs, result }: RunningProbe): boolean {
    const { now, hangMs } = this.#options;
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

  /**
   * Slow until one of its sandboxes takes as long as the kubelet waits for a pod's, or longer if runc's is slow as
   * well. What comes before and after has deadlines of its own, and is judged when it ends.
   */
  async #judgeUnfinished(probe: RunningProbe, signal: AbortSignal): Promise<Outcome> {
    const { host, now, hangMs } = this.#options;
    const { starting } = probe;
    const control = starting ? await this.#control.run(signal) : undefined;
    const forMs = starting
      ? Math.max(probe.longestMs, now() - (probe.sandboxMs ?? now()))
      : now() - probe.startedMs;
    const usualMs = Math.min(this.#provenBootMs * MAX_OWN_RATIO, hangMs);
    const isExplained =
      control === undefined ? (await readPressure(host)) !== undefined : isAsSlow(control, forMs);
    const tolerated = isExplained || (starting && forMs < usualMs);
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
    const { hangMs } = this.#options;
    const message = `no sandbox booted within ${Math.round(hangMs / 1_000)} s, after which the kubelet gives up on a pod's; ${this.#abandoned} of them still hang`;
    return { kind: 'failed', reason: 'SandboxHangs', message };
  }
}
