import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import type { V1Pod } from '@kubernetes/client-node';
import { parse } from 'yaml';
import type { Cluster } from '../../cluster/cluster.ts';
import { evaluationPod } from '../../cluster/pods.ts';
import { imageName } from '../../cluster/tools/images.ts';
import { REPO } from '../../hack/paths.ts';
import { waitFor } from '../../hack/run.ts';
import type { FeatureId } from '../../kubectl/pods/features.ts';

/** A pod that asks for a feature. */
type FeatureCase = {
  readonly spec?: object;
  readonly container?: object;
  readonly script: string;
  readonly works: string;
  readonly weaker?: string;
};

export type RunningPod = {
  readonly cluster: Cluster;
  readonly namespace: string;
  readonly name: string;
};

/** The rows that were run. */
export type TriedId = Exclude<FeatureId, 'nvidiaGpu' | 'otherResource' | 'resourceClaims' | 'defaultSysctls'>;

export const CASES = parse(
  readFileSync(join(REPO, 'test/nightly/pod-feature-cases.yaml'), 'utf8').replaceAll(
    'WORKLOAD',
    imageName('workload'),
  ),
) as Readonly<Record<TriedId, FeatureCase>>;

/** What is seen of a pod while its script runs, or a line that begins with "refused: ". */
export const OBSERVED: Readonly<Partial<Record<FeatureId, (pod: RunningPod) => Promise<string>>>> = {
  memoryLimit: async (pod) => {
    const states = await waitFor('the greedy container to end', 60_000, async () => {
      const { containerStatuses = [] } = (await readPod(pod)).status ?? {};
      const greedy = containerStatuses.find(({ name }) => name === 'greedy');
      return greedy?.state?.terminated !== undefined && containerStatuses;
    });
    return states.map(({ state }) => state?.terminated?.reason ?? 'runs').join(' ');
  },
  portForward: forwarded,
  ephemeralContainer: async (pod) => {
    const debug = { name: 'debug', image: imageName('workload'), command: ['sh', '-c', 'exit 7'] };
    const patch = JSON.stringify({ spec: { ephemeralContainers: [debug] } });
    const subresource = ['--subresource=ephemeralcontainers', '-p', patch];
    await pod.cluster.kubectl(['patch', 'pod', pod.name, '-n', pod.namespace, ...subresource]);
    const end = await waitFor('the ephemeral container to end', 60_000, async () => {
      const [status] = (await readPod(pod)).status?.ephemeralContainerStatuses ?? [];
      return status?.state?.terminated;
    });
    return `exit ${end.exitCode}`;
  },
};

/** A claim of a block device of a node, and its volume, as YAML. */
export function blockVolume(node: string, namespace: string): string {
  const name = `block-${node}`;
  const hostname = { key: 'kubernetes.io/hostname', operator: 'In', values: [node] };
  const volume = {
    apiVersion: 'v1',
    kind: 'PersistentVolume',
    metadata: { name },
    spec: {
      storageClassName: '',
      volumeMode: 'Block',
      accessModes: ['ReadWriteOnce'],
      capacity: { storage: '1Mi' },
      claimRef: { namespace, name },
      local: { path: '/opt/pod-probes/block' },
      nodeAffinity: { required: { nodeSelectorTerms: [{ matchExpressions: [hostname] }] } },
    },
  };
  const claim = {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name, namespace },
    spec: {
      storageClassName: '',
      volumeMode: 'Block',
      accessModes: ['ReadWriteOnce'],
      resources: { requests: { storage: '1Mi' } },
      volumeName: name,
    },
  };
  return [volume, claim].map((each) => JSON.stringify(each)).join('\n---\n');
}

/** A pod without gVisor that shares a directory of a node. */
export function sharer(nodeName: string): string {
  const volumes = [
    { name: 'probes', hostPath: { path: '/opt/pod-probes' } },
    { name: 'shared', hostPath: { path: '/opt/shared' } },
  ];
  const volumeMounts = [
    { name: 'probes', mountPath: '/opt/pod-probes', readOnly: true },
    { name: 'shared', mountPath: '/shared' },
  ];
  const command = ['/opt/pod-probes/probe', 'share', '/shared'];
  return evaluationPod(`sharer-${nodeName}`, {
    gvisor: false,
    spec: { nodeName, volumes },
    container: { command, volumeMounts },
  });
}

export async function readPod({ cluster, namespace, name }: RunningPod): Promise<V1Pod> {
  return JSON.parse(await cluster.get(`/api/v1/namespaces/${namespace}/pods/${name}`)) as V1Pod;
}

/** The answer of port 8080 of a pod over kubectl port-forward, or why there is none. */
async function forwarded({ cluster, namespace, name }: RunningPod): Promise<string> {
  const { command, args } = cluster.kubectlCommand(['port-forward', '-n', namespace, `pod/${name}`, ':8080']);
  const forward = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let errors = '';
  forward.stderr.on('data', (chunk) => {
    errors += chunk;
  });
  try {
    const [line = ''] = (await once(createInterface({ input: forward.stdout }), 'line')) as [string?];
    return await waitFor('an answer', 5_000, async () => {
      const answer = await text(connect(Number(/:(\d+) ->/.exec(line)?.[1]), '127.0.0.1'));
      return answer.trim() || (errors === '' ? undefined : `refused: ${errors}`);
    }).catch((error: Error) => `refused: ${error.message}`);
  } finally {
    forward.kill();
  }
}
