import { join } from 'node:path';
import { UsageError } from '../hack/run.ts';
import { Cluster } from './cluster.ts';
import { CLUSTERS, requireName } from './clusters.ts';
import { controlPlaneOf } from './control-plane/control-plane.ts';
import { listenOnLoopback } from './control-plane/start-relay.ts';
import { ensureImage, type Image, type ImageId } from './images.ts';
import { locked } from './lock.ts';
import { requireKernel, requireRoot } from './machine/host-checks.ts';
import { allotNodes, type NodeRequest, toolsOf, wantedNodes } from './node/plan.ts';
import { ensurePrerequisites } from './prerequisites.ts';
import { ensureTools } from './tools.ts';

export type ClusterOptions = {
  readonly name?: string;
  readonly nodes?: readonly NodeRequest[];
  /** A port of loopback; by default a free one. */
  readonly port?: number;
  readonly images?: readonly ImageId[];
};

/** Starts or completes it, and waits until its nodes are Ready. Idempotent. */
export async function startCluster(options: ClusterOptions = {}): Promise<Cluster> {
  const { name = 'dev' } = options;
  requireName(name);
  return locked(name, () => startHeldCluster({ ...options, name }));
}

/** The caller holds the cluster's lock. */
export async function startHeldCluster(
  options: ClusterOptions & { readonly name: string },
): Promise<Cluster> {
  const { name, port, images = ['workload'] } = options;
  requireRoot();
  const dir = join(CLUSTERS, name);
  const wanted = wantedNodes(name, dir, options.nodes);
  if (controlPlaneOf(dir).pid() === undefined) {
    await ensurePrerequisites({ forVms: wanted.some(({ machine }) => machine === 'vm') });
    await requireKernel();
    if (port !== undefined) (await listenOnLoopback(port)).server.close();
  }
  await ensureTools(['etcd', 'kubernetes', 'cni', 'runc', ...new Set(wanted.flatMap(toolsOf))]);
  await ensureImage('pause');
  const built: Image[] = [];
  for (const id of images) built.push(await ensureImage(id));
  const cluster = await Cluster.open(name);
  if (port !== undefined && port !== (cluster.port ?? port)) {
    throw new UsageError(`The cluster "${name}" has port ${cluster.port}: take it \`down\` to change that.`);
  }
  allotNodes(dir, wanted);
  await cluster.startControlPlane(port);
  await Promise.all(wanted.map((request) => cluster.addNode(request, built)));
  await cluster.waitForNodes();
  await cluster.waitForServiceAccount();
  return cluster;
}
