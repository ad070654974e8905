import { type Command, InvalidArgumentError, Option } from 'commander';
import { DEFAULT_NODES, type NodeRequest } from '../plan/nodes.ts';
import { startCluster } from '../start.ts';
import { nameOf, npm } from './command.ts';

export const CHOICES = {
  containerd: ['2', '1.7'],
  gvisor: ['current', '2025', '2026-09', '2026-09-bare', 'none'],
  machine: ['namespaces', 'vm'],
  arch: ['arm64'],
} as const satisfies Partial<Record<keyof NodeRequest, readonly string[]>>;
const MAX_NODES = 50;

const FORMS = Object.entries(CHOICES).map(([key, words]) => `${key}=${words.join('|')}`);

type UpOptions = { readonly nodes?: readonly NodeRequest[]; readonly node?: readonly NodeRequest[] };

export function addUp(program: Command): void {
  program
    .command('up')
    .description('start a cluster, or what is missing of it')
    .addOption(new Option('--nodes <count>', 'how many nodes').argParser(nodesFrom).conflicts('node'))
    .option('--node <properties>', `one node, again for each: name=NAME,${FORMS.join(',')}`, collectNode)
    .action(async ({ node, nodes = node }: UpOptions, command: Command) => {
      const name = nameOf(command);
      process.once('SIGINT', () => {
        process.stderr.write(
          `\nStopped. \`${npm(name, 'up')}\` goes on, \`${npm(name, 'down')}\` clears up.\n`,
        );
        process.exit(130);
      });
      const begun = Date.now();
      const cluster = await startCluster({ name, nodes });
      const seconds = ((Date.now() - begun) / 1000).toFixed(1);
      const count = cluster.nodes().length;
      console.log(`The cluster "${name}" is up: ${count} ${count === 1 ? 'node' : 'nodes'} Ready, ${seconds} s.
Try next:
  ${npm(name, 'status')}
  ${npm(name, 'kubectl get nodes')}
  ${npm(name, 'faults')}
  export KUBECONFIG=${cluster.kubeconfig}
  ${npm(name, 'down')}`);
    });
}

/** Default nodes first, then plain ones. */
function nodesFrom(count: string): readonly NodeRequest[] {
  const length = Number(count);
  if (!Number.isInteger(length) || length < 1 || length > MAX_NODES)
    throw new InvalidArgumentError(`It takes a whole number from 1 to ${MAX_NODES}.`);
  return Array.from({ length }, (_, at) => DEFAULT_NODES[at] ?? { name: `node-${at + 1}` });
}

/** Parses `name=a,containerd=1.7,gvisor=none`. */
function collectNode(text: string, before: readonly NodeRequest[] = []): readonly NodeRequest[] {
  const node = Object.fromEntries(text.split(',').map(parseProperty)) as NodeRequest;
  if (node.name !== undefined && before.some(({ name }) => name === node.name))
    throw new InvalidArgumentError(`Two nodes have the name "${node.name}".`);
  return [...before, node];
}

function parseProperty(pair: string): readonly [string, string] {
  const [key = '', value = ''] = pair.split(/=(.*)/s);
  const choices: Readonly<Record<string, readonly string[]>> = CHOICES;
  const fits = key === 'name' ? value !== '' : choices[key]?.includes(value);
  if (fits) return [key, value];
  throw new InvalidArgumentError(`Instead of "${pair}" write name=NAME or ${FORMS.join(' or ')}.`);
}
