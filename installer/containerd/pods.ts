import type { CriClient } from '../../lib/containerd/client.ts';
import { CriError } from '../../lib/containerd/error.ts';
import { isProbe } from '../../lib/proof/sandbox.ts';

type RunningContainer = { readonly id: string; readonly sandbox: string; readonly pod: string };

/** Lists containers, because a sandbox alone says little: the kubelet stops an ending pod's sandbox after its containers. */
export async function runningContainers(client: CriClient): Promise<readonly RunningContainer[]> {
  const [sandboxes, containers] = await Promise.all([
    client.listSandboxes('SANDBOX_READY'),
    client.listPodContainers(),
  ]);
  return containers.flatMap(({ id, state, podSandboxId }) => {
    const sandbox = sandboxes.find((each) => each.id === podSandboxId && !isProbe(each));
    if (sandbox === undefined || state !== 'CONTAINER_RUNNING') return [];
    const { metadata } = sandbox;
    return [{ id, sandbox: sandbox.id, pod: `${metadata?.namespace}/${metadata?.name}` }];
  });
}

/** Distinguishes pods whose sandbox is gone: some ended by themselves meanwhile, and the restart ended the others. */
export async function whatBecameOf(
  before: readonly RunningContainer[],
  client: CriClient,
): Promise<{ readonly ended: ReadonlySet<string>; readonly lost: ReadonlySet<string> }> {
  const ready = await client.listSandboxes('SANDBOX_READY');
  const gone = before.filter(({ sandbox }) => !ready.some(({ id }) => id === sandbox));
  const states = await Promise.all(gone.map(({ id }) => hasEnded(client, id)));
  const lost = new Set(gone.flatMap(({ pod }, index) => (states[index] ? [] : pod)));
  return { ended: new Set(gone.flatMap(({ pod }) => (lost.has(pod) ? [] : pod))), lost };
}

/**
 * Of a container whose shim is gone containerd says 255, or 137 as of one that was killed; of a program that
 * ended it says the program's own exit code. Source:
 * https://github.com/containerd/containerd/blob/v2.4.2/internal/cri/server/restart.go
 */
const LOST_EXIT_CODES: readonly number[] = [137, 255];

async function hasEnded(client: CriClient, id: string): Promise<boolean> {
  try {
    const { state, exitCode } = await client.containerStatus(id);
    return state === 'CONTAINER_EXITED' && !LOST_EXIT_CODES.includes(exitCode);
  } catch (error) {
    if (error instanceof CriError && error.kind === 'absent') return false;
    throw error;
  }
}
