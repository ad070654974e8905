import { join } from 'node:path';
import { Cluster } from './cluster.ts';
import { controlPlaneOf } from './control-plane/control-plane.ts';
import { requireKernel, requireRoot } from './machine/host-checks.ts';
import { CLUSTERS, requireName } from './plan/clusters.ts';
import { locked } from './plan/lock.ts';
import { allotNodes, type NodeRequest, toolsOf, wantedNodes } from './plan/nodes.ts';
import { ensureImage, ensureImages, type Image, type ImageId } from './tools/images.ts';
import { ensurePrerequisites, purposesOf } from './tools/prerequisites.ts';
import { ensureTools } from './tools/tools.ts';

export type ClusterOptions = {
  readonly name: string;
  readonly nodes?: readonly NodeRequest[] | undefined;
  readonly images?: readonly ImageId[];
};

/** Starts or completes it, and waits until its nodes are Ready. Idempotent. */
export async function startCluster(options: ClusterOptions): Promise<Cluster> {
  requireName(options.name);
  return locked(options.name, () => startHeldCluster(options));
}

/** The caller holds the cluster's lock. */
export async function startHeldCluster({
  name,
  nodes,
  images = ['workload'],
}: ClusterOptions): Promise<Cluster> {
  requireRoot();
  const dir = join(CLUSTERS, name);
  const wanted = wantedNodes(name, dir, nodes);
  if (controlPlaneOf(dir).pid() === undefined) {
    await ensurePrerequisites(...wanted.flatMap(purposesOf));
    await requireKernel();
  }
  const native = wanted.filter(({ arch }) => arch === undefined);
  await ensureTools(['etcd', 'kubernetes', 'cni', 'runc', ...new Set(native.flatMap(toolsOf))]);
  await ensureImage('pause');
  const built = new Map<NodeRequest['arch'], readonly Image[]>();
  for (const { arch } of wanted) built.set(arch, built.get(arch) ?? (await ensureImages(images, arch)));
  const cluster = await Cluster.open(name);
  allotNodes(dir, wanted);
  await cluster.startControlPlane();
  await Promise.all(wanted.map((request) => cluster.addNode(request, built.get(request.arch))));
  await cluster.waitForNodes();
  await cluster.waitForServiceAccount();
  return cluster;
}
