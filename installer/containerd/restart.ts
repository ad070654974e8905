import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { addAbortSignal } from 'node:stream';
import { text } from 'node:stream/consumers';
import timers from 'node:timers/promises';
import { errorLine } from '../../lib/base/sanitize.ts';
import type { CriClient, CriStatus } from '../../lib/containerd/client.ts';
import { optionOf } from '../../lib/containerd/config.ts';
import { CriError, CriPluginUnavailable } from '../../lib/containerd/error.ts';
import { parseToml, type TomlTable, type TomlValue } from '../../lib/containerd/toml.ts';
import { seconds } from '../../lib/report/format.ts';
import { type Node, Refusal } from '../base/node.ts';
import { isDaemonRunning } from '../base/processes.ts';
import { type Generation, isGenerationPath } from '../release/release.ts';

/** containerd stops its shims' connections first; systemd's own limit is 90 s. */
const RESTART_MS = 120_000;
/** Until a containerd whose process is gone, and which nothing starts again, counts as down. */
const BACK_MS = 120_000;
/** containerd loads its sandboxes before it listens: 15 s for each dead shim. The agent takes 15 minutes for an interruption. */
const START_MS = 14 * 60_000;
const COMMAND_MS = 30_000;
const CALL_MS = 2_000;
const POLL_MS = 100;

/** With the systemd unit, if one runs it. */
export type ContainerdProcess = {
  readonly pid: number;
  /** Host path of its program, where another file may be now. */
  readonly program: string;
  /** As it was started, such as a link to the program, or only a name. */
  readonly command: string;
  readonly unit: string | undefined;
};

/** Finds the containerd behind the socket. */
export async function findContainerd(root: string, client: CriClient): Promise<ContainerdProcess> {
  const pid = await client.serverPid();
  const program = await readlink(join(root, `/proc/${pid}/exe`)).catch((cause: NodeJS.ErrnoException) => {
    throw new Refusal('check', {
      what: `Cannot see containerd's process ${pid} (${cause.code})`,
      next: 'Run the installer as root, with the PID namespace of the host',
      cause,
    });
  });
  const [cgroup, cmdline] = await Promise.all(
    ['cgroup', 'cmdline'].map((file) => readFile(join(root, `/proc/${pid}/${file}`), 'utf8')),
  );
  const [command = ''] = cmdline?.split('\0') ?? [];
  // As in "0::/system.slice/containerd.service".
  const unit = /^(?:0:|\d+:name=systemd):.*\/([^/\n]+\.service)$/m.exec(cgroup ?? '')?.[1];
  return { pid, program: program.replace(/ \(deleted\)$/, ''), command, unit };
}

/**
 * The view that the running containerd, which may be gone from the disk, has of a root file, or of its
 * defaults without one; throws if it would refuse it.
 */
export async function dumpConfig(
  { root, host }: Pick<Node, 'root' | 'host'>,
  { pid }: Pick<ContainerdProcess, 'pid'>,
  config: string,
): Promise<TomlTable> {
  const isThere = (await host.stat(config)) !== undefined;
  const words = isThere ? ['--config', config, 'config', 'dump'] : ['config', 'default'];
  return parseToml(await runOnHost(root, [`/proc/${pid}/exe`, ...words]), config);
}

/** Paths of keys. */
export function changedKeys(
  before: TomlValue | undefined,
  after: TomlValue | undefined,
  path: readonly string[] = [],
): readonly (readonly string[])[] {
  if (!(before instanceof Map) && !(after instanceof Map))
    return textOf(before) === textOf(after) ? [] : [path];
  const [old, fresh] = [before, after].map((value): TomlTable => (value instanceof Map ? value : new Map()));
  const keys = new Set([...(old?.keys() ?? []), ...(fresh?.keys() ?? [])]);
  return [...keys].flatMap((key) => changedKeys(old?.get(key), fresh?.get(key), [...path, key]));
}

function textOf(value: TomlValue | undefined): string {
  return String(JSON.stringify(value, (_, each) => (typeof each === 'bigint' ? String(each) : each)));
}

/** `undefined`: whether it has loaded no generation under this handler. */
export async function isLoaded(
  client: CriClient,
  handler: string,
  generation: Generation | undefined,
): Promise<boolean> {
  const runtime = (await client.status()).runtimes.get(handler);
  if (generation === undefined) return !isGenerationPath(runtime?.runtimePath ?? '');
  if (runtime === undefined) return false;
  return runtime.runtimePath === generation.shim && optionOf(runtime, 'ConfigPath') === generation.config;
}

export function loadedPaths({ runtimes }: Pick<CriStatus, 'runtimes'>): readonly string[] {
  return [...runtimes.values()].flatMap((runtime) =>
    [runtime.runtimePath, optionOf(runtime, 'ConfigPath')].filter(isGenerationPath),
  );
}

