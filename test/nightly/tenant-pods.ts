import type { Cluster } from '../../cluster/cluster.ts';
import { evaluationPod } from '../../cluster/pods.ts';
import { imageName } from '../../cluster/tools/images.ts';
import { waitFor } from '../../hack/run.ts';
import { PROBE_LABELS } from '../../lib/proof/sandbox.ts';
import { createNamespace } from '../e2e/e2e-cluster.ts';
import { type AttackPod, buildProgram, withFunctions } from './tenant-attacks.ts';

export const TENANT_NODE = 'node-1';
const USER = 'tenant-admin';

/** A tenant with the ClusterRole admin in one namespace at Pod Security "baseline". */
export class Tenant {
  readonly namespace: string;
  readonly #cluster: Cluster;

  constructor(cluster: Cluster, namespace: string) {
    this.#cluster = cluster;
    this.namespace = namespace;
  }

  /** Creates the namespace, with additional labels, and the tenant's RoleBinding. */
  async begin(labels: Readonly<Record<string, string>> = {}): Promise<void> {
    const { namespace } = this;
    await this.end();
    const baseline = { 'pod-security.kubernetes.io/enforce': 'baseline' };
    await createNamespace(this.#cluster, namespace, { ...baseline, ...labels });
    const role = ['--clusterrole=admin', `--user=${USER}`];
    await this.#cluster.kubectl(['create', 'rolebinding', USER, '-n', namespace, ...role]);
    await waitFor('the rights to be in force', 20_000, () =>
      this.kubectl(['auth', 'can-i', 'create', 'pods']),
    );
  }

  async end(): Promise<void> {
    const remove = ['delete', 'namespace', this.namespace, '--ignore-not-found'];
    await this.#cluster.kubectl(remove, undefined, 120_000);
  }

  kubectl(args: readonly string[], input?: string): Promise<string> {
    return this.#cluster.kubectl([`--as=${USER}`, '-n', this.namespace, ...args], input, 90_000);
  }

  async create(items: readonly object[]): Promise<void> {
    await this.kubectl(['create', '-f', '-'], JSON.stringify({ apiVersion: 'v1', kind: 'List', items }));
  }

  /** Deletes the pods of an attack without waiting; they may overlap with the next attack. */
  async remove(number: number): Promise<void> {
    await this.kubectl(['delete', 'pods', '-l', `attack=${number}`, '--grace-period=1', '--wait=false']);
  }

  /** Reads the pods of an attack. */
  async pods(number: number): Promise<readonly RawPod[]> {
    const path = `/api/v1/namespaces/${this.namespace}/pods?labelSelector=attack%3D${number}`;
    return (JSON.parse(await this.#cluster.get(path)) as { items: readonly RawPod[] }).items;
  }

  async logs(pods: readonly RawPod[]): Promise<string> {
    const path = (name: string) => `/api/v1/namespaces/${this.namespace}/pods/${name}/log`;
    return (await Promise.all(pods.map(({ metadata }) => this.#cluster.get(path(metadata.name))))).join('');
  }
}

type RawPod = {
  readonly metadata: { readonly name: string };
  readonly status: {
    readonly containerStatuses?: readonly {
      readonly state: object;
      readonly restartCount: number;
      readonly containerID?: string;
    }[];
  };
};

/** IDs of the containers of these pods in containerd. */
export function idsOf(pods: readonly RawPod[]): readonly string[] {
  return pods
    .flatMap(({ status }) => status.containerStatuses ?? [])
    .flatMap(({ containerID }) => containerID?.replace(/^containerd:\/\//, '') ?? []);
}

/** Runs the exec commands of an attack one by one; returns their output. */
export async function execIn(
  tenant: Tenant,
  attack: readonly AttackPod[],
  pods: readonly RawPod[],
  number: number,
): Promise<string> {
  const outputs: string[] = [];
  for (const [index, pod] of attack.entries()) {
    if (pod.exec === undefined) continue;
    const name = nameOf(pod, number, index);
    const ids = idsOf(pods.filter(({ metadata }) => metadata.name === name));
    const exec = ['exec', '-i', name, '--', 'sh', '-c', withFunctions(pod.exec), 'sh', ...ids];
    const input = pod.input === undefined ? undefined : await buildProgram(pod.input);
    outputs.push(await tenant.kubectl(exec, input));
  }
  return outputs.join('');
}

function nameOf({ name }: AttackPod, number: number, index: number): string {
  return name ?? `attack-${number}-${index}`;
}

/** The manifest of a pod of attack `number`; `agent` is the agent's address. */
export function manifestOf(pod: AttackPod, agent: string, number: number, index = 0): object {
  const { labels, hasProbeLabels, annotations, largeAnnotation, gvisor = false, script } = pod;
  const plain = JSON.parse(
    evaluationPod(nameOf(pod, number, index), {
      gvisor,
      spec: { nodeName: TENANT_NODE, restartPolicy: 'Always', ...pod.spec },
      container: {
        image: imageName(pod.image ?? 'workload'),
        // By default without capabilities, so that an agent without any can read its /proc files.
        securityContext: pod.keepsCapabilities ? {} : { capabilities: { drop: ['ALL'] } },
        ...(script !== undefined && { command: ['sh', '-c', withFunctions(script)] }),
        env: [{ name: 'AGENT', value: agent }],
        ...pod.container,
      },
    }),
  );
  return {
    ...plain,
    metadata: {
      ...plain.metadata,
      annotations: { ...annotations, ...(largeAnnotation && { large: '<'.repeat(largeAnnotation) }) },
      labels: { ...labels, ...(hasProbeLabels && PROBE_LABELS), attack: String(number) },
    },
  };
}
