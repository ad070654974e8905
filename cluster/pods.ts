import type { V1Pod } from '@kubernetes/client-node';
import { waitFor } from '../hack/run.ts';
import type { Cluster } from './cluster.ts';
import { imageName } from './tools/images.ts';

/** A pod of the workload image (JSON); `gvisor` selects the RuntimeClass "gvisor", and `runtimeClass` names another. */
export function evaluationPod(
  name: string,
  options: {
    readonly gvisor: boolean;
    readonly runtimeClass?: string;
    readonly spec?: object;
    readonly container?: object;
  },
): string {
  const { gvisor, runtimeClass = 'gvisor' } = options;
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, labels: { app: 'evaluation' } },
    spec: {
      ...(gvisor ? { runtimeClassName: runtimeClass } : {}),
      terminationGracePeriodSeconds: 0,
      containers: [
        { name: 'evaluation', image: imageName('workload'), imagePullPolicy: 'Never', ...options.container },
      ],
      ...options.spec,
    },
  });
}

/** Waits until the pod runs. Returns its node's name. */
export async function runPod(
  cluster: Cluster,
  name: string,
  manifest: string,
  timeoutMs = 60_000,
): Promise<string> {
  await cluster.kubectl(['apply', '-f', '-'], manifest);
  return waitFor(`the pod ${name} to run`, timeoutMs, async () => {
    const pod = JSON.parse(await cluster.get(`/api/v1/namespaces/default/pods/${name}`)) as V1Pod;
    return pod.status?.phase === 'Running' ? pod.spec?.nodeName : undefined;
  });
}
