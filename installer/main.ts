import { statSync } from 'node:fs';
import { Command, CommanderError, InvalidArgumentError } from 'commander';
import { HANDLER_NAME } from '../lib/base/handler-name.ts';
import { VERSION } from '../lib/base/version.ts';
import { CriClient } from '../lib/containerd/client.ts';
import { readDistribution, rememberConfigPath } from '../lib/containerd/distribution.ts';
import { Host, localSocket } from '../lib/host/host.ts';
import type { Node } from './base/node.ts';
import { patientReport } from './base/progress.ts';
import { Refusal } from './base/refusal.ts';
import { check } from './commands/check.ts';
import { type InstallOptions, install } from './commands/install.ts';
import { remove } from './commands/remove.ts';
import { revive } from './commands/revive.ts';
import { rollback } from './commands/rollback.ts';
import { stageOnly } from './commands/stage.ts';
import { status } from './commands/status.ts';
import { holdLock } from './journal/lock.ts';
import { EXIT, print, printRefusal } from './print.ts';

const RETRY_NOW = 'try again what failed before its time, or a release that a rollback left';

// No top-level await: the bundle is CommonJS.
void main().then((code) => {
  process.exitCode = code;
});

type Settings = {
  readonly root: string;
  readonly handler: string;
  readonly json: boolean;
  readonly socket?: string;
  readonly config?: string;
  readonly restartCommand?: string;
  readonly restart: boolean;
};

async function main(): Promise<number> {
  // A connection that breaks ends no installation half way.
  process.on('SIGHUP', () => {});
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {});
  process.umask(0o022); // runsc drops its privileges and must read what is installed
  let code: number = EXIT.done;
  const program = new Command('gvisor-ready-install')
    .description(
      'Installs gVisor on a node. It is done once a sandbox booted through containerd and was seen to be gVisor.',
    )
    .version(VERSION)
    .option('--root <directory>', "the node's files", '/')
    .option('--handler <name>', "the handler in containerd's configuration", parseHandler, 'runsc')
    .option('--socket <path>', "containerd's socket; found by default")
    .option('--config <path>', "containerd's root configuration file; found by default")
    .option('--restart-command <command>', 'restarts containerd where no systemd unit runs it')
    .option('--no-restart', 'only write: containerd loads the handler when it starts next (machine images)')
    .option('--json', 'print one JSON object a line', false)
    .exitOverride()
    .showHelpAfterError('Try --help.');
  type Work = (node: Node, options: Record<string, unknown>) => Promise<void>;
  const on = (command: Command, work: Work, acts = true) =>
    command.action(async (options: Record<string, unknown>) => {
      const locks = acts && options.dryRun !== true;
      const settings = program.opts<Settings>();
      await runCommand(settings, (node) => work(node, options), locks).catch((error: unknown) => {
        code = printRefusal(error, settings.json);
      });
    });
  on(
    program.command('check').description('see whether this node can have gVisor; changes nothing'),
    check,
    false,
  );
  on(
    withRelease(program.command('install'))
      .description('install a release, or finish or take back an interrupted installation')
      .option('--retry-now', RETRY_NOW, false)
      .option('--dry-run', 'print what would be done, and do nothing', false),
    (node, { flag, ...options }) => install(node, { ...options, flags: flag } as InstallOptions),
  );
  on(program.command('rollback').description('go back to the release before'), (node) => rollback(node));
  on(
    program
      .command('remove')
      .description('take away what was installed, and nothing else')
      .option('--force', 'although gVisor pods run', false)
      .option('--retry-now', RETRY_NOW, false),
    (node, { force, retryNow }) => remove(node, { force: force === true, retryNow: retryNow === true }),
  );
  on(
    withRelease(program.command('stage')).description(
      "copy the programs and print the handler's table, for systems that render the configuration of containerd",
    ),
    (node, { release, flag }) => stageOnly(node, release as string, flag as ReadonlyMap<string, string>),
  );
  on(program.command('status').description('what is installed, and which processes use it'), status, false);
  try {
    await program.parseAsync(process.argv);
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.done : EXIT.usage;
    throw error;
  }
  return code;
}

function withRelease(command: Command): Command {
  return command
    .option('--release <directory>', 'a release of gVisor with its manifest.json', '/release')
    .option('--flag <flag=value>', 'a flag of runsc, repeatable', collectFlags, new Map<string, string>());
}

function parseHandler(name: string): string {
  if (!HANDLER_NAME.test(name))
    throw new InvalidArgumentError('It must be lower-case letters, digits, "-" and ".", such as runsc-kvm.');
  return name;
}

function collectFlags(text: string, before: ReadonlyMap<string, string>): ReadonlyMap<string, string> {
  const [, flag, value] = /^([\w-]+)=(.*)$/.exec(text) ?? [];
  if (flag === undefined || value === undefined)
    throw new InvalidArgumentError('It must look like platform=kvm.');
  return new Map([...before, [flag, value]]);
}

async function runCommand(
  settings: Settings,
  work: (node: Node) => Promise<void>,
  locks: boolean,
): Promise<void> {
  const { root, handler, json } = settings;
  const host = new Host(root);
  // A deleted pod, or Ctrl-C, lets a command end what it has begun.
  for (const signal of locks ? (['SIGTERM', 'SIGINT'] as const) : [])
    process.on(signal, () => {
      const text = `${signal}: ending what was begun, because half of it would be worse`;
      print({ step: 'undo', state: 'unknown', text }, json);
    });
  if (!statSync(root, { throwIfNoEntry: false })?.isDirectory())
    throw new Refusal('check', {
      what: `There is no directory "${root}"`,
      next: "Give --root with the node's root directory",
    });
  const found = await readDistribution(host);
  const criSocket = settings.socket ?? found.criSocket;
  // Leftovers of k3s or CRI-O make no node theirs.
  const isOther = criSocket.replace(/^\/var/, '') !== found.criSocket && settings.config !== undefined;
  const distribution = isOther ? { ...found, name: 'containerd' } : found;
  using client = new CriClient(criSocket, await localSocket(host, criSocket));
  using _lock = locks ? await holdLock(root) : undefined;
  const containerdConfig = rememberConfigPath({ host, client, distribution, named: settings.config });
  using patient = patientReport((progress) => print(progress, json));
  const node = {
    root,
    host,
    client,
    distribution,
    handler,
    ...patient,
    restartCommand: settings.restartCommand,
    noRestart: !settings.restart,
  };
  if (locks && !node.noRestart) await revive(node, distribution.containerdConfig);
  await work({ ...node, containerdConfig: await containerdConfig() });
}
