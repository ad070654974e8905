import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import timers from 'node:timers/promises';
import fc from 'fast-check';
import { applyHysteresis, type HysteresisState } from '../../agent/hysteresis.ts';
import { Prover } from '../../agent/proof/prover.ts';
import type { CriClient } from '../../lib/containerd/client.ts';
import { CriError } from '../../lib/containerd/error.ts';
import type { Host } from '../../lib/host/host.ts';
import { judge } from '../../lib/report/verdict.ts';
import { sandboxArgv } from '../lib/host/fake-process.ts';
import { NEVER } from '../lib/proof/scene.ts';
import { PROVEN_VERDICT } from './reports.ts';

const THRESHOLDS = { confirmMs: 500, graceMs: 60_000 };
const STEP_MS = 250;
const MAX_TOLERATED_MS = 600_000;
const PID = 5_000;

/** How long each request takes, in milliseconds, and how many times as fast runc is. */
type Slowness = {
  readonly boot: number;
  readonly status: number;
  readonly list: number;
  readonly sandbox: number;
  readonly pids: number;
  readonly stop: number;
  readonly remove: number;
  readonly ratio: number;
  /** Whether shims give up, as containerd lets them. */
  readonly shimGivesUp: boolean;
};

const QUICK: Slowness = {
  boot: 300,
  status: 1,
  list: 1,
  sandbox: 1,
  pids: 1,
  stop: 100,
  remove: 10,
  ratio: 1,
  shimGivesUp: false,
};
/** Often just within a deadline, or just beyond it. */
const request = fc.oneof(
  fc.constantFrom(1, 2_900, 3_001, 19_900, 20_001),
  fc.integer({ min: 1, max: 60_000 }),
);
const slowness: fc.Arbitrary<Slowness> = fc.record({
  boot: fc.integer({ min: 300, max: 900_000 }),
  status: request,
  list: request,
  sandbox: request,
  pids: request,
  stop: request,
  remove: request,
  ratio: fc.double({ min: 1, max: 3, noNaN: true }),
  shimGivesUp: fc.boolean(),
});

/** A containerd in which both runtimes take their time, on a node whose CPUs are idle. */
class SlowContainerd {
  slowness = QUICK;
  readonly #sandboxes = new Map<
    string,
    { readonly handler: string; readonly config: object; ready: boolean }
  >();
  #made = 0;

  readonly client = {
    socket: '/run/containerd/containerd.sock',
    version: () => this.#takes('status', { limitMs: 3_000 }),
    status: async () => {
      await this.#takes('status', { limitMs: 3_000 });
      const runtimes = new Map([
        ['runc', { runtimeType: 'io.containerd.runc.v2', options: {} }],
        ['runsc', { runtimeType: 'io.containerd.runsc.v1', options: {} }],
      ]);
      return { runtimeName: 'containerd', runtimeVersion: 'v2.4.2', runtimes };
    },
    call: async (method: string) => {
      await this.#takes('status', { limitMs: 3_000 });
      throw new CriError(method, 'unsupported', 'unknown method');
    },
    listSandboxes: async () => {
      await this.#takes('list', { limitMs: 20_000 });
      return [...this.#sandboxes].map(([id, { config, handler }]) => {
        return { id, ...config, createdAt: 0, state: 'SANDBOX_READY', runtimeHandler: handler };
      });
    },
    listContainers: async () => [],
    runSandbox: async (config: object, handler: string) => {
      await this.#takes('boot', { handler });
      if (this.slowness.shimGivesUp && this.slowness.boot > 10_000)
        throw new CriError('RunPodSandbox', 'refused', 'shim: context deadline exceeded');
      const id = `sandbox-${++this.#made}`;
      this.#sandboxes.set(id, { handler, config, ready: true });
      return id;
    },
    sandbox: async (id: string, { timeoutMs: limitMs = 3_000 } = {}) => {
      await this.#takes('sandbox', { limitMs, handler: this.#sandboxes.get(id)?.handler });
      const found = this.#sandboxes.get(id);
      if (found === undefined) throw new CriError('PodSandboxStatus', 'absent', 'not found');
      const state = found.ready ? 'SANDBOX_READY' : 'SANDBOX_NOTREADY';
      return { state, isContainerds: true, pid: PID, cgroupParent: '', annotations: new Map() };
    },
    listPids: async (id: string, { timeoutMs: limitMs = 3_000 } = {}) => {
      await this.#takes('pids', { limitMs, handler: this.#sandboxes.get(id)?.handler });
      return [1];
    },
    stopSandbox: async (id: string, { timeoutMs: limitMs = 3_000 } = {}) => {
      const found = this.#sandboxes.get(id);
      await this.#takes('stop', { limitMs, handler: found?.handler });
      if (found !== undefined) found.ready = false;
    },
    removeSandbox: async (id: string, { timeoutMs: limitMs = 3_000 } = {}) => {
      await this.#takes('remove', { limitMs, handler: this.#sandboxes.get(id)?.handler });
      this.#sandboxes.delete(id);
    },
  };

  async #takes(
    what: keyof Omit<Slowness, 'ratio' | 'shimGivesUp'>,
    { handler, limitMs }: { readonly handler?: string | undefined; readonly limitMs?: number },
  ): Promise<void> {
    const ms = this.slowness[what] / (handler === 'runc' ? this.slowness.ratio : 1);
    await timers.setTimeout(Math.min(ms, limitMs ?? ms));
    if (ms > (limitMs ?? ms)) throw new CriError(what, 'timeout', `no answer within ${limitMs} ms`);
  }
}

