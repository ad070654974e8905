import type { V1Namespace } from '@kubernetes/client-node';
import type { Command, Option } from 'commander';
import type { Api } from '../api.ts';
import { EXIT } from '../context.ts';
import type { KubeconfigChoice } from '../kubeconfig.ts';
import type { Output } from '../output.ts';

/** Directives for the shell. Source: https://github.com/spf13/cobra/blob/v1.10.1/completions.go */
const NO_FILES = ':4';
const FILES = ':0';

type Flags = KubeconfigChoice & { readonly namespace?: string };

/**
 * Completes the last word as kubectl asks plugins to: a candidate a line with its description behind a tab, then a directive.
 * Source: https://github.com/kubernetes/kubectl/blob/v0.36.3/pkg/cmd/plugin_completion.go
 */
export async function complete(
  program: Command,
  words: readonly string[],
  output: Output,
  open: (choice: KubeconfigChoice) => Api,
): Promise<number> {
  const last = words.at(-1) ?? '';
  const before = words.slice(0, -1);
  const previous = before.at(-1) ?? '';
  const takesLast = ({ required, short, long }: Option) =>
    required && (previous === short || previous === long);
  const all = [program, ...program.commands].flatMap(({ options }) => options);
  const { operands } = program.parseOptions(all.some(takesLast) ? before.slice(0, -1) : [...before]);
  const flags = program.opts<Flags>();
  const command = program.commands.find((each) => each.name() === operands[0]);
  const options = [...program.options, ...(command?.options ?? [])];
  const option = options.find(takesLast);

  const candidates = async (): Promise<readonly string[]> => {
    if (option !== undefined) return valuesOf(option, () => open(flags));
    if (last.startsWith('-')) return options.map(({ long, description }) => `${long}\t${description}`);
    if (command === undefined) return program.commands.map((each) => `${each.name()}\t${each.description()}`);
    return command.name() === 'why' && operands.length === 1 ? targets(() => open(flags), flags, last) : [];
  };
  // A shell shows no errors while it completes.
  const found = await candidates().catch(() => []);
  const lines = found.filter((line) => line.startsWith(last));
  output.out(`${[...lines, option?.long === '--kubeconfig' ? FILES : NO_FILES].join('\n')}\n`);
  return EXIT.ok;
}

async function valuesOf(option: Option, open: () => Api): Promise<readonly string[]> {
  if (option.argChoices !== undefined) return option.argChoices;
  if (option.long === '--namespace') return namesIn(open(), '/api/v1/namespaces');
  if (option.long === '--context') return open().access.contexts;
  return [];
}

async function namesIn(api: Api, path: string): Promise<readonly string[]> {
  return (await api.list<V1Namespace, string>(path, {}, ({ metadata }) => metadata.name)).items;
}

/** Nodes and pods, with their kind where the word has one. */
async function targets(open: () => Api, { namespace }: Flags, last: string): Promise<readonly string[]> {
  const api = open();
  const nodes = () => namesIn(api, '/api/v1/nodes').catch(() => []);
  const pods = () =>
    namesIn(api, `/api/v1/namespaces/${namespace ?? api.access.namespace}/pods`).catch(() => []);
  if (last.startsWith('node/')) return (await nodes()).map((name) => `node/${name}`);
  if (last.startsWith('pod/')) return (await pods()).map((name) => `pod/${name}`);
  return (await Promise.all([nodes(), pods()])).flat();
}
