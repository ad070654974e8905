import { join } from 'node:path';
import { type ParseArgsOptionsConfig, parseArgs } from 'node:util';
import { CLUSTERS } from '../../hack/paths.ts';
import { UsageError } from '../../hack/run.ts';
import { Cluster } from '../cluster.ts';
import { requireName, requireRoot } from '../machine/host-checks.ts';
import { Machine } from '../machine/machine.ts';
import { unknownWord } from '../nearest.ts';
import { clusterNames } from '../remove.ts';

/** What a command is called with: the cluster's name, its arguments, its options. */
export type Call = {
  readonly name: string;
  readonly args: readonly string[];
  readonly values: Readonly<Record<string, string | boolean | readonly (string | boolean)[] | undefined>>;
};

/** One command of the command line; gives the exit code if that is not 0. */
export type Command = {
  /** The words it takes, in order; one in brackets may be left out. */
  readonly args?: readonly string[];
  /** Its options as its line of help has them. */
  readonly flags?: string;
  readonly does: string;
  readonly options?: ParseArgsOptionsConfig;
  /** Takes all words that follow as they are. */
  readonly raw?: boolean;
  readonly run: (call: Call) => Promise<number | undefined> | number | undefined;
};

const COMMON = {
  name: { type: 'string' },
  help: { type: 'boolean', short: 'h' },
} as const satisfies ParseArgsOptionsConfig;

/** The cluster that is meant when none is named. */
export const DEFAULT_NAME = 'dev';

/** Reads a command's words; throws a UsageError on what it does not know and on what is missing. */
export function readCall(
  word: string,
  command: Command,
  words: readonly string[],
  name = DEFAULT_NAME,
): Call {
  if (command.raw) return { name, args: words, values: {} };
  const options = { ...command.options, ...COMMON };
  const { values, positionals } = parse(words, options);
  const call = { name: typeof values.name === 'string' ? values.name : name, args: positionals, values };
  if (values.help) return call;
  const { args = [] } = command;
  const needed = args.filter((arg) => !arg.startsWith('['));
  const usage = `usage: npm run cluster -- ${usageOf(word, command)}`;
  if (positionals.length < needed.length) {
    throw new UsageError(`\`${word}\` needs ${needed.join(' and ')}; ${usage}`);
  }
  if (positionals.length > args.length) {
    throw new UsageError(`\`${word}\` does not know what "${positionals[args.length]}" is for; ${usage}`);
  }
  return call;
}

/** A command as people type it. */
export function usageOf(word: string, { args = [], flags }: Command): string {
  return [word, ...args, flags].filter(Boolean).join(' ');
}

function parse(words: readonly string[], options: ParseArgsOptionsConfig) {
  try {
    return parseArgs({ args: [...words], options, allowPositionals: true, strict: true });
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const flag = /Unknown option '(-[^']*)'/.exec(message)?.[1];
    if (code === 'ERR_PARSE_ARGS_UNKNOWN_OPTION' && flag !== undefined) {
      throw unknownWord(
        'option',
        flag,
        Object.keys(options).map((option) => `--${option}`),
      );
    }
    if (code?.startsWith('ERR_PARSE_ARGS')) throw new UsageError(`${message.split('\n')[0]}; see --help.`);
    throw error;
  }
}

/** A handle on a cluster that runs; a UsageError says how to start it when it does not. */
export async function openRunning(name: string): Promise<Cluster> {
  requireName(name);
  requireRoot();
  const there = clusterNames();
  if (there.includes(name) && new Machine('control-plane', join(CLUSTERS, name, 'hub')).pid() !== undefined) {
    return Cluster.open(name);
  }
  const others = there.filter((other) => other !== name);
  const known = others.length > 0 ? ` There is: ${others.join(', ')}.` : '';
  throw new UsageError(`The cluster "${name}" is not up: start it with \`${npm(name, 'up')}\`.${known}`);
}

/** A command to type, for the named cluster. */
export function npm(name: string, words: string): string {
  return `npm run cluster -- ${name === DEFAULT_NAME ? '' : `--name ${name} `}${words}`;
}
