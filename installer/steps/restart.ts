import type { CriClient } from '../../lib/containerd/client.ts';
import { CriError } from '../../lib/containerd/error.ts';
import { isProbe } from '../../lib/proof/sandbox.ts';
import { seconds } from '../../lib/report/format.ts';
import { type Line, type Node, pass, Refusal, skipped } from '../base/node.ts';
import { type ContainerdProcess, isLoaded, restartContainerd } from '../containerd/restart.ts';
import { refuseRisks } from '../preflight/risks.ts';
import type { Generation } from '../release/release.ts';
import { waitForQuiet } from './quiet.ts';

/** Whether {@link load} would restart containerd. */
export async function needsRestart(
  { noRestart, client, handler }: Node,
  wanted: Generation | undefined,
): Promise<boolean> {
  return !noRestart && !(await isLoaded(client, handler, wanted));
}

type Reload = {
  readonly wanted: Generation | undefined;
  readonly recordRestart: () => Promise<void>;
  /**
   * Also restarts a containerd that does not respond, on a node that is never quiet, and if the journal
   * cannot be written.
   */
  readonly isUrgent?: boolean;
};

/**
 * Unless it has loaded what is wanted, and only in a quiet moment: the agent has seen the edited file, and
 * boots a sandbox. Resolves with the pods that the restart ended.
 */
export async function load(
  node: Node,
  containerd: Pick<ContainerdProcess, 'program' | 'unit'>,
  { wanted, recordRestart, isUrgent = false }: Reload,
): Promise<{ readonly text: Line; readonly lost: readonly string[] }> {
  const { client, handler } = node;
  const skip = (text: string) => ({ text: skipped(text), lost: [] });
  const unlessUrgent = (error: unknown) => {
    if (!isUrgent) throw error;
  };
  if (node.noRestart) return skip('containerd loads it when it starts next (--no-restart)');
  const isThere = await isLoaded(client, handler, wanted).catch(unlessUrgent);
  if (isThere) return skip(`containerd has ${wanted === undefined ? 'not loaded it' : 'loaded it already'}`);
  if (isThere === false) {
    await waitForQuiet(node).catch(unlessUrgent);
    await refuseRisks(node); // others may have edited or upgraded meanwhile
  }
  const before = await runningContainers(client).catch(() => []);
  await recordRestart().catch(unlessUrgent);
  const awayMs = await restartContainerd(node, containerd);
  const { ended, lost } = await whatBecameOf(before, client);
  if (!(await isLoaded(client, handler, wanted))) {
    const what = `containerd restarted and did not load the handler "${handler}" as it is written`;
    throw new Refusal('restart', { what, reason: 'HandlerNotLoaded' });
  }
  const pods = [
    `run on: ${new Set(before.map(({ pod }) => pod)).size - ended.size - lost.size}`,
    ...(ended.size === 0 ? [] : [`ended by themselves: ${[...ended].join(', ')}`]),
    ...(lost.size === 0 ? [] : [`were lost: ${lost.size}`]),
  ];
  return {
    text: pass(`containerd was away for ${seconds(awayMs)}; pods that ${pods.join('; pods that ')}`),
    lost: [...lost],
  };
}

type RunningContainer = { readonly id: string; readonly sandbox: string; readonly pod: string };

/** Not a sandbox alone: the kubelet stops an ending pod's sandbox after its containers. */
async function runningContainers(client: CriClient): Promise<readonly RunningContainer[]> {
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

/** Pods whose sandbox is gone: those that ended by themselves meanwhile, and those that the restart ended. */
async function whatBecameOf(
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
