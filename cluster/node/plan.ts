import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { UsageError } from '../../hack/run.ts';
import { CONTAINERD_TOOLS, GVISOR_TOOLS, type NodeSpec } from './config.ts';

/** What may be asked of a node; the rest has defaults. */
export type NodeRequest = Partial<Omit<NodeSpec, 'index'>>;

/** Three nodes, the third without gVisor. */
export const DEFAULT_NODES: readonly NodeRequest[] = [
  { name: 'node-1' },
  { name: 'node-2', containerd: '1.7', gvisor: '2025' },
  { name: 'node-3', gvisor: 'none' },
];

const MAX_NODES = 200;

/** The nodes of the cluster in `dir`, in the order of their index. */
export function readNodes(dir: string): NodeSpec[] {
  const folder = join(dir, 'nodes');
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .map((name) => join(folder, name, 'node.json'))
    .filter((file) => existsSync(file))
    .map((file) => JSON.parse(readFileSync(file, 'utf8')) as NodeSpec | Omit<NodeSpec, 'machine'>)
    .map((spec) => ({ machine: 'namespaces', ...spec }) as const)
    .sort((a, b) => a.index - b.index);
}

/**
 * Gives each requested node its place in the address plan, and keeps the place of those that have one.
 * Synchronous, and the first nodes of a cluster appear all at once, so that whoever ends this process
 * leaves a whole plan or none.
 */
export function allotNodes(dir: string, requests: readonly NodeRequest[]): readonly NodeSpec[] {
  const known = readNodes(dir);
  const allotted = planNodes(requests, known);
  const folder = join(dir, 'nodes');
  const first = !existsSync(folder);
  const staged = first ? `${folder}.new` : folder;
  if (first) rmSync(staged, { recursive: true, force: true });
  for (const spec of allotted.filter((spec) => !known.includes(spec))) {
    mkdirSync(join(staged, spec.name), { recursive: true });
    const file = join(staged, spec.name, 'node.json');
    writeFileSync(`${file}.new`, JSON.stringify(spec));
    renameSync(`${file}.new`, file);
  }
  if (first && existsSync(staged)) renameSync(staged, folder);
  return allotted;
}

/** The places of the requested nodes beside those that are there; throws a UsageError on what cannot be. */
export function planNodes(
  requests: readonly NodeRequest[],
  known: readonly NodeSpec[] = [],
): readonly NodeSpec[] {
  const planned = [...known];
  return requests.map((request) => {
    const spec = planNode(planned, request);
    if (!planned.includes(spec)) planned.push(spec);
    return spec;
  });
}

/** The place of one more node among `planned`; the node of that name when there is one and it is as requested. */
function planNode(planned: readonly NodeSpec[], request: NodeRequest): NodeSpec {
  let index = 1;
  while (planned.some((spec) => spec.index === index)) index += 1;
  const name = request.name ?? `node-${index}`;
  if (!/^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$/.test(name)) {
    throw new UsageError(
      `"${name}" is no name for a node: use 1 to 40 lower-case letters, digits and inner hyphens.`,
    );
  }
  if (name === 'control-plane')
    throw new UsageError('The name "control-plane" is taken: name the node otherwise.');
  const known = planned.find((spec) => spec.name === name);
  if (known !== undefined) {
    const { containerd = known.containerd, gvisor = known.gvisor, machine = known.machine } = request;
    if (containerd === known.containerd && gvisor === known.gvisor && machine === known.machine) return known;
    const kind = known.machine === 'vm' ? ' in a virtual machine' : '';
    throw new UsageError(
      `The node "${name}" exists with containerd ${known.containerd} and gVisor ${known.gvisor}${kind}: remove it first, or choose another name.`,
    );
  }
  if (index > MAX_NODES) throw new UsageError(`The cluster is full: it has ${MAX_NODES} nodes.`);
  const { containerd = '2', gvisor = 'current', machine = 'namespaces' } = request;
  return { name, index, containerd, gvisor, machine };
}

/** The nodes to start: those that the cluster has, or else those asked for. */
export function wantedNodes(
  name: string,
  dir: string,
  asked: readonly NodeRequest[] | undefined,
): readonly NodeRequest[] {
  const known = readNodes(dir);
  if (known.length === 0) return planNodes(asked ?? DEFAULT_NODES);
  const names = known.map((spec) => spec.name);
  const strange = planNodes(asked ?? [], known).find((spec) => !names.includes(spec.name));
  if (strange === undefined) return known;
  throw new UsageError(
    `The cluster "${name}" is there, with the nodes ${names.join(', ')}: add "${strange.name}" with \`node add\`, or take the cluster \`down\` first.`,
  );
}

/** The groups of programs that a node runs. */
export function toolsOf({ containerd = '2', gvisor = 'current' }: NodeRequest) {
  const runtime = CONTAINERD_TOOLS[containerd];
  if (gvisor === 'none') return [runtime] as const;
  return [runtime, GVISOR_TOOLS[gvisor]] as const;
}
