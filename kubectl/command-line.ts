import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { errorLine, sanitizeLine } from '../lib/base/sanitize.ts';
import { parseDuration } from '../lib/base/settings.ts';
import { VERSION } from '../lib/base/version.ts';
import { NAMESPACE } from '../lib/kube/access.ts';
import { wrap } from '../lib/report/format.ts';
import { Api } from './api/api.ts';
import { type Context, EXIT } from './api/context.ts';
import { contextsOf, type KubeconfigChoice, loadKubeconfig } from './api/kubeconfig.ts';
import type { RemovalOptions } from './cluster/node-marks.ts';
import { type CheckFlags, check } from './commands/check.ts';
import { checkFile } from './commands/check-file.ts';
import { clean } from './commands/clean.ts';
import { type NodesFlags, nodes } from './commands/nodes.ts';
import { page } from './commands/page.ts';
import { type PodsFlags, pods } from './commands/pods.ts';
import { type StatusFlags, status } from './commands/status.ts';
import { uninstall } from './commands/uninstall.ts';
import { why } from './commands/why.ts';
import { type Format, type Output, printMessage } from './text/output.ts';

const CODES = 'Exit codes: 0 fine, 1 a problem was found, 2 could not look, 64 wrong usage, 130 interrupted.';

export type PluginOptions = Omit<RemovalOptions, 'yes'> & {
  readonly env: NodeJS.ProcessEnv;
  readonly output: Output;
  readonly now: () => number;
  readonly signal: AbortSignal;
  /** As in {@link Context}. */
  readonly pollMs?: number;
};

type GlobalFlags = ApiChoice & { readonly namespace?: string; readonly requestTimeout: number };
type ApiChoice = KubeconfigChoice & {
  readonly gvisorReadyNamespace?: string;
  readonly as?: string;
  readonly asGroup?: readonly string[];
};

const POLL_MS = 2_000;
const INSTALLED_IN = 'GVISOR_READY_NAMESPACE';

/** Resolves with the exit code; never rejects. */
export async function runPlugin(argv: readonly string[], options: PluginOptions): Promise<number> {
  const { output, signal } = options;
  let code: number = EXIT.ok;
  const program = buildProgram(options, (result) => {
    code = result;
  });
  try {
    if (argv[0] === '__complete') output.out(await complete(program, argv.slice(1), options));
    else await program.parseAsync([...argv], { from: 'user' });
    return code;
  } catch (error) {
    // Commander has printed its own errors; commands throw this one.
    const isUsage = error instanceof InvalidArgumentError;
    if (error instanceof CommanderError && !isUsage) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    printMessage(output, signal.aborted ? 'Interrupted.' : sanitizeLine(errorLine(error)));
    if (signal.aborted) return EXIT.interrupted;
    return isUsage ? EXIT.usage : EXIT.incomplete;
  }
}

/** `end` receives the exit code. */
function buildProgram(options: PluginOptions, end: (code: number) => void): Command {
  const { output, now, signal, pollMs = POLL_MS } = options;
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
    .option('--as <user>', 'user to impersonate')
    .option('--as-group <group>', 'group to impersonate; may be repeated', (group, groups: string[] = []) => [
      ...groups,
      group,
    ])
    .addOption(
      new Option('--request-timeout <time>', 'timeout of one request, such as 5s; 0 means none')
        .default(30_000, '30s')
        .argParser(timeoutOf),
    )
    .addHelpText('after', () => `\n${wrap(CODES, output.width).join('\n')}`);

  const context = (command: Command): Context => {
    const flags = command.optsWithGlobals<GlobalFlags>();
    const api = openApi(flags, options, flags.requestTimeout);
    return { api, output, namespace: flags.namespace ?? api.access.namespace, now, signal, pollMs };
  };
  const command = (name: string, description: string) => program.command(name).description(description);
  const format = (...formats: readonly string[]) =>
    new Option('-o, --output <format>', 'format of the output').choices(formats);
  const noHeaders = new Option('--no-headers', 'omit the header line');
  const selector = (of: string) => new Option('-l, --selector <labels>', `only ${of} with these labels`);
  const yes = new Option('--yes', 'do not ask');

  command('status', 'the fleet at a glance')
    .addOption(format('json', 'yaml'))
    .addOption(selector('nodes'))
    .option('--wait', 'wait until nothing is wrong')
    .addOption(
      new Option('--timeout <time>', 'how long --wait waits')
        .default(300_000, '5m')
        .argParser(timeoutOf)
        .implies({ wait: true }),
    )
    .action(async (flags: StatusFlags, self: Command) => end(await status(context(self), flags)));
  command('nodes', 'every node: its label, the reason, since when, its agent')
    .addOption(format('wide', 'json', 'yaml'))
    .addOption(selector('nodes'))
    .addOption(noHeaders)
    .option('-w, --watch', 'then print each row that changes, until interrupted')
    .action(async (flags: NodesFlags, self: Command) => end(await nodes(context(self), flags)));
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
    .addOption(selector('pods'))
    .addOption(noHeaders)
    .action(async (flags: PodsFlags, self: Command) => end(await pods(context(self), flags)));
  command('check', 'whether everything that gVisor needs in this cluster is there and consistent')
    .addOption(format('json', 'yaml'))
    .option('--pre', 'check before installing')
    .addOption(
      new Option(
        '-f, --filename <file>',
        'only what gVisor makes of the pods of these manifests; - reads them from standard input',
      ).conflicts('pre'),
    )
    .action(async ({ filename, ...flags }: CheckFlags & { filename?: string }, self: Command) =>
      end(
        filename === undefined
          ? await check(context(self), flags)
          : await checkFile(output, signal, { ...flags, filename }),
      ),
    );
  command('page', 'the page of the fleet controller on this machine, until interrupted').action(
    async (_, self: Command) => end(await page(context(self))),
  );
  command('clean', 'remove what an agent left on nodes that are no longer in the DaemonSet; asks first')
    .argument('[node...]', 'names of nodes')
    .addOption(selector('nodes'))
    .addOption(yes)
    .action(async (names: string[], { yes = false, ...flags }: CleanFlags, self: Command) =>
      end(await clean(context(self), { names, ...flags }, { yes, ...options })),
    );
  command('uninstall', 'remove from every node what agents wrote there; asks first')
    .addOption(yes)
    .action(async ({ yes = false }: { yes?: boolean }, self: Command) =>
      end(await uninstall(context(self), { yes, ...options })),
    );
  return program;
}

