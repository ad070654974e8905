import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { errorLine } from '../agent/sanitize.ts';
import { wrap } from '../agent/text/format.ts';
import { VERSION } from '../agent/version.ts';
import { type AccessChoice, openAccess } from './access.ts';
import { Api } from './api.ts';
import { type CheckOptions, check } from './check.ts';
import { complete } from './completion.ts';
import { type Context, EXIT, UsageError } from './context.ts';
import { type NodesOptions, nodes } from './nodes.ts';
import type { Format } from './output.ts';
import { parseTimeout, printProblem, type Screen, sanitize } from './output.ts';
import { type PodsOptions, pods } from './pods.ts';
import { status } from './status.ts';
import { uninstall } from './uninstall.ts';
import { watchNodes } from './watch-nodes.ts';
import { why } from './why.ts';

const CODES = 'Exit codes: 0 fine, 1 a problem was found, 2 could not look, 64 wrong usage.';

/** What the plugin is given by the process that it runs in. */
export type Streams = {
  readonly env: NodeJS.ProcessEnv;
  readonly screen: Screen;
  readonly now: () => number;
  readonly signal: AbortSignal;
  /** Absent where nobody can be asked. */
  readonly ask?: (question: string) => Promise<boolean>;
  /** How long to wait before looking whether an agent has written anew, milliseconds. */
  readonly settleMs?: number;
};

/** The flags of every command. */
type Global = {
  readonly namespace?: string;
  readonly context?: string;
  readonly kubeconfig?: string;
  readonly requestTimeout: number;
};

/** The word with which a shell asks for completions; and how long it waits for them, milliseconds. */
const COMPLETE = '__complete';
const COMPLETE_MS = 3_000;

/** Runs the plugin with the words after its name; gives the exit code, and never rejects. */
export async function runPlugin(words: readonly string[], surroundings: Streams): Promise<number> {
  const { screen } = surroundings;
  let code: number = EXIT.fine;
  const program = programOf(surroundings, (result) => {
    code = result;
  });
  try {
    if (words[0] === COMPLETE)
      return await complete(program, words.slice(1), screen, (chosen) =>
        apiOf(chosen, surroundings, COMPLETE_MS),
      );
    await program.parseAsync([...words], { from: 'user' });
    return code;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.fine : EXIT.usage;
    printProblem(screen, surroundings.signal.aborted ? 'Interrupted.' : sanitize(errorLine(error)));
    return error instanceof UsageError ? EXIT.usage : EXIT.blind;
  }
}

/** The commands; `end` is told each one's exit code. */
function programOf(surroundings: Streams, end: (code: number) => void): Command {
  const { screen, now, signal, ask, settleMs } = surroundings;
  const program = new Command('kubectl gvisor-ready')
    .description('Says on which nodes gVisor is proven, why not on others, and which pods really run in it.')
    .version(VERSION, '--version', 'print the version of this plugin')
    .exitOverride()
    .showSuggestionAfterError()
    .configureHelp({ showGlobalOptions: true, minWidthToWrap: 20 })
    .configureOutput({
      writeOut: screen.out,
      writeErr: screen.err,
      outputError: (text) => printProblem(screen, text.trim().replace(/\s+/g, ' ')),
      getOutHelpWidth: () => Math.min(screen.columns, 100),
      getErrHelpWidth: () => Math.min(screen.columns, 100),
      getOutHasColors: () => screen.colored,
      getErrHasColors: () => screen.colored,
    })
    .option('-n, --namespace <name>', 'namespace of pods; that of the context unless named')
    .option('--context <name>', 'context of the kubeconfig')
    .option('--kubeconfig <file>', 'kubeconfig to use')
    .addOption(
      new Option('--request-timeout <time>', 'how long one request may take, such as 5s; 0 is without end')
        .default(30_000, '30s')
        .argParser(timeoutOf),
    )
    .addHelpText('after', () => `\n${wrap(CODES, screen.columns).join('\n')}`);

  const context = (command: Command): Context => {
    const chosen = command.optsWithGlobals<Global>();
    const api = apiOf(chosen, surroundings, chosen.requestTimeout);
    return { api, screen, namespace: chosen.namespace ?? api.access.namespace, now, signal };
  };
  const command = (name: string, description: string) => program.command(name).description(description);
  const output = (...formats: readonly string[]) =>
    new Option('-o, --output <format>', 'format of the output').choices(formats);
  const noHeaders = new Option('--no-headers', 'leave out the line with the names of the columns');

  command('status', 'the fleet at a glance')
    .addOption(output('json', 'yaml'))
    .action(async (options: { output?: Format }, self: Command) =>
      end(await status(context(self), options.output)),
    );
  command('nodes', 'every node: its label, the reason, since when, its agent')
    .addOption(output('wide', 'json', 'yaml'))
    .option('-w, --watch', 'go on and show each node that changes')
    .addOption(noHeaders)
    .action(async (options: NodesOptions, self: Command) =>
      end(await (options.watch ? watchNodes : nodes)(context(self), options)),
    );
  command('why', 'why a node is not ready, or why a pod waits, was rejected, or is not in gVisor')
    .argument('<name>', 'a node or a pod; node/NAME or pod/NAME where both have the name')
    .addOption(output('json', 'yaml'))
    .action(async (name: string, options: { output?: Format }, self: Command) =>
      end(await why(context(self), name, options.output)),
    );
  command('pods', 'which running pods are really in gVisor, as the agents see them')
    .addOption(output('wide', 'json', 'yaml'))
    .option('-A, --all-namespaces', 'of all namespaces')
    .addOption(noHeaders)
    .action(async (options: PodsOptions, self: Command) => end(await pods(context(self), options)));
  command('check', 'whether all that gVisor needs in this cluster is there and fits together')
    .addOption(output('json', 'yaml'))
    .option('--pre', 'before installing: whether it can be')
    .action(async (options: CheckOptions, self: Command) => end(await check(context(self), options)));
  command('uninstall', 'take off every node what agents wrote there; asks first')
    .option('--yes', 'do not ask')
    .action(async (options: { yes?: boolean }, self: Command) =>
      end(
        await uninstall(context(self), { ...options, ask, ...(settleMs === undefined ? {} : { settleMs }) }),
      ),
    );
  return program;
}

/** The API server of a context, asked with a deadline in milliseconds. */
function apiOf(chosen: AccessChoice, { env, signal }: Streams, timeoutMs: number): Api {
  const userAgent = `kubectl-gvisor_ready/${VERSION}`;
  return new Api(openAccess(chosen, env), { timeoutMs, userAgent, signal });
}

function timeoutOf(text: string): number {
  const ms = parseTimeout(text);
  if (ms === undefined) throw new InvalidArgumentError('Write for example 5s, 1m30s, or 0.');
  return ms;
}
