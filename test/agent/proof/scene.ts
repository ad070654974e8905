import { rmSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import type { CriClient } from '../../../agent/containerd/client.ts';
import type { Host } from '../../../agent/host/host.ts';
import { type BootOptions, boot } from '../../../agent/proof/boot.ts';
import type { Outcome } from '../../../agent/proof/outcome.ts';
import { Prover, type ProverOptions } from '../../../agent/proof/prover.ts';
import { runCpus } from '../host/cpu-times.ts';
import { tempHost } from '../host/temp-host.ts';
import type { Script } from './containerd-scripts.ts';
import { type FakeContainerd, fakeContainerd } from './fake-containerd.ts';

/** A signal that is never aborted. */
export const NEVER = new AbortController().signal;

/** The label of the kubelet's pods. */
export const POD = { 'io.kubernetes.pod.uid': '1' };

type Scripts = Readonly<Record<string, Script>>;

/** A containerd, a client of it, its host, and a clock that goes when the test moves it, or by a step at each look at it. */
export type Scene = {
  readonly containerd: FakeContainerd;
  readonly client: CriClient;
  readonly host: Host;
  readonly clock: { nowMs: number; stepMs: number };
  readonly options: BootOptions;
  readonly run: () => Promise<Outcome>;
};

/** A boot at a containerd that does what the scripts say. */
export async function scene(t: TestContext, scripts: Scripts = {}, answerMs = 3_000): Promise<Scene> {
  const host = await tempHost(t);
  const { containerd, client } = await fakeContainerd(t, scripts, { answerMs, root: host.root });
  const clock = { nowMs: 0, stepMs: 0 };
  const now = () => {
    clock.nowMs += clock.stepMs;
    return clock.nowMs;
  };
  const options = { client, host, handler: 'runsc', now, signal: NEVER, owner: 'me' };
  return { containerd, client, host, clock, options, run: () => boot(options) };
}

/** The same with a prover, which tells of boots that no look waits for, and of what is left. */
export async function proverScene(
  t: TestContext,
  scripts: Scripts = {},
  changes: Partial<ProverOptions> = {},
) {
  const made = await scene(t, scripts);
  const told: { ends: number; left: number[] } = { ends: 0, left: [] };
  const prover = new Prover({
    ...made.options,
    wallMs: Date.now,
    onEnd: () => {
      told.ends += 1;
    },
    onLeft: (left) => told.left.push(left),
    patienceMs: 0,
    hangMs: 1_000,
    controlMs: 60_000,
    ...changes,
  });
  /** Makes the node look busy, or idle. */
  const press = (busy: boolean) => runCpus(t, made.host, busy ? 0 : 90);
  return { ...made, prover, told, press };
}

/** Scripts of a containerd in which sandboxes of gVisor do as the script says, and runc's start as usual. */
export const onlyGvisor = (containerd: FakeContainerd, script: Script): Scripts => ({
  RunPodSandbox: (request) =>
    request.runtimeHandler === 'runsc' ? script(request) : containerd.usual('RunPodSandbox', request),
});

/** How many sandboxes of gVisor were started. */
export const gvisorBoots = ({ requests }: FakeContainerd) =>
  requests.filter(({ method, request }) => method === 'RunPodSandbox' && request.runtimeHandler === 'runsc')
    .length;

/** A method that answers as usual once the test opens it; before, it hangs, but for a sandbox of runc. */
export function gate(containerd: FakeContainerd, method: string) {
  const { promise, resolve } = Promise.withResolvers<void>();
  const script: Script = async (request) => {
    if (request.runtimeHandler !== 'runc') await promise;
    return containerd.usual(method, request);
  };
  return { script, open: resolve };
}

/** An outcome in two words. */
export const brief = (outcome: Outcome) =>
  outcome.kind === 'proven' ? 'proven' : `${outcome.kind} ${outcome.reason}`;

/** Removes a process of the host from under the agent. */
export const vanish = ({ host }: Scene, pid: number) =>
  rmSync(join(host.root, 'proc', String(pid)), { recursive: true, force: true });
