import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { VERSION } from '../agent/config.ts';
import { NAMESPACE } from '../agent/kube/access.ts';
import { errorLine, sanitizeLine } from '../agent/sanitize.ts';
import { wrap } from '../agent/text/format.ts';
import { Api } from './api.ts';
import { type CheckFlags, check } from './commands/check.ts';
import { complete } from './commands/completion.ts';
import { type NodesFlags, nodes, watchNodes } from './commands/nodes.ts';
import { type PodsFlags, pods } from './commands/pods.ts';
import { type StatusFlags, status } from './commands/status.ts';
import { uninstall } from './commands/uninstall.ts';
import { why } from './commands/why.ts';
import { type Context, EXIT } from './context.ts';
import { type KubeconfigChoice, loadKubeconfig } from './kubeconfig.ts';
import { type Format, type Output, parseTimeout, printMessage } from './output.ts';

const CODES = 'Exit codes: 0 fine, 1 a problem was found, 2 could not look, 64 wrong usage.';

/** What the process passes to the plugin. */
export type PluginOptions = {
  readonly env: NodeJS.ProcessEnv;
  readonly output: Output;
  readonly now: () => number;
  readonly signal: AbortSignal;
  /** Asks the user a yes/no question; absent without a terminal. */
  readonly confirm?: (prompt: string) => Promise<boolean>;
  /** How long `uninstall` waits before it looks whether an agent has written again, milliseconds. */
  readonly recheckMs?: number;
};

/** The flags of every command. */
type GlobalFlags = ApiChoice & { readonly namespace?: string; readonly requestTimeout: number };
type ApiChoice = KubeconfigChoice & { readonly gvisorReadyNamespace?: string };

/** The environment variable for the namespace of gvisor-ready. */
const INSTALLED_IN = 'GVISOR_READY_NAMESPACE';

/** The hidden command of shell completion, and its timeout. */
const COMPLETE = '__complete';
const COMPLETE_TIMEOUT_MS = 3_000;

/** Runs the plugin with its arguments and resolves with the exit code; never rejects. */
export async function runPlugin(argv: readonly string[], options: PluginOptions): Promise<number> {
  const { output, signal } = options;
  let code: number = EXIT.ok;
  const program = buildProgram(options, (result) => {
    code = result;
  });
  try {
    if (argv[0] === COMPLETE)
      return await complete(program, argv.slice(1), output, (chosen) =>
        openApi(chosen, options, COMPLETE_TIMEOUT_MS),
      );
    await program.parseAsync([...argv], { from: 'user' });
    return code;
  } catch (error) {
    // Commander has printed its own errors; commands throw this one.
    const isUsage = error instanceof InvalidArgumentError;
    if (error instanceof CommanderError && !isUsage) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    printMessage(output, signal.aborted ? 'Interrupted.' : sanitizeLine(errorLine(error)));
    return isUsage ? EXIT.usage : EXIT.incomplete;
  }
}

/** Defines the commands; `end` receives the exit code of the one that ran. */
function buildProgram(options: PluginOptions, end: (code: number) => void): Command {
  const { output, now, signal } = options;
  const program = new Command('kubectl gvisor-ready')
    .description('Shows on which nodes gVisor is proven, why not on others, and which pods really run in it.')
    .version(VERSION, '--version', 'print the version of this plugin')
    .exitOverride()
    .showSuggestionAfterError()
    .configureHelp({ showGlobalOptions: true, minWidthToWrap: 20 })
    .configureOutput({
      writeOut: output.out,
      writeErr: output.err,
      outputError: (text) => printMessage(output, text.trim().replace(/\s+/g, ' ')),
      getOutHelpWidth: () => Math.min(output.width, 100),
      getErrHelpWidth: () => Math.min(output.width, 100),
      getOutHasColors: () => output.colored,
      getErrHasColors: () => output.colored,
    })
    .option('-n, --namespace <name>', 'namespace of pods (default: that of the context)')
    .option(
      '--gvisor-ready-namespace <name>',
      `namespace where gvisor-ready is installed (default: $${INSTALLED_IN}, else ${NAMESPACE})`,
    )
    .option('--context <name>', 'context of the kubeconfig')
    .option('--kubeconfig <file>', 'kubeconfig to use')
    .addOption(
      new Option('--request-timeout <time>', 'timeout of one request, such as 5s; 0 means none')
        .default(30_000, '30s')
        .argParser((text) => {
          const ms = parseTimeout(text);
          if (ms === undefined) throw new InvalidArgumentError('Write for example 5s, 1m30s, or 0.');
          return ms;
        }),
    )
    .addHelpText('after', () => `\n${wrap(CODES, output.width).join('\n')}`);

  const context = (command: Command): Context => {
    const flags = command.optsWithGlobals<GlobalFlags>();
    const api = openApi(flags, options, flags.requestTimeout);
    return { api, output, namespace: flags.namespace ?? api.access.namespace, now, signal };
  };
  const command = (name: string, description: string) => program.command(name).description(description);
  const format = (...formats: readonly string[]) =>
    new Option('-o, --output <format>', 'format of the output').choices(formats);
  const noHeaders = new Option('--no-headers', 'omit the header line');

  command('status', 'the fleet at a glance')
    .addOption(format('json', 'yaml'))
    .action(async (flags: StatusFlags, self: Command) => end(await status(context(self), flags)));
  command('nodes', 'every node: its label, the reason, since when, its agent')
    .addOption(format('wide', 'json', 'yaml'))
    .option('-w, --watch', 'keep watching, and print each node that changes')
    .addOption(noHeaders)
    .action(async (flags: NodesFlags, self: Command) =>
      end(await (flags.watch ? watchNodes : nodes)(context(self), flags)),
    );
  command(
    'why',
    'why a node is not ready, or why a pod waits, was rejected, is not in gVisor, or does not end',
  )
    .argument('<name>', 'a node or a pod; node/NAME or pod/NAME where both have the name')
    .addOption(format('json', 'yaml'))
    .action(async (name: string, flags: { output?: Format }, self: Command) =>
      end(await why(context(self), name, flags.output)),
    );
  command('pods', 'which running pods are really in gVisor, as the agents see them')
    .addOption(format('wide', 'json', 'yaml'))
    .option('-A, --all-namespaces', 'list pods of all namespaces')
    .addOption(noHeaders)
    .action(async (flags: PodsFlags, self: Command) => end(await pods(context(self), flags)));
  command('check', 'whether everything that gVisor needs in this cluster is there and consistent')
    .addOption(format('json', 'yaml'))
    .option('--pre', 'check before installing')
    .action(async (flags: CheckFlags, self: Command) => end(await check(context(self), flags)));
  command('uninstall', 'remove from every node what agents wrote there; asks first')
    .option('--yes', 'do not ask')
    .action(async ({ yes = false }: { yes?: boolean }, self: Command) =>
      end(await uninstall(context(self), { yes, ...options })),
    );
  return program;
}

function openApi(choice: ApiChoice, { env, signal }: PluginOptions, timeoutMs: number): Api {
  const userAgent = `kubectl-gvisor_ready/${VERSION}`;
  const installedIn = choice.gvisorReadyNamespace || env[INSTALLED_IN] || NAMESPACE;
  return new Api(loadKubeconfig(choice, env), { installedIn, timeoutMs, userAgent, signal });
}
