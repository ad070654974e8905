import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { REPO } from '../../hack/paths.ts';
import { patient, waitFor } from '../../hack/run.ts';
import type { Report } from '../../lib/report/report.ts';
import type { Verdict } from '../../lib/report/verdict.ts';
import { RUNSC_CONFIG, RUNSC_TOML } from './config.ts';
import type { ClusterNode } from './node.ts';

/** A change of the published verdict; `atMs` is the time of `performance.now` when it was read. */
export type SeenVerdict = Verdict & { readonly atMs: number };

/** The command and environment of an agent. Paths are relative to the repository. */
export type AgentProgram = {
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string>>;
};

const FROM_SOURCE: AgentProgram = { command: [process.execPath, 'agent/main.ts'], env: {} };

/** The bundle and the Node binary of the image, with the image's flags and environment. Needs `bundle()`. */
export function programOfImage(): AgentProgram {
  const dockerfile = readFileSync(join(REPO, 'Dockerfile'), 'utf8');
  const instruction = (name: string) => new RegExp(`^${name} (.*)$`, 'm').exec(dockerfile)?.[1] ?? '';
  const entrypoint = JSON.parse(instruction('ENTRYPOINT')) as string[];
  return {
    command: entrypoint.map((word) => word.replace(/^\/(usr\/local\/bin|app)\//, 'dist/')),
    env: Object.fromEntries(
      instruction('ENV')
        .split(' ')
        .map((setting) => setting.split('=')),
    ),
  };
}

/** The environment of an agent that evaluates a cluster's node from outside. */
export function outsideEnv(node: ClusterNode) {
  return {
    PATH: process.env.PATH,
    NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE,
    HOST_ROOT: node.path('').replace(/\/$/, ''),
    NODE_NAME: node.name,
    PUBLISH: '',
  };
}

/** An agent that evaluates a cluster's node from outside, as a child process. */
export class OutsideAgent {
  /** All published changes, oldest first, without those of additional handlers. */
  readonly changes: SeenVerdict[] = [];
  /** Its lines about pods, oldest first. */
  readonly evidence: Readonly<Record<string, unknown>>[] = [];
  readonly startedMs = performance.now();
  readonly #child: ChildProcess;
  readonly #listeners = new Set<() => void>();
  readonly #output: string[] = [];
  #port: number | undefined;

  constructor(node: ClusterNode, env: Readonly<Record<string, string>> = {}, program = FROM_SOURCE) {
    const [file = '', ...args] = program.command;
    this.#child = spawn(file, args, {
      cwd: REPO,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...outsideEnv(node), LISTEN_ADDRESS: '127.0.0.1:0', ...program.env, ...env },
    });
    this.#child.on('error', () => {}); // `change` rejects
    this.#child.on('exit', () => this.#notify());
    const { stdout, stderr } = this.#child;
    if (stdout === null || stderr === null) throw new Error('The agent has no output');
    createInterface({ input: stdout }).on('line', (line) => this.#read(line));
    createInterface({ input: stderr }).on('line', (line) => {
      this.#output.push(line);
      if (line.startsWith('{')) this.evidence.push(JSON.parse(line));
    });
  }

  get pid(): number {
    const { pid } = this.#child;
    if (pid === undefined) throw new Error('The agent did not start');
    return pid;
  }

  #read(line: string): void {
    this.#output.push(line);
    const { msg, status, reason, message, handler, listening } = JSON.parse(line) as LogLine;
    if (listening !== undefined) this.#port = listening.port;
    if (msg === 'verdict changed' && handler === undefined)
      this.changes.push({ status, reason, message, atMs: performance.now() });
    this.#notify();
  }

  #notify(): void {
    for (const listener of this.#listeners) listener();
  }

  /** The first change from index `from` on that `matches` accepts. Rejects on timeout and if the agent exits. */
  async change(
    from: number,
    matches: (change: SeenVerdict) => boolean,
    timeoutMs = 60_000,
  ): Promise<SeenVerdict> {
    const found = Promise.withResolvers<SeenVerdict>();
    const check = () => {
      const change = this.changes.slice(from).find(matches);
      if (change !== undefined) found.resolve(change);
      else if (this.#hasEnded) found.reject(new Error(`The agent ended:\n${this.#tail()}`));
    };
    const onTimeout = () =>
      found.reject(new Error(`No such verdict in ${patient(timeoutMs)} ms:\n${this.#tail()}`));
    const timer = setTimeout(onTimeout, patient(timeoutMs));
    this.#listeners.add(check);
    check();
    try {
      return await found.promise;
    } finally {
      clearTimeout(timer);
      this.#listeners.delete(check);
    }
  }

  /** Waits until the published verdict is proven. */
  async proven(timeoutMs?: number): Promise<SeenVerdict> {
    const last = this.changes.at(-1);
    if (last?.reason === 'SandboxProven') return last;
    return this.change(this.changes.length, ({ reason }) => reason === 'SandboxProven', timeoutMs);
  }

  /** Where it serves its report and metrics. */
  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** Its report; undefined before the first evaluation. */
  async report(): Promise<Report | undefined> {
    const response = await fetch(`${this.url}/report`);
    return response.ok ? ((await response.json()) as Report) : undefined;
  }

  /** Waits for a report that `matches` accepts, of an evaluation that ends after this call. */
  async nextReport(matches: (report: Report) => boolean): Promise<Report> {
    const since = Date.now();
    const next = async () => {
      const report = await this.report();
      const isNext = report !== undefined && Date.parse(report.evaluation.at) > since && matches(report);
      return isNext ? report : undefined;
    };
    return waitFor('an evaluation of the agent', 60_000, next, 20);
  }

  get #hasEnded(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  #tail(): string {
    return this.#output.slice(-8).join('\n');
  }

  /** Stops the agent and waits for its exit. */
  async stop(signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<void> {
    if (this.#hasEnded) return;
    const exit = once(this.#child, 'exit');
    this.#child.kill(signal);
    await exit;
  }
}

type LogLine = Verdict & {
  readonly msg: string;
  readonly handler?: string;
  readonly listening?: { readonly port: number };
};

/** Triggers an evaluation by rewriting a watched file. */
export async function touch(node: ClusterNode): Promise<void> {
  await node.write(RUNSC_CONFIG, RUNSC_TOML);
}

/** Start of a report's evaluation, wall clock milliseconds. */
export function evaluationStartMs({ evaluation }: Pick<Report, 'evaluation'>): number {
  return Date.parse(evaluation.at) - evaluation.durationMs;
}
