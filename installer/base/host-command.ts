import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { addAbortSignal } from 'node:stream';
import { text } from 'node:stream/consumers';
import { errorLine } from '../../lib/base/sanitize.ts';

const COMMAND_MS = 30_000;

/** Enters the namespaces of the host's first process, which a pod with the host's PID namespace sees. */
const ON_HOST = ['nsenter', '--target=1', '--mount', '--net', '--ipc', '--uts', '--cgroup', '--'];

/**
 * Runs a program in the host's namespaces, and resolves with its standard output. It has a session of its own, so that Ctrl-C
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

/** Kills the command and all that it has started. */
function killGroup(pid: number | undefined): void {
  try {
    if (pid !== undefined) process.kill(-pid, 'SIGKILL');
  } catch {} // it has ended
}
