import type { Command, Option } from 'commander';
import type { AccessChoice } from './access.ts';
import type { Api } from './api.ts';
import { EXIT } from './context.ts';
import type { Screen } from './output.ts';

/** Names alone, and no files. Source: https://github.com/spf13/cobra/blob/v1.10.1/completions.go */
const NO_FILES = ':4';
const FILES = ':0';

type Named = { readonly metadata: { readonly name: string } };
type Flags = AccessChoice & { readonly namespace?: string };

/**
 * Prints what the last word may become, a line each with a tab before its description, and last a directive, as kubectl
 * asks plugins for it. Source: https://github.com/kubernetes/kubectl/blob/v0.36.3/pkg/cmd/plugin_completion.go
 */
export async function complete(
  program: Command,
  words: readonly string[],
  screen: Screen,
  open: (chosen: AccessChoice) => Api,
): Promise<number> {
  const last = words.at(-1) ?? '';
  const before = words.slice(0, -1);
  const previous = before.at(-1) ?? '';
  const isBefore = ({ required, short, long }: Option) =>
    required && (previous === short || previous === long);
  const every = [program, ...program.commands].flatMap(({ options }) => options);
  const { operands } = program.parseOptions(every.some(isBefore) ? before.slice(0, -1) : [...before]);
  const flags = program.opts<Flags>();
  const command = program.commands.find((each) => each.name() === operands[0]);
  const options = [...program.options, ...(command?.options ?? [])];
  const awaited = options.find(isBefore);
  const found =
    awaited !== undefined
      ? await valuesOf(awaited, () => open(flags))
      : last.startsWith('-')
        ? options.map(({ long, description }) => `${long}\t${description}`)
        : command === undefined
          ? program.commands.map((each) => `${each.name()}\t${each.description()}`)
          : command.name() === 'why' && operands.length === 1
            ? await targets(() => open(flags), flags, last)
            : [];
  const lines = found.filter((line) => line.startsWith(last));
  screen.out(`${[...lines, awaited?.long === '--kubeconfig' ? FILES : NO_FILES].join('\n')}\n`);
  return EXIT.fine;
}

async function valuesOf(option: Option, open: () => Api): Promise<readonly string[]> {
  if (option.argChoices !== undefined) return option.argChoices;
  if (option.long === '--namespace') return names(open, '/api/v1/namespaces');
  if (option.long === '--context') return contextsOf(open);
  return [];
}

/** A shell that completes shows no errors: what cannot be read has no names. */
async function names(open: () => Api, path: string): Promise<readonly string[]> {
  try {
    return (await open().list<Named, string>(path, {}, ({ metadata }) => metadata.name)).items;
  } catch {
    return [];
  }
}

function contextsOf(open: () => Api): readonly string[] {
  try {
    return open().access.contexts;
  } catch {
    return [];
  }
}

/** Nodes and pods, with their kind where it was begun. */
async function targets(open: () => Api, { namespace }: Flags, last: string): Promise<readonly string[]> {
  const nodes = async () => names(open, '/api/v1/nodes');
  const pods = async () => {
    try {
      return await names(open, `/api/v1/namespaces/${namespace ?? open().access.namespace}/pods`);
    } catch {
      return [];
    }
  };
  if (last.startsWith('node/')) return (await nodes()).map((name) => `node/${name}`);
  if (last.startsWith('pod/')) return (await pods()).map((name) => `pod/${name}`);
  return (await Promise.all([nodes(), pods()])).flat();
}
