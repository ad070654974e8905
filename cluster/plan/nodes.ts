import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { UsageError } from '../../hack/run.ts';

/** As Debian, Go and Node name it. */
export type ForeignArch = 'arm64';

export type NodeSpec = {
  readonly name: string;
  /** Determines the node's addresses; 1 to 200. */
  readonly index: number;
  readonly containerd: '2' | '1.7';
  /** `-bare` lacks `gvisor-bin/`; `none` is a node without gVisor. */
  readonly gvisor: 'current' | '2025' | '2026-09' | '2026-09-bare' | 'none';
  /** Namespaces share this kernel; a virtual machine has its own kernel and systemd. */
  readonly machine: 'namespaces' | 'vm';
  /** Of a virtual machine that is emulated; by default that of this machine. */
  readonly arch?: ForeignArch;
  /** Each has programs and a configuration of its own. */
  readonly additional?: readonly string[];
};

export type NodeRequest = Partial<Omit<NodeSpec, 'index'>>;

export const DEFAULT_NODES: readonly NodeRequest[] = [
  { name: 'node-1' },
  { name: 'node-2', containerd: '1.7', gvisor: '2025' },
  { name: 'node-3', gvisor: 'none' },
];

const MAX_NODES = 200;

/** Sorted by index. */
export function readNodes(dir: string): NodeSpec[] {
  const directory = join(dir, 'nodes');
  if (!existsSync(directory)) return [];
  return readdirSync(directory)
    .map((name) => join(directory, name, 'node.json'))
    .filter((file) => existsSync(file))
    .map((file) => JSON.parse(readFileSync(file, 'utf8')) as NodeSpec)
    .sort((a, b) => a.index - b.index);
}

/**
 * Keeps the indexes of existing nodes. The first nodes of a cluster appear with one rename, so a killed process leaves
 * a complete plan or none.
 */
export function allotNodes(dir: string, requests: readonly NodeRequest[]): readonly NodeSpec[] {
  const known = readNodes(dir);
  const allotted = planNodes(requests, known);
  const directory = join(dir, 'nodes');
  const first = !existsSync(directory);
  const staged = first ? `${directory}.new` : directory;
  if (first) rmSync(staged, { recursive: true, force: true });
  for (const spec of allotted.filter((spec) => !known.includes(spec))) {
    mkdirSync(join(staged, spec.name), { recursive: true });
    const file = join(staged, spec.name, 'node.json');
    writeFileSync(`${file}.new`, JSON.stringify(spec));
    renameSync(`${file}.new`, file);
  }
  if (first && existsSync(staged)) renameSync(staged, directory);
  return allotted;
}

/** Throws a UsageError for an invalid or conflicting request. */
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
    const keys = ['containerd', 'gvisor', 'machine', 'arch'] as const;
    if (keys.every((key) => request[key] === undefined || request[key] === known[key])) return known;
    const arch = known.arch === undefined ? '' : ` of ${known.arch}`;
    const kind = known.machine === 'vm' ? ` in a virtual machine${arch}` : '';
    throw new UsageError(
      `The node "${name}" exists with containerd ${known.containerd} and gVisor ${known.gvisor}${kind}: remove it first, or choose another name.`,
    );
  }
  if (index > MAX_NODES) throw new UsageError(`The cluster is full: it has ${MAX_NODES} nodes.`);
  const { containerd = '2', gvisor = 'current', arch, additional } = request;
  const { machine = arch === undefined ? 'namespaces' : 'vm' } = request;
  if (arch !== undefined && machine !== 'vm') {
    throw new UsageError(
      `The node "${name}" cannot be of ${arch} in ${machine}: only a machine=vm is emulated.`,
    );
  }
  return {
    name,
    index,
    containerd,
    gvisor,
    machine,
    ...(arch && { arch }),
    ...(additional && { additional }),
  };
}

/** The cluster's nodes if it exists, otherwise the requested ones. */
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

export const CONTAINERD_TOOLS = {
  '2': 'containerd',
  '1.7': 'containerd-1.7',
} as const;

export const GVISOR_TOOLS = {
  current: 'gvisor',
  '2025': 'gvisor-2025',
  '2026-09': 'gvisor-2026-09',
  '2026-09-bare': 'gvisor-2026-09',
} as const;

export function toolsOf({ containerd = '2', gvisor = 'current' }: NodeRequest) {
  const runtime = CONTAINERD_TOOLS[containerd];
  if (gvisor === 'none') return [runtime] as const;
  return [runtime, GVISOR_TOOLS[gvisor]] as const;
}
