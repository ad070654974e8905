import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { Prover, type ProverOptions } from '../../../agent/proof/prover.ts';
import { ProofTurns } from '../../../agent/proof/turns.ts';
import type { CriClient } from '../../../lib/containerd/client.ts';
import type { Host } from '../../../lib/host/host.ts';
import type { Outcome } from '../../../lib/proof/outcome.ts';
import { type ProbeOptions, runProbe } from '../../../lib/proof/probe.ts';
import { mockCpuTimes } from '../host/cpu-times.ts';
import { tempHost } from '../host/temp-host.ts';
import { HANGS, type Script } from './containerd-scripts.ts';
import { type FakeContainerd, fakeContainerd } from './fake-containerd.ts';

export const NEVER = new AbortController().signal;

/** A label of the kubelet's pods. */
export const POD_LABELS = { 'io.kubernetes.pod.uid': '1' };

type Scripts = Readonly<Record<string, Script>>;

/** A fake containerd with its client and host. */
export type Scene = {
  readonly containerd: FakeContainerd;
  readonly client: CriClient;
  readonly host: Host;
  /** The time, which `stepMs` advances at each reading. */
  readonly clock: { nowMs: number; stepMs: number };
  readonly options: ProbeOptions;
  /** The pauses of probes, which take no time. */
  readonly pauses: readonly number[];
  readonly run: () => Promise<Outcome>;
  /** A script that advances the clock and responds as usual. */
  readonly takes: (method: string, ms: number) => Scripts;
  readonly setBusy: (busy: boolean) => void;
};

/** A scene for a probe; `scripts` replace responses of containerd. */
export async function scene(t: TestContext, scripts: Scripts = {}): Promise<Scene> {
  const host = await tempHost(t);
  const { containerd, client } = await fakeContainerd(t, scripts, { root: host.root });
  const clock = { nowMs: 0, stepMs: 0 };
  const now = () => {
    clock.nowMs += clock.stepMs;
    return clock.nowMs;
  };
  const pauses: number[] = [];
  const sleep = async (ms: number) => {
    pauses.push(ms);
    await setImmediate();
  };
  const options = { client, host, handler: 'runsc', now, signal: NEVER, owner: 'me', sleep };
  const takes = (method: string, ms: number): Scripts => ({
    [method]: (request) => {
      clock.nowMs += ms;
      return containerd.usual(method, request);
    },
  });
  const setBusy = (busy: boolean) => mockCpuTimes(t, host, busy ? 0 : 90);
  return { containerd, client, host, clock, options, pauses, run: () => runProbe(options), takes, setBusy };
}

/** A scene for a prover, which records its callbacks. By default `prove` does not wait and a probe hangs after 1 s. */
export async function proverScene(
  t: TestContext,
  scripts: Scripts = {},
  changes: Partial<ProverOptions> = {},
) {
  const setup = await scene(t, scripts);
  const calls: { lateEnds: number; orphans: number[] } = { lateEnds: 0, orphans: [] };
  const prover = new Prover({
    ...setup.options,
    wallMs: Date.now,
    onLateEnd: () => {
      calls.lateEnds += 1;
    },
    onOrphans: (count) => calls.orphans.push(count),
    waitMs: 0,
    hangMs: 1_000,
    controlWaitMs: 60_000,
    turns: new ProofTurns(1),
    ...changes,
  });
  const prove = async () => brief(await prover.prove(NEVER));
  const proveAfter = (ms: number) => {
    setup.clock.nowMs += ms;
    return prove();
  };
  /** Holds back the starts of gVisor's sandboxes until `open` is called; `started` resolves at the next one. */
  const holdStarts = () => {
    const { script, open } = gate(setup.containerd, 'RunPodSandbox');
    setup.containerd.scripts = { RunPodSandbox: script };
    return { open, started: setup.containerd.called('RunPodSandbox') };
  };
  /** Aborts a proof during its probe, which continues once the returned function is called. */
  const abortProof = async () => {
    const { open, started } = holdStarts();
    const stop = new AbortController();
    const aborted = assert.rejects(prover.prove(stop.signal), /^Error: stop$/);
    await started;
    stop.abort(new Error('stop'));
    await aborted;
    setup.clock.nowMs += 1;
    return open;
  };
  /** Begins a proof whose probe hangs. */
  const hang = async () => {
    setup.containerd.scripts = { ...setup.containerd.scripts, ...onlyGvisor(setup.containerd, HANGS) };
    const started = setup.containerd.called('RunPodSandbox');
    await prove();
    await started;
    assert.equal(await proveAfter(1_000), 'failed SandboxHangs');
  };
  const finish = () => prover.finish(60_000);
  return { ...setup, prover, calls, prove, proveAfter, holdStarts, abortProof, hang, finish };
}

/** Scripts that apply to sandboxes of gVisor only. */
export const onlyGvisor = (containerd: FakeContainerd, script: Script): Scripts => ({
  RunPodSandbox: (request) =>
    request.runtimeHandler === 'runsc' ? script(request) : containerd.usual('RunPodSandbox', request),
});

export const gvisorStarts = ({ requests }: FakeContainerd) =>
  requests.filter(({ method, request }) => method === 'RunPodSandbox' && request.runtimeHandler === 'runsc')
    .length;

/** Holds back the responses of a method until `open` is called, except for sandboxes of runc. */
export function gate(containerd: FakeContainerd, method: string) {
  const { promise, resolve } = Promise.withResolvers<void>();
  const script: Script = async (request) => {
    if (request.runtimeHandler !== 'runc') await promise;
    return containerd.usual(method, request);
  };
  return { script, open: resolve };
}

/** An outcome as its kind and reason. */
export const brief = (outcome: Outcome) =>
  outcome.kind === 'proven' ? 'proven' : `${outcome.kind} ${outcome.reason}`;