/** A host with the process of any sandbox, whose CPUs are idle. */
function idleHost(): Host {
  let idle = 0;
  const ids = Array.from({ length: 2_000 }, (_, at) => `sandbox-${at}`);
  const files: Readonly<Record<string, () => string>> = {
    '/proc/stat': () => {
      idle += 100;
      return `cpu 0 0 0 ${idle} 0 0 0 0 0 0\n`;
    },
    [`/proc/${PID}/cmdline`]: () => [...sandboxArgv('of any sandbox'), ...ids, ''].join('\0'),
    [`/proc/${PID}/status`]: () => 'PPid:\t1\nUid:\t0\nNSpid:\t5000\t1\nSeccomp:\t2\n',
    [`/proc/${PID}/cgroup`]: () => '0::/\n',
    [`/proc/${PID}/statm`]: () => '1 1 1 3272 0 1 0\n',
    [`/proc/${PID}/stat`]: () => `${PID} (runsc) S 1 1 1 0 -1 4194560 ${'0 '.repeat(14)}\n`,
  };
  return { readText: async (path: string) => files[path]?.() } as unknown as Host;
}

/** How long a label lasts on a node that becomes slow after a proof; undefined if it outlasts the bound. */
async function labelLasts(t: TestContext, slow: Slowness): Promise<string | undefined> {
  let nowMs = 0;
  const containerd = new SlowContainerd();
  const stop = new AbortController();
  let isLate = false;
  const prover = new Prover({
    client: containerd.client as unknown as CriClient,
    host: idleHost(),
    handler: 'runsc',
    now: () => nowMs,
    wallMs: () => nowMs,
    signal: stop.signal,
    owner: 'me',
    onLateEnd: () => {
      isLate = true;
    },
    onOrphans: () => {},
  });
  const pass = async () => {
    nowMs += STEP_MS;
    t.mock.timers.tick(STEP_MS);
    await timers.setImmediate();
  };
  const evaluate = async () => {
    const ending = prover.prove(NEVER).then((outcome) => {
      const isOver = outcome.kind === 'proven' || outcome.kind === 'slow';
      return isOver ? outcome : prover.compare(outcome, outcome, NEVER);
    });
    let ended = false;
    void ending.then(() => {
      ended = true;
    });
    while (!ended) await pass();
    return judge([], await ending);
  };
  assert.equal((await evaluate()).status, 'True');
  containerd.slowness = slow;
  let state: HysteresisState = { published: PROVEN_VERDICT };
  const beganMs = nowMs;
  try {
    while (nowMs - beganMs < MAX_TOLERATED_MS) {
      const verdict = await evaluate();
      const isWithin = nowMs - (state.unproven?.since ?? nowMs) < MAX_TOLERATED_MS;
      const result = applyHysteresis(state, verdict, nowMs, THRESHOLDS);
      state = result.state;
      if (isWithin && state.published?.status !== 'True')
        return `${(nowMs - beganMs) / 1_000} s: ${verdict.reason}: ${verdict.message}`;
      isLate = false;
      const dueMs = nowMs + (result.requeueAfterMs ?? 60_000);
      while (nowMs < dueMs && !isLate) await pass();
    }
    return undefined;
  } finally {
    stop.abort();
  }
}

describe('On a node where runc is as slow as gVisor', () => {
  it('no label goes within ten minutes, in any mix of timeouts', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    await fc.assert(
      fc.asyncProperty(slowness, async (slow) => assert.equal(await labelLasts(t, slow), undefined)),
      { numRuns: 200 },
    );
  });

  it('the label of a gVisor that hangs anywhere while runc is quick goes within two minutes', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    for (const what of ['boot', 'pids', 'sandbox', 'stop'] as const) {
      const lasted = await labelLasts(t, { ...QUICK, [what]: 9_000_000, ratio: 30_000 });
      assert.match(lasted ?? '', /^(\d|\d\d|1[01]\d)(\.\d+)? s: Sandbox(Slow|Stuck)/, what);
    }
  });
});