/** Undefined if neither systemd nor a command can. */
export function restartCommand(
  { restartCommand: command }: Pick<Node, 'restartCommand'>,
  { unit }: Pick<ContainerdProcess, 'unit'>,
): readonly string[] | undefined {
  if (command !== undefined) return ['sh', '-c', command];
  return unit === undefined ? undefined : ['systemctl', 'restart', unit];
}

/** Resolves with the milliseconds until it responded again. */
export async function restartContainerd(
  node: Node,
  containerd: Pick<ContainerdProcess, 'program' | 'unit'>,
): Promise<number> {
  const { root, client, because } = node;
  const words = restartCommand(node, containerd);
  if (words === undefined) throw new Refusal('restart', { what: 'No systemd unit runs containerd here' });
  const oldPid = await client.serverPid().catch(() => 0);
  const startedMs = performance.now();
  because('containerd is being restarted');
  await runOnHost(root, words, RESTART_MS).catch(async (cause: Error) => {
    if (await isStarting(node, containerd)) return;
    throw new Refusal('restart', { what: `containerd did not restart: ${cause.message}`, cause });
  });
  const isBack = async () => {
    const pid = await client.serverPid({ timeoutMs: CALL_MS });
    return pid !== oldPid && (await client.status()).runtimes.size > 0;
  };
  const sayWhy = (error: unknown) => {
    because(errorLine(error));
    return false;
  };
  while (!(await isBack().catch(sayWhy))) {
    const awayMs = performance.now() - startedMs;
    if (awayMs > START_MS || (awayMs > BACK_MS && !(await isStarting(node, containerd)))) {
      const what = `containerd did not respond within ${seconds(awayMs)} after its restart`;
      throw new Refusal('restart', { what, reason: 'ContainerdUnreachable' });
    }
    await timers.setTimeout(POLL_MS);
  }
  return performance.now() - startedMs;
}

/** Until it responds, is gone, or has had its time: a start that is cut off begins anew. */
export async function waitWhileStarting(
  node: Node,
  containerd: Pick<ContainerdProcess, 'program' | 'unit'>,
): Promise<void> {
  const deadlineMs = performance.now() + START_MS;
  while ((await isStarting(node, containerd)) && performance.now() < deadlineMs) {
    node.because('containerd is starting');
    await timers.setTimeout(POLL_MS);
  }
}

/** Whether a containerd that does not listen yet has a process. */
async function isStarting(
  { root, client }: Pick<Node, 'root' | 'client'>,
  { program, unit }: Pick<ContainerdProcess, 'program' | 'unit'>,
): Promise<boolean> {
  if (!(await isDown(client))) return false;
  if (unit === undefined) return program !== '' && isDaemonRunning(root, program);
  const shown = await runOnHost(root, ['systemctl', 'show', '--property=MainPID', unit]).catch(() => '');
  return /^MainPID=[1-9]/m.test(shown);
}

/** It does not listen, or lacks its CRI plugin. A slow one is not down. */
export async function isDown(client: CriClient): Promise<boolean> {
  return client.version({ timeoutMs: CALL_MS }).then(
    () => false,
    (error: unknown) =>
      error instanceof CriPluginUnavailable || (error instanceof CriError && error.kind === 'unreachable'),
  );
}

/** Also what the command has started. */
function killGroup(pid: number | undefined): void {
  try {
    if (pid !== undefined) process.kill(-pid, 'SIGKILL');
  } catch {} // it has ended
}

/** Those of the host's first process, which a pod with the host's PID namespace sees. */
const ON_HOST = ['nsenter', '--target=1', '--mount', '--net', '--ipc', '--uts', '--cgroup', '--'];

/**
 * In the host's namespaces; resolves with the standard output. It has a session of its own, so that Ctrl-C
 * does not end a restart of containerd half way.
 */
export async function runOnHost(
  root: string,
  words: readonly string[],
  timeoutMs = COMMAND_MS,
): Promise<string> {
  const [program = '', ...args] = root === '/' ? words : [...ON_HOST, ...words];
  const signal = AbortSignal.timeout(timeoutMs);
  const stdio: ['ignore', 'pipe', 'pipe'] = ['ignore', 'pipe', 'pipe'];
  const child = spawn(program, args, { detached: true, stdio, signal, killSignal: 'SIGKILL' });
  const killAll = () => killGroup(child.pid);
  signal.addEventListener('abort', killAll);
  // Its children may hold them.
  for (const stream of [child.stdout, child.stderr]) addAbortSignal(signal, stream);
  try {
    const ended = once(child, 'close') as Promise<[code: number | null]>;
    const [[code], stdout, stderr] = await Promise.all([ended, text(child.stdout), text(child.stderr)]);
    if (code === 0) return stdout;
    throw new Error(`ended with ${code}: ${stderr.trim().split('\n').slice(-4).join('\n')}`);
  } catch (cause) {
    const how = signal.aborted ? `was killed after ${timeoutMs / 1_000} s` : errorLine(cause);
    throw new Error(`"${words.join(' ')}" ${how}`, { cause });
  } finally {
    signal.removeEventListener('abort', killAll); // its PID may be another's later
  }
}
