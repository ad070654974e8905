import type { V1Pod } from '@kubernetes/client-node';
import type { Cluster } from '../../cluster/cluster.ts';
import { evaluationPod, runPod } from '../../cluster/pods.ts';
import { waitFor } from '../../hack/run.ts';
import type { Status } from '../../lib/report/report.ts';
import { getFromAgentForwarded } from './agents.ts';

const END = '/tmp/end';

/** Runs a gVisor pod on a node; its container ends at {@link endContainer}, and the kubelet restarts it. */
export async function runEndable(
  cluster: Cluster,
  node: string,
  name: string,
  runtimeClassName = 'gvisor',
): Promise<void> {
  const spec = { runtimeClassName, nodeSelector: { 'kubernetes.io/hostname': node } };
  const container = { command: ['sh', '-c', `until [ -e ${END} ]; do sleep 0.2; done`] };
  await runPod(cluster, name, evaluationPod(name, { gvisor: true, spec, container }));
}

export async function endContainer(cluster: Cluster, name: string): Promise<void> {
  await cluster.kubectl(['exec', name, '--', 'touch', END]).catch((error: Error) => {
    // The container may end, and kill the command, before its exit is reported.
    if (!error.message.includes('ended with 137')) throw error;
  });
}

/** The pod's identity, and what became of its container. */
export async function containerOf(cluster: Cluster, name: string) {
  const { metadata, status } = JSON.parse(
    await cluster.get(`/api/v1/namespaces/default/pods/${name}`),
  ) as V1Pod;
  const { containerID = '', restartCount = 0, state, lastState } = status?.containerStatuses?.[0] ?? {};
  return {
    uid: metadata?.uid ?? '',
    id: containerID,
    restarts: restartCount,
    running: state?.running !== undefined,
    message: [state, lastState]
      .flatMap((one) => [one?.waiting?.message, one?.terminated?.message])
      .filter(Boolean)
      .join('\n'),
  };
}

/** Waits until the kubelet has restarted the pod's container, and a command runs in it. */
export async function waitForRestart(cluster: Cluster, name: string, restarts: number): Promise<void> {
  await waitFor(`the container of ${name} to run again`, 120_000, async () => {
    const container = await containerOf(cluster, name);
    return (container.running && container.restarts === restarts) || undefined;
  }).catch(async (cause: unknown) => {
    throw new Error((await containerOf(cluster, name)).message, { cause });
  });
  await cluster.kubectl(['exec', name, '--', 'true']);
}

export async function reportOf(cluster: Cluster, node: string): Promise<Status> {
  return JSON.parse((await getFromAgentForwarded(cluster, node, '/report')).text) as Status;
}
