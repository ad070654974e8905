import type { V1Node, V1NodeList } from '@kubernetes/client-node';
import type { Command } from 'commander';
import { formatTable } from '../../hack/table.ts';
import type { Cluster } from '../cluster.ts';
import { CONTROL_PLANE } from '../control-plane/control-plane.ts';
import { faultsOf } from '../faults/break-node.ts';
import { READY_LABEL } from '../labels.ts';
import { stateIn } from '../machine/machine.ts';
import type { ClusterNode } from '../node/node.ts';
import { DAEMONS } from '../node/system.ts';
import { npm, openRunning } from './command.ts';

const HEAD = ['NODE', 'READY', 'CONTAINERD', 'GVISOR', 'LABEL', 'GVISORREADY', 'DAEMONS', 'FAULTS'];

export function addStatus(program: Command): void {
  program
    .command('status')
    .description('show the nodes, their daemons, faults, label and condition')
    .action(async (_options: object, command: Command) => {
      if (!(await showStatus(await openRunning(command)))) process.exitCode = 1;
    });
}

/** Returns false if the API server does not respond. */
async function showStatus(cluster: Cluster): Promise<boolean> {
  const { controlPlane } = cluster;
  const objects = await cluster
    .kubectl(['get', 'nodes', '--output=json', '--request-timeout=5s'], undefined, 10_000)
    .then((text) => (JSON.parse(text) as V1NodeList).items)
    .catch(() => undefined);
  const rows: (readonly string[])[] = [];
  for (const node of cluster.nodes()) {
    const object = objects?.find(({ metadata }) => metadata?.name === node.name);
    rows.push(rowOf(node, object, await stateOf(node, cluster)));
  }
  const daemons = await daemonsOf(CONTROL_PLANE, async (daemon) =>
    stateIn(controlPlane, controlPlane.daemonPid(daemon)),
  );
  console.log(`${formatTable([HEAD, ...rows])}

control plane: ${daemons}
export KUBECONFIG=${cluster.kubeconfig}`);
  if (objects !== undefined) return true;
  console.log(`The API server does not answer: see \`${npm(cluster.name, 'logs control-plane')}\`.`);
  return false;
}

type NodeState = {
  /** The name that `--gvisor` takes. */
  readonly gvisor: string;
  readonly daemons: string;
  readonly faults: readonly string[];
};

/** A virtual machine that is starting or stuck has no known state. */
async function stateOf(node: ClusterNode, cluster: Cluster): Promise<NodeState> {
  if (node.machine.pid() === undefined) return { gvisor: '?', daemons: 'machine down', faults: [] };
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

/** `object` is undefined if the API server has none, or does not respond. */
function rowOf(
  { name, spec }: ClusterNode,
  object: V1Node | undefined,
  { gvisor, daemons, faults }: NodeState,
): readonly string[] {
  const { metadata, status } = object ?? {};
  const condition = (type: string) => status?.conditions?.find((one) => one.type === type);
  const verdict = condition('GVisorReady');
  return [
    name,
    condition('Ready')?.status ?? '?',
    status?.nodeInfo?.containerRuntimeVersion?.replace(/^containerd:\/\//, '') ?? spec.containerd,
    gvisor,
    metadata?.labels?.[READY_LABEL] ?? '-',
    verdict === undefined ? '-' : [verdict.status, verdict.reason].filter(Boolean).join(' '),
    daemons,
    faults.join(',') || '-',
  ];
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
