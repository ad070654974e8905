import { statSync } from 'node:fs';
import { Command, CommanderError, InvalidArgumentError } from 'commander';
import { HANDLER_NAME } from '../lib/base/handler-name.ts';
import { screenOf } from '../lib/base/print.ts';
import { errorLine } from '../lib/base/sanitize.ts';
import { VERSION } from '../lib/base/version.ts';
import { CriClient } from '../lib/containerd/client.ts';
import { readDistribution, rememberConfigPath } from '../lib/containerd/distribution.ts';
import { Host, localSocket } from '../lib/host/host.ts';
import { markedLines } from '../lib/report/table.ts';
import { type Node, type Progress, patientReport, Refusal, skipped } from './base/node.ts';
import { usersOf } from './base/processes.ts';
import { type InstallOptions, install, rehearse, remove, rollback, stageOnly } from './commands/install.ts';
import { listGenerations } from './commands/unused.ts';
import { contentOf } from './config/edits.ts';
import { markedBlock, unmarkedTable } from './config/own-text.ts';
import { isDown, waitWhileStarting } from './containerd/restart.ts';
import { holdLock, type Journal, readJournals } from './journal/journal.ts';
import { preflight } from './preflight/preflight.ts';
import { refuseRisks } from './preflight/risks.ts';
import { damagedFiles, GENERATIONS, generationAt, refuseDamage } from './release/release.ts';
import { removeCandidates } from './steps/candidate.ts';
import { takeBack } from './steps/change.ts';
import { sweepProbes } from './steps/prove.ts';

/** Done, refused (the node works as before), and wrong usage. */
const EXIT = { done: 0, refused: 1, unknown: 2, usage: 64 } as const;

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
  on(
    program.command('status').description('what is installed, and which processes use it'),
    printStatus,
    false,
  );
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

/** Takes back the old text first if containerd is down, and then it starts. */
async function revive(node: Omit<Node, 'containerdConfig'>, containerdConfig: string): Promise<void> {
  const { journals } = await readJournals(node.root);
  const pending = journals.filter((each) => each.pending !== undefined);
  if (pending.length === 0) return;
  await removeCandidates(node); // one may keep containerd from starting
  const [{ unit } = {}] = pending.map((each) => each.pending);
  if (unit !== undefined) await waitWhileStarting({ ...node, containerdConfig }, { program: '', unit });
  if (await isDown(node.client)) {
    await takeBack({ ...node, containerdConfig }, pending);
    await removeCandidates(node); // their records
  }
  await sweepProbes(node.client).catch(() => {}); // a containerd that does not respond is refused later
}

/** Returns the exit code. */
function printRefusal(error: unknown, json: boolean): number {
  const isRefusal = error instanceof Refusal;
  const message = isRefusal ? error.message : errorLine(error);
  const unknown = { step: 'unknown', what: message, next: undefined, reason: undefined };
  const { step, what, next, reason } = isRefusal ? error : unknown;
  const text = json
    ? JSON.stringify({ at: new Date().toISOString(), state: 'refused', step, reason, what, next, message })
    : `gvisor-ready-install: ${step}: ${message}${reason === undefined ? '' : ` (${reason})`}`;
  process.stderr.write(`${text}\n`);
  return isRefusal ? EXIT.refused : EXIT.unknown;
}

function print(progress: Progress, json: boolean): void {
  const { step, state, text, verbatim = '' } = progress;
  const lines = json
    ? [JSON.stringify({ at: new Date().toISOString(), ...progress })]
    : [...markedLines(state, text, { label: step.padEnd(10), ...screenOf() }), ...(verbatim && [verbatim])];
  process.stdout.write(`${lines.join('\n')}\n`);
}

/** Also has containerd read a draft with the handler, so that an installation would not be refused later. */
async function check(node: Node): Promise<void> {
  const seen = await preflight(node);
  if (!node.noRestart) await refuseRisks(node);
  const { installed } = seen.journal ?? {};
  const generation = generationAt(installed?.generation ?? ANY_GENERATION);
  const [edit] = await rehearse(node, seen, generation);
  const what = `handler "${node.handler}"`;
  const text =
    edit === undefined ? `has the ${what} as it was written` : `would read the ${what} from "${edit.file}"`;
  node.report({ step: 'validate', state: 'pass', text: `containerd ${text}, and nothing else changes` });
  if (installed !== undefined) await refuseDamage(node.root, generation);
}

/** Stands for a release that is not known yet. */
const ANY_GENERATION = `${GENERATIONS}/release-000000000000`;

/** Throws a {@link Refusal} at the end if something is damaged or cannot be read. */
async function printStatus(node: Node): Promise<void> {
  const { root, client, report } = node;
  const { journals, broken } = await readJournals(root);
  for (const { message } of broken) report({ step: 'undo', state: 'fail', text: message });
  if (journals.length === 0 && broken.length === 0)
    report({ step: 'commit', ...skipped('nothing is installed by gvisor-ready-install') });
  for (const journal of journals) await reportJournal(journal, node);
  const status = await client.status().catch(() => undefined);
  const generations = await listGenerations(root);
  const all = await usersOf(root, generations);
  let faults = broken.length;
  for (const generation of generations) {
    const { directory } = generation;
    const damaged = await damagedFiles(root, generation);
    faults += damaged.length;
    const loaded = [...(status?.runtimes ?? [])].flatMap(([name, { runtimePath }]) =>
      runtimePath === generation.shim ? name : [],
    );
    const isStaged = journals.some(({ staged = [] }) => staged.includes(directory));
    const parts = [
      `processes that use it: ${all.filter((user) => user.directory === directory).length}`,
      `loaded as: ${status === undefined ? 'unknown' : loaded.join(', ') || 'nothing'}`,
      ...(isStaged ? ['staged'] : []),
      ...(damaged.length === 0 ? [] : [`damaged: ${damaged.join(', ')}; install that release again`]),
    ];
    const state = damaged.length === 0 ? 'pass' : 'fail';
    report({ step: 'stage', state, text: `${directory}: ${parts.join('; ')}` });
  }
  if (faults > 0) throw new Refusal('journal', { what: 'Not all is as it was installed: see above' });
}

async function reportJournal(
  { handler, installed, pending, failure }: Journal,
  { root, report }: Node,
): Promise<void> {
  if (installed !== undefined) {
    const { generation, written } = installed;
    const { release, directory } = generationAt(generation);
    const content = (await contentOf(root, written.file)) ?? '';
    const text = markedBlock(handler, content) ?? unmarkedTable(handler, content);
    const isThere = text?.includes(generationAt(generation).config) === true;
    const where = isThere ? `named in "${written.file}"` : `and "${written.file}" does not name it any more`;
    const told = `handler "${handler}" runs ${release} from ${directory}, ${where}`;
    report({ step: 'commit', state: isThere ? 'pass' : 'fail', text: told });
  }
  if (pending !== undefined) {
    const { generation, step, since } = pending;
    const text = `handler "${handler}": a change to ${generation} is under way or was interrupted, since ${since}`;
    report({ step, state: 'fail', text });
  }
  if (failure !== undefined) {
    const { generation, step, at, message } = failure;
    const text = `handler "${handler}": ${generation} failed at ${at} in ${step}: ${message}`;
    report({ step: 'undo', state: 'fail', text });
  }
}
