import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { Report } from '../../agent/report.ts';
import type { Verdict } from '../../agent/verdict.ts';
import { RUNSC_CONFIG, RUNSC_TOML } from '../../cluster/node/config.ts';
import type { ClusterNode } from '../../cluster/node/node.ts';
import { REPO } from '../../hack/paths.ts';
import { patient, waitFor } from '../../hack/run.ts';

/** A change of the published verdict, and when it was read here (milliseconds of `performance.now`). */
export type Change = Verdict & { readonly atMs: number };

/** The agent from its sources. */
const FROM_SOURCE = [process.execPath, '--import', 'tsx', 'agent/main.ts'] as const;

/** An agent that judges a cluster's node from outside, as a child process. */
export class OutsideAgent {
  /** Every change that it has published, the oldest first. */
  readonly changes: Change[] = [];
  readonly startedMs = performance.now();
  readonly #child: ChildProcess;
  readonly #listeners = new Set<() => void>();
  readonly #said: string[] = [];
  #port: number | undefined;

  constructor(
    node: ClusterNode,
    env: Readonly<Record<string, string>> = {},
    command: readonly string[] = FROM_SOURCE,
  ) {
    const [program = '', ...args] = command;
    this.#child = spawn(program, args, {
      cwd: REPO,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        PATH: process.env.PATH,
        HOST_ROOT: node.path('').replace(/\/$/, ''),
        NODE_NAME: node.name,
        LISTEN_ADDRESS: '127.0.0.1:0',
        PUBLISH: '',
        ...env,
      },
    });
    this.#child.on('error', () => {}); // a waiting caller learns of the end
    this.#child.on('exit', () => this.#tell());
    const { stdout, stderr } = this.#child;
    if (stdout === null || stderr === null) throw new Error('The agent has no output');
    createInterface({ input: stdout }).on('line', (line) => this.#read(line));
    createInterface({ input: stderr }).on('line', (line) => this.#said.push(line));
  }

  get pid(): number {
    const { pid } = this.#child;
    if (pid === undefined) throw new Error('The agent did not start');
    return pid;
  }

  #read(line: string): void {
    this.#said.push(line);
    const { msg, status, reason, message, listening } = JSON.parse(line) as LogLine;
    if (listening !== undefined) this.#port = listening.port;
    if (msg === 'verdict changed') this.changes.push({ status, reason, message, atMs: performance.now() });
    this.#tell();
  }

  #tell(): void {
    for (const listener of this.#listeners) listener();
  }

  /** The first change from number `from` on that `wanted` accepts. Rejects when the agent ends or time is up. */
  async change(from: number, wanted: (change: Change) => boolean, timeoutMs = 60_000): Promise<Change> {
    const found = Promise.withResolvers<Change>();
    const look = () => {
      const change = this.changes.slice(from).find(wanted);
      if (change !== undefined) found.resolve(change);
      else if (this.#hasEnded) found.reject(new Error(`The agent ended:\n${this.#tail()}`));
    };
    const late = () =>
      found.reject(new Error(`No such verdict in ${patient(timeoutMs)} ms:\n${this.#tail()}`));
    const timer = setTimeout(late, patient(timeoutMs));
    this.#listeners.add(look);
    look();
    try {
      return await found.promise;
    } finally {
      clearTimeout(timer);
      this.#listeners.delete(look);
    }
  }

  /** Waits until the last published verdict is that the sandbox was proven. */
  async proven(timeoutMs?: number): Promise<Change> {
    const last = this.changes.at(-1);
    if (last?.reason === 'SandboxProven') return last;
    return this.change(this.changes.length, ({ reason }) => reason === 'SandboxProven', timeoutMs);
  }

  /** The report that it serves; undefined before the first look has ended. */
  async report(): Promise<Report | undefined> {
    const answer = await fetch(`http://127.0.0.1:${this.#port}/report`);
    return answer.ok ? ((await answer.json()) as Report) : undefined;
  }

  /** Waits for the report of a look that ended after this call and that `wanted` accepts. */
  async nextReport(wanted: (report: Report) => boolean = () => true, timeoutMs = 60_000): Promise<Report> {
    const since = Date.now();
    return waitFor(
      'another look of the agent',
      timeoutMs,
      async () => {
        const report = await this.report();
        return report !== undefined && Date.parse(report.evaluation.at) > since && wanted(report)
          ? report
          : undefined;
      },
      20,
    );
  }

  get #hasEnded(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  #tail(): string {
    return this.#said.slice(-8).join('\n');
  }

  /** Ends the agent and waits until it is gone; harmless when it is. */
  async stop(signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<void> {
    if (this.#hasEnded) return;
    const exit = once(this.#child, 'exit');
    this.#child.kill(signal);
    await exit;
  }
}

type LogLine = Verdict & {
  readonly msg: string;
  readonly listening?: { readonly port: number };
};

/** Makes an agent look: a file that it watches is replaced by one with the same content. */
export async function touch(node: ClusterNode): Promise<void> {
  await node.write(RUNSC_CONFIG, RUNSC_TOML);
}

/** When the look of a report began, wall clock time in milliseconds. */
export function lookBeganMs({ evaluation }: Pick<Report, 'evaluation'>): number {
  return Date.parse(evaluation.at) - evaluation.durationMs;
}
