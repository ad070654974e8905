import { pooledMap } from '../../lib/base/async.ts';
import type { CriClient } from '../../lib/containerd/client.ts';
import { CriError } from '../../lib/containerd/error.ts';
import { isProbe } from '../../lib/proof/sandbox.ts';

const CONCURRENCY = 8;

type RunningContainer = {
  readonly id: string;
  readonly sandbox: string;
  readonly handler: string;
  readonly pod: string;
};

/** Lists containers, because a sandbox alone says little: the kubelet stops an ending pod's sandbox after its containers. */
export async function runningContainers(client: CriClient): Promise<readonly RunningContainer[]> {
  const [sandboxes, containers] = await Promise.all([
    client.listSandboxes('SANDBOX_READY'),
    client.listPodContainers(),
  ]);
  return containers.flatMap(({ id, state, podSandboxId }) => {
    const sandbox = sandboxes.find((each) => each.id === podSandboxId && !isProbe(each));
    if (sandbox === undefined || state !== 'CONTAINER_RUNNING') return [];
    const { metadata, runtimeHandler: handler } = sandbox;
    return [{ id, sandbox: sandbox.id, handler, pod: `${metadata?.namespace}/${metadata?.name}` }];
  });
}

/** A container as containerd has it now: running, its exit code, or nothing of use. */
type Now = 'running' | 'forgotten' | number;

/** Names of pods, each in one of the four. */
type Aftermath = Readonly<Record<'running' | 'ended' | 'endedUnseen' | 'lost', readonly string[]>>;

export async function whatBecameOf(
  before: readonly RunningContainer[],
  client: CriClient,
): Promise<Aftermath> {
  const ready = await client.listSandboxes('SANDBOX_READY');
  const now = await pooledMap(before, CONCURRENCY, ({ id }) => stateOf(client, id));
  return judgePods(
    before.map((container, index) => ({
      ...container,
      now: now[index] ?? 'forgotten',
      hasSandbox: ready.some(({ id }) => id === container.sandbox),
    })),
  );
}

async function stateOf(client: CriClient, id: string): Promise<Now> {
  try {
    const { state, exitCode } = await client.containerStatus(id);
    if (state === 'CONTAINER_EXITED') return exitCode;
    return state === 'CONTAINER_RUNNING' ? 'running' : 'forgotten';
  } catch (error) {
    if (error instanceof CriError && error.kind === 'absent') return 'forgotten';
    throw error;
  }
}

/**
 * Of a container that ended while containerd was away, and of one whose shim is gone, containerd says 255, or 137 as of
 * one that was killed; of a program whose end it saw it says the program's own exit code. Sources:
 * https://github.com/containerd/containerd/blob/v2.4.2/internal/cri/server/restart.go,
 * https://github.com/containerd/containerd/blob/v2.4.2/core/runtime/v2/shim_load.go
 */
const UNSEEN_EXIT_CODES: readonly Now[] = [137, 255];

type Judged = Omit<RunningContainer, 'id'> & { readonly now: Now; readonly hasSandbox: boolean };

/** Some pods ended by themselves meanwhile, and the restart ended the others. */
export function judgePods(containers: readonly Judged[]): Aftermath {
  const spared = new Set(containers.flatMap(({ handler, now }) => (now === 'running' ? handler : [])));
  const pods = { running: [], ended: [], endedUnseen: [], lost: [] } as Record<keyof Aftermath, string[]>;
  for (const [pod, own] of Map.groupBy(containers, ({ pod }) => pod)) pods[fateOf(own, spared)].push(pod);
  return pods;
}

/**
 * A restart ends all shims of a handler or none, so that nothing was lost whose sandbox is there, or beside which
 * another pod of its handler runs on. But what containerd has forgotten is lost, unless the kubelet removed it to start
 * another container in the sandbox.
 */
function fateOf(containers: readonly Judged[], spared: ReadonlySet<string>): keyof Aftermath {
  const gone = containers.filter(
    ({ now, hasSandbox }) => typeof now === 'number' || (now === 'forgotten' && !hasSandbox),
  );
  const unseen = gone.filter(({ now }) => UNSEEN_EXIT_CODES.includes(now));
  const isLost = ({ handler, hasSandbox }: Judged) => !hasSandbox && !spared.has(handler);
  if (gone.some(({ now }) => now === 'forgotten') || unseen.some(isLost)) return 'lost';
  if (unseen.length > 0) return 'endedUnseen';
  return gone.length > 0 && gone.length === containers.length ? 'ended' : 'running';
}
