import { UsageError } from '../../hack/run.ts';
import { unknownWord } from '../nearest.ts';
import { DEFAULT_NODES, type NodeRequest } from '../node/plan.ts';
import { startCluster } from '../start.ts';
import { type Command, npm } from './command.ts';

const CHOICES = {
  containerd: ['2', '1.7'],
  gvisor: ['current', '2025', '2026-09', '2026-09-bare', 'none'],
  machine: ['namespaces', 'vm'],
} as const;
const MOST_NODES = 50;

/** Options that say what a node is made of. */
export const NODE_OPTIONS = {
  containerd: { type: 'string' },
  gvisor: { type: 'string' },
  machine: { type: 'string' },
} as const;

const PROPERTIES = ['name', ...Object.keys(CHOICES)];

/** `up`: starts a cluster or what is missing of it. */
export const up: Command = {
  flags:
    '[--nodes N | --node name=…,containerd=2|1.7,gvisor=current|2025|2026-09|2026-09-bare|none,machine=vm …] [--port PORT]',
  does: 'starts a cluster, or what is missing of it',
  options: {
    nodes: { type: 'string' },
    node: { type: 'string', multiple: true },
    port: { type: 'string' },
  },
  run: async ({ name, values }) => {
    const nodes = nodesFrom(values.nodes, values.node);
    const port = values.port === undefined ? undefined : wholeNumber('--port', values.port, 65_535);
    const begun = Date.now();
    const cluster = await startCluster({
      name,
      ...(nodes === undefined ? {} : { nodes }),
      ...(port === undefined ? {} : { port }),
    });
    const seconds = ((Date.now() - begun) / 1000).toFixed(1);
    const count = cluster.nodes().length;
    console.log(`The cluster "${name}" is up: ${count} ${count === 1 ? 'node' : 'nodes'} Ready, ${seconds} s.
Try next:
  ${npm(name, 'status')}
  ${npm(name, 'kubectl get nodes')}
  ${npm(name, 'faults')}
  export KUBECONFIG=${cluster.kubeconfig}
  ${npm(name, 'down')}`);
    return undefined;
  },
};

/** The nodes that `--nodes N` or `--node …` ask for; undefined when neither is given. */
export function nodesFrom(count: unknown, each: unknown): readonly NodeRequest[] | undefined {
  if (count !== undefined && each !== undefined) throw new UsageError('Give --nodes or --node, not both.');
  if (count !== undefined) {
    const names = Array.from(
      { length: wholeNumber('--nodes', count, MOST_NODES) },
      (_, at) => `node-${at + 1}`,
    );
    return names.map((name, at) => DEFAULT_NODES[at] ?? { name });
  }
  if (!Array.isArray(each)) return undefined;
  const nodes = each.map((text) => parseNode(String(text)));
  const names = nodes.flatMap((node) => node.name ?? []);
  const twice = names.find((name, at) => names.indexOf(name) !== at);
  if (twice !== undefined) throw new UsageError(`Two nodes have the name "${twice}": name each otherwise.`);
  return nodes;
}

/** Reads `name=a,containerd=1.7,gvisor=none`. */
export function parseNode(text: string): NodeRequest {
  const pairs = text.split(',').map((pair) => {
    const [key = '', value] = pair.split(/=(.*)/s);
    if (!PROPERTIES.includes(key)) throw unknownWord('property of a node', key, PROPERTIES);
    if (!value) throw new UsageError(`"${pair}" in --node lacks a value: write ${key}=….`);
    return [key, value] as const;
  });
  const { name, ...rest } = Object.fromEntries(pairs) as Record<string, string>;
  return { ...(name === undefined ? {} : { name }), ...nodeChoices(rest) };
}

/** What `containerd`, `gvisor` and `machine` say of a node, each one of a few words. */
export function nodeChoices(values: Readonly<Record<string, unknown>>): Omit<NodeRequest, 'name'> {
  const chosen = Object.entries(CHOICES).flatMap(([key, words]) => {
    const value = values[key];
    if (value === undefined) return [];
    const known: readonly string[] = words;
    if (!known.includes(String(value))) throw unknownWord(`${key} for nodes`, String(value), known);
    return [[key, value] as const];
  });
  return Object.fromEntries(chosen) as Omit<NodeRequest, 'name'>;
}

function wholeNumber(flag: string, value: unknown, most: number): number {
  const number = Number(value);
  if (Number.isInteger(number) && number >= 1 && number <= most) return number;
  throw new UsageError(`${flag} takes a whole number from 1 to ${most}, not "${value}".`);
}
