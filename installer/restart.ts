import type { CriClient } from '../lib/node/containerd/client.ts';
import { isProbe } from '../lib/node/proof/sandbox.ts';
import { seconds } from '../lib/report/format.ts';
import { type ContainerdProcess, isLoaded, restartContainerd } from './containerd.ts';
import { type Line, type Node, pass, Refusal, skipped } from './node.ts';
import { waitForQuiet } from './quiet.ts';
import type { Generation } from './release.ts';

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
 * boots a sandbox. Resolves with the pods that do not run any more.
 */
export async function load(
  node: Node,
  containerd: Pick<ContainerdProcess, 'unit'>,
  { wanted, recordRestart, isUrgent = false }: Reload,
): Promise<{ readonly text: Line; readonly ended: readonly string[] }> {
  const { client, handler } = node;
  const skip = (text: string) => ({ text: skipped(text), ended: [] });
  const unlessUrgent = (error: unknown) => {
    if (!isUrgent) throw error;
  };
  if (node.noRestart) return skip('containerd loads it when it starts next (--no-restart)');
  const isThere = await isLoaded(client, handler, wanted).catch(unlessUrgent);
  if (isThere) return skip(`containerd has ${wanted === undefined ? 'not loaded it' : 'loaded it already'}`);
  if (isThere === false) await waitForQuiet(node).catch(unlessUrgent);
  const before = await runningPods(client).catch(() => new Map<string, string>());
  await recordRestart().catch(unlessUrgent);
  const awayMs = await restartContainerd(node, containerd);
  const ready = await client.listSandboxes('SANDBOX_READY');
  const ended = [...before].filter(([id]) => !ready.some((each) => each.id === id)).map(([, name]) => name);
  if (!(await isLoaded(client, handler, wanted))) {
    const message = `containerd restarted and did not load the handler "${handler}" as it is written`;
    throw new Refusal('restart', message, { reason: 'HandlerNotLoaded' });
  }
  const pods = ended.length === 0 ? `run on: ${before.size}` : `ended: ${ended.length}`;
  return { text: pass(`containerd was away for ${seconds(awayMs)}; pods that ${pods}`), ended };
}

/** By sandbox, only with a running container: the kubelet stops an ending pod's sandbox after its containers. */
async function runningPods(client: CriClient): Promise<ReadonlyMap<string, string>> {
  const [sandboxes, containers] = await Promise.all([
    client.listSandboxes('SANDBOX_READY'),
    client.listPodContainers(),
  ]);
  const running = new Set(
    containers.flatMap(({ state, podSandboxId }) => (state === 'CONTAINER_RUNNING' ? podSandboxId : [])),
  );
  return new Map(
    sandboxes
      .filter((each) => !isProbe(each) && running.has(each.id))
      .map(({ id, metadata }) => [id, `${metadata?.namespace}/${metadata?.name}`]),
  );
}