type CleanFlags = { readonly yes?: boolean; readonly selector?: string };

/** Directives for the shell. Source: https://github.com/spf13/cobra/blob/v1.10.1/completions.go */
const [FILES, NO_FILES] = [':0', ':4'];

/** A shell waits for the API server no longer than this. */
const COMPLETION_MS = 3_000;

/**
 * As kubectl asks plugins: a candidate a line, its description behind a tab, then a directive. Source:
 * https://github.com/kubernetes/kubectl/blob/v0.36.3/pkg/cmd/plugin_completion.go
 */
async function complete(program: Command, words: readonly string[], options: PluginOptions): Promise<string> {
  const { commands, options: global } = program;
  const [previous, last = ''] = ['', ...words].slice(-2);
  const [command] = words.slice(0, -1).flatMap((word) => commands.find((each) => each.name() === word) ?? []);
  const flags = [...global, ...(command?.options ?? [])];
  const flag = flags.find(({ required, short, long }) => required && [short, long].includes(previous));
  const candidates = async (): Promise<readonly string[]> => {
    if (flag !== undefined) return flag.argChoices ?? namesFor(flag.long, words, options);
    if (last.startsWith('-')) return flags.map(({ long, description }) => `${long}\t${description}`);
    if (command === undefined) return commands.map((each) => `${each.name()}\t${each.description()}`);
    return namesFor(command.name(), words, options);
  };
  const directive = flag?.flags.endsWith('<file>') ? FILES : NO_FILES;
  const found = await candidates();
  return `${[...found.filter((line) => line.startsWith(last)), directive].join('\n')}\n`;
}

/** Names that a flag, or the argument of a command, can have; none if the cluster does not answer. */
async function namesFor(
  what: string | null | undefined,
  words: readonly string[],
  options: PluginOptions,
): Promise<readonly string[]> {
  const flagValue = (...flags: readonly string[]) =>
    words.find((_, at) => flags.includes(words[at - 1] ?? '') && at < words.length - 1);
  const [kubeconfig, context] = [flagValue('--kubeconfig'), flagValue('--context')];
  const choice = { ...(kubeconfig && { kubeconfig }), ...(context && { context }) };
  try {
    if (what === '--context') return contextsOf(choice);
    const api = openApi(choice, options, COMPLETION_MS);
    const names = (path: string) => api.list(path, {}, ({ metadata }) => metadata.name);
    const pods = () =>
      names(`/api/v1/namespaces/${flagValue('-n', '--namespace') ?? api.access.namespace}/pods`);
    if (what === '--namespace' || what === '--gvisor-ready-namespace')
      return await names('/api/v1/namespaces');
    if (what === 'clean') return await names('/api/v1/nodes');
    if (what === 'why') return (await Promise.all([names('/api/v1/nodes'), pods()])).flat();
  } catch {
    // A shell has no place for a message.
  }
  return [];
}

/** Milliseconds; 0 means no timeout. Source: https://kubernetes.io/docs/reference/kubectl/kubectl/ */
function timeoutOf(text: string): number {
  const ms = parseDuration(/^\d+$/.test(text) ? `${text}s` : text);
  if (ms === undefined) throw new InvalidArgumentError('Write for example 5s, 2m, or 0.');
  return Math.round(ms);
}

function openApi(choice: ApiChoice, { env, signal }: PluginOptions, timeoutMs: number): Api {
  const { as: user, asGroup: groups = [] } = choice;
  if (user === undefined && groups.length > 0) throw new InvalidArgumentError('--as-group needs --as');
  const headers = {
    'user-agent': `kubectl-gvisor_ready/${VERSION}`,
    ...(user === undefined ? {} : { 'impersonate-user': user }),
    ...(groups.length === 0 ? {} : { 'impersonate-group': [...groups] }),
  };
  const installedIn = choice.gvisorReadyNamespace || env[INSTALLED_IN] || NAMESPACE;
  return new Api(loadKubeconfig(choice, env), { installedIn, timeoutMs, headers, signal });
}
