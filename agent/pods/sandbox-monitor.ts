import timers from 'node:timers/promises';
import type { Logger } from 'pino';
import { repeat } from '../../lib/base/async.ts';
import type { Host } from '../../lib/host/host.ts';
import { readPressure } from '../../lib/host/pressure.ts';
import {
  type Judgement,
  judgeSandboxes,
  type KnownProblems,
  type Observation,
} from '../../lib/sandboxes/judge.ts';
import { MAX_PROBLEMS, type SandboxesReport, type SandboxProblem } from '../../lib/sandboxes/problem.ts';
import type { SandboxScanner } from '../../lib/sandboxes/scanner.ts';

const SCAN_MS = 30_000;
/** A scan of many slow shims takes long, and an old answer is none. */
const MAX_REST_MS = 60_000;
/** Two scans failed or took long. */
export const STALE_MS = MAX_REST_MS + 2 * SCAN_MS;
/** The node's first verdict comes first. */
const START_MS = 5_000;

export type SandboxMonitorOptions = {
  readonly scanner: Pick<SandboxScanner, 'scan' | 'close'>;
  readonly host: Host;
  /** Must not throw. */
  readonly onScan?: ((scanned: ScannedSandboxes) => void) | undefined;
  readonly log: Logger;
  readonly wallMs: () => number;
  readonly everyMs?: number;
  readonly startMs?: number;
};

export type ScannedSandboxes = Pick<Judgement, 'problems' | 'restart'> & Pick<Observation, 'atMs'>;

/** Scans periodically and after each change, and logs what changes. */
export class SandboxMonitor {
  readonly #options: SandboxMonitorOptions;
  #memory: KnownProblems = new Map();
  #last: ScannedSandboxes | undefined;
  #changedMs = 0;
  #wake = new AbortController();

  constructor(options: SandboxMonitorOptions) {
    this.#options = options;
  }

  async run(signal: AbortSignal): Promise<void> {
    const { scanner, everyMs = SCAN_MS, startMs = START_MS, log, onScan } = this.#options;
    await timers.setTimeout(startMs, undefined, { signal }).catch(() => {});
    const onProblem = (line: string) => log.warn(`cannot scan the sandboxes of this node: ${line}`);
    const turn = async () => {
      const before = this.#last?.problems ?? [];
      const scanned = await this.scan(signal);
      this.#logChanges(before, scanned.problems);
      onScan?.(scanned);
    };
    const wake = () => {
      this.#wake = new AbortController();
      return this.#wake.signal;
    };
    await repeat(turn, { everyMs, maxRestMs: MAX_REST_MS, signal, wake, onProblem });
    scanner.close();
  }

  /** It is not known until the next scan whether a restart of containerd is safe. */
  changed(): void {
    this.#changedMs = this.#options.wallMs();
    this.#wake.abort();
  }

  async scanOnce(signal: AbortSignal): Promise<SandboxesReport | undefined> {
    await this.scan(signal);
    this.#options.scanner.close();
    return this.report();
  }

  report(): SandboxesReport | undefined {
    if (this.#last === undefined) return undefined;
    const { problems, restart, atMs } = this.#last;
    const stale = this.#options.wallMs() - atMs > STALE_MS;
    const unknown = stale
      ? 'the sandboxes could not be scanned for some minutes'
      : this.#changedMs > atMs && 'something changed on the node, and the sandboxes are being scanned again';
    return {
      at: new Date(atMs).toISOString(),
      stale,
      problems: problems.slice(0, MAX_PROBLEMS),
      total: problems.length,
      restart: unknown ? { state: 'unknown', because: [unknown] } : restart,
    };
  }

  async scan(signal: AbortSignal): Promise<ScannedSandboxes> {
    const { scanner, host } = this.#options;
    const observation = await scanner.scan(signal);
    let judgement = judgeSandboxes(observation, this.#memory, false);
    const isNew = [...judgement.memory].some(
      ([key, { reported }]) => reported && !this.#memory.get(key)?.reported,
    );
    // Measured only when it matters.
    if (isNew && (await readPressure(host)) !== undefined)
      judgement = judgeSandboxes(observation, this.#memory, true);
    this.#memory = judgement.memory;
    this.#last = { ...judgement, atMs: observation.atMs };
    return this.#last;
  }

  #logChanges(before: readonly SandboxProblem[], after: readonly SandboxProblem[]): void {
    const { log } = this.#options;
    const isIn = (list: readonly SandboxProblem[], { reason, sandbox, since }: SandboxProblem) =>
      list.some((other) => other.reason === reason && other.sandbox === sandbox && other.since === since);
    for (const problem of after.filter((each) => !isIn(before, each)).slice(0, MAX_LOGGED))
      log.warn(problem, 'a sandbox has a problem');
    for (const { reason, sandbox } of before.filter((each) => !isIn(after, each)).slice(0, MAX_LOGGED))
      log.info({ reason, sandbox }, 'the problem of a sandbox has ended');
  }
}

const MAX_LOGGED = 20;
