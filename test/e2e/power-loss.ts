import { randomUUID } from 'node:crypto';
import type { V1PodList } from '@kubernetes/client-node';
import type { Cluster } from '../../cluster/cluster.ts';
import { breakNode } from '../../cluster/faults/break-node.ts';
import type { FaultName } from '../../cluster/faults/fault-texts.ts';
import { READY_PATH, watchLabels } from '../../cluster/labels.ts';
import { cgroupPath, removeCgroup } from '../../cluster/machine/cgroups.ts';
import { evaluationPod } from '../../cluster/pods.ts';
import { waitFor } from '../../hack/run.ts';
import { DOMAIN } from './agents.ts';

const CONDITION = (type: string, field: string) => `.status.conditions[?(@.type=="${type}")].${field}`;

/** A version of a Node that a watch has received. */
type NodeVersion = {
  readonly atMs: number;
  readonly label: string;
  readonly ready: string;
  readonly boot: string;
  readonly reason: string;
  readonly tainted: boolean;
};

/** Records the versions of a Node. */
export class NodeHistory {
  readonly versions: NodeVersion[] = [];
  readonly close: () => void;

  constructor(cluster: Cluster, node: string) {
    const paths = [
      READY_PATH,
      CONDITION('Ready', 'status'),
      '.status.nodeInfo.bootID',
      CONDITION('GVisorReady', 'reason'),
      '.spec.taints[*].key',
    ];
    const watch = watchLabels(
      cluster,
      [node],
      paths,
      ([label = '', ready = '', boot = '', reason = '', taints = '']) => {
        const tainted = taints.includes(`${DOMAIN}/not-ready`);
        this.versions.push({ atMs: performance.now(), label, ready, boot, reason, tainted });
      },
    );
    this.close = watch.close;
  }

  /** Waits for the first recorded version that matches. */
  first(what: string, matches: (version: NodeVersion) => boolean): Promise<NodeVersion> {
    return waitFor(`the Node to have ${what}`, 120_000, async () => this.versions.find(matches)).catch(
      (cause: unknown) => {
        throw new Error(`Its last version: ${JSON.stringify(this.versions.at(-1))}`, { cause });
      },
    );
  }
}

/** Ends all processes of a node at once; its disk stays. */
export async function losePower(cluster: Cluster, name: string): Promise<void> {
  const node = cluster.node(name);
  await node.machine.stop();
  await node.disconnect();
  await removeCgroup(cgroupPath(node.machine.dir));
}

/**
 * Starts a node with a new boot ID, its kubelet last; returns the ID. All nodes share the kernel of this machine, so the ID
 * is in a file that is mounted over the kernel's.
 */
export async function restorePower(cluster: Cluster, name: string, fault?: FaultName): Promise<string> {
  const node = cluster.node(name);
  const boot = randomUUID();
  await node.system.start(cluster.controlPlane);
  const cover = 'echo "$1" >/run/boot_id && mount --bind /run/boot_id /proc/sys/kernel/random/boot_id';
  await node.system.run(['/bin/sh', '-ec', cover, 'sh', boot]);
  await node.startContainerd();
  if (fault !== undefined) await breakNode(cluster, node, fault);
  await node.startKubelet();
  return boot;
}

export async function createPods(cluster: Cluster, node: string, ...names: string[]): Promise<void> {
  const spec = { nodeSelector: { 'kubernetes.io/hostname': node } };
  for (const name of names)
    await cluster.kubectl(['apply', '-f', '-'], evaluationPod(name, { gvisor: true, spec }));
}

/** "PHASE NODE REASON" of each evaluation pod, by name. */
export async function podsNow(cluster: Cluster): Promise<Readonly<Record<string, string>>> {
  const query = new URLSearchParams({ labelSelector: 'app=evaluation' });
  const text = await cluster.get(`/api/v1/namespaces/default/pods?${query}`);
  return Object.fromEntries(
    (JSON.parse(text) as V1PodList).items.map(({ metadata, spec, status }) => [
      metadata?.name,
      [status?.phase, spec?.nodeName, status?.reason].filter(Boolean).join(' '),
    ]),
  );
}
