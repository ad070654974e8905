import type { V1Node, V1NodeList } from '@kubernetes/client-node';
import type { Command } from 'commander';
import type { Cluster } from '../cluster.ts';
import { CONTROL_PLANE } from '../control-plane/control-plane.ts';
import { faultsOf } from '../faults/break-node.ts';
import { processesIn, stateIn } from '../machine/machine.ts';
import type { NodeSpec } from '../node/config.ts';
import type { ClusterNode } from '../node/node.ts';
import { DAEMONS } from '../node/system.ts';
import { READY_LABEL } from '../story.ts';
import { formatTable } from '../table.ts';
import { nameOf, npm, openRunning } from './command.ts';

const CONDITION = 'GVisorReady';

export type LocalNode = {
  readonly spec: NodeSpec;
  /** The name that `--gvisor` takes. */
  readonly gvisor: string;
  readonly daemons: string;
  readonly faults: readonly string[];
  readonly rss: number;
};

export function addStatus(program: Command): void {
  program
    .command('status')
    .description('show the nodes, their daemons, faults, label and condition, and the memory used')
    .action(async (_options: object, command: Command) => {
      if (!(await showStatus(nameOf(command)))) process.exitCode = 1;
    });
}

/** Returns false if the API server does not respond. */
async function showStatus(name: string): Promise<boolean> {
  const cluster = await openRunning(name);
  const { controlPlane } = cluster;
  const objects = await cluster
    .kubectl(['get', 'nodes', '--output=json', '--request-timeout=5s'], undefined, 10_000)
    .then((text) => (JSON.parse(text) as V1NodeList).items)
    .catch(() => undefined);
  const local: LocalNode[] = [];
  for (const node of cluster.nodes()) {
    if (node.machine.pid() === undefined) {
      local.push({ spec: node.spec, gvisor: '?', daemons: 'machine down', faults: [], rss: 0 });
      continue;
    }
    local.push({
      spec: node.spec,
      ...(await stateOfNode(node, cluster)),
      rss: sum(processesIn(node.machine), 'rss'),
    });
  }
  const all = processesIn(controlPlane);
  const daemons = await daemonsOf(CONTROL_PLANE, async (daemon) =>
    stateIn(controlPlane, controlPlane.daemonPid(daemon)),
  );
  console.log(`${formatTable(statusRows(objects, local))}

control plane: ${daemons}
all ${all.length} processes: ${mebibytes(sum(all, 'rss'))} RSS, ${mebibytes(sum(all, 'pss'))} PSS
export KUBECONFIG=${cluster.kubeconfig}`);
  if (objects !== undefined) return true;
  console.log(`The API server does not answer: see \`${npm(name, 'logs control-plane')}\`.`);
  return false;
}

/** A virtual machine that is starting or stuck has no known state. */
async function stateOfNode(
  node: ClusterNode,
  cluster: Cluster,
): Promise<Pick<LocalNode, 'gvisor' | 'daemons' | 'faults'>> {
  try {
    const faults = await faultsOf(node, cluster);
    return {
      gvisor: (await node.gvisor())?.name ?? 'none',
      faults,
      daemons: await daemonsOf(DAEMONS, (name) => node.system.daemonState(name)),
    };
  } catch (error) {
    if (node.spec.machine === 'vm') return { gvisor: '?', faults: [], daemons: 'no answer' };
    throw error;
  }
}

/** `objects` is undefined if the API server does not respond. */
function statusRows(
  objects: readonly V1Node[] | undefined,
  local: readonly LocalNode[],
): readonly (readonly string[])[] {
  const head = [
    'NODE',
    'READY',
    'CONTAINERD',
    'GVISOR',
    'LABEL',
    CONDITION.toUpperCase(),
    'DAEMONS',
    'FAULTS',
    'RSS',
  ];
  const rows = local.map(({ spec, gvisor, daemons, faults, rss }) => {
    const node = objects?.find(({ metadata }) => metadata?.name === spec.name);
    const condition = (type: string) => node?.status?.conditions?.find((one) => one.type === type);
    const verdict = condition(CONDITION);
    return [
      spec.name,
      condition('Ready')?.status ?? '?',
      node?.status?.nodeInfo?.containerRuntimeVersion?.replace(/^containerd:\/\//, '') ?? spec.containerd,
      gvisor,
      node?.metadata?.labels?.[READY_LABEL] ?? '-',
      verdict === undefined ? '-' : [verdict.status, verdict.reason].filter(Boolean).join(' '),
      daemons,
      faults.join(',') || '-',
      mebibytes(rss),
    ];
  });
  return [head, ...rows];
}

async function daemonsOf<D extends string>(
  names: readonly D[],
  stateOf: (name: D) => Promise<string | undefined>,
): Promise<string> {
  const states = await Promise.all(names.map(async (name) => [name, await stateOf(name)] as const));
  const odd = states.filter(([, state]) => state === undefined || state === 'T');
  if (odd.length === 0) return 'up';
  return odd.map(([name, state]) => `${name} ${state === 'T' ? 'hung' : 'down'}`).join(', ');
}

function sum(
  processes: readonly { readonly rss: number; readonly pss: number }[],
  of: 'rss' | 'pss',
): number {
  return processes.reduce((total, one) => total + one[of], 0);
}

function mebibytes(bytes: number): string {
  return `${Math.round(bytes / 1024 / 1024)} MiB`;
}
