import timers from 'node:timers/promises';
import { errorLine } from '../../lib/base/sanitize.ts';
import type { CriClient } from '../../lib/containerd/client.ts';
import { CriError, CriPluginUnavailable } from '../../lib/containerd/error.ts';
import { seconds } from '../../lib/report/format.ts';
import { runOnHost } from '../base/host-command.ts';
import type { Node } from '../base/node.ts';
import { ageMs, daemonsOf } from '../base/processes.ts';
import { Refusal } from '../base/refusal.ts';
import type { ContainerdProcess } from './find.ts';

/** containerd stops its shims' connections first; systemd's own limit is 90 s. */
const RESTART_MS = 120_000;

/** After this time a containerd whose process is gone, and which nothing starts again, counts as down. */
const BACK_MS = 120_000;

/** containerd loads its sandboxes before it listens: 15 s for each dead shim. The agent takes 15 minutes for an interruption. */
const START_MS = 14 * 60_000;

const CALL_MS = 2_000;

const POLL_MS = 100;

/** Returns undefined if neither systemd nor a command can restart it. */
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
    const pid = await client.serverPid({ timeoutMs: CALL_MS }).catch(() => undefined);
    // It runs on as before, so that the command is at fault.
    const isOfNode = pid !== undefined && pid === oldPid;
    throw new Refusal('restart', {
      what: `containerd did not restart: ${cause.message}`,
      isOfNode,
      cause,
    });
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

/** Waits until it responds, is gone, or has had its time: a start that is cut off begins anew. */
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

/** Whether any containerd of the node has begun so lately that it may not listen or answer yet; false if none is seen. */
export async function hasJustBegun(root: string): Promise<boolean> {
  const isContainerd = (program: string) => /\/containerd( \(deleted\))?$/.test(program);
  const pids = await daemonsOf(root, isContainerd).catch(() => []);
  const ages = await Promise.all(pids.map((pid) => ageMs(root, pid)));
  return ages.some((age) => age < START_MS);
}

/** Whether a containerd that does not listen yet has a process. */
async function isStarting(
  { root, client }: Pick<Node, 'root' | 'client'>,
  { program, unit }: Pick<ContainerdProcess, 'program' | 'unit'>,
): Promise<boolean> {
  if (!(await isDown(client))) return false;
  if (unit === undefined)
    return program !== '' && (await daemonsOf(root, (each) => each === program)).length > 0;
  const shown = await runOnHost(root, ['systemctl', 'show', '--property=MainPID', unit]).catch(() => '');
  return /^MainPID=[1-9]/m.test(shown);
}

/** A containerd is down if it does not listen, or lacks its CRI plugin. A slow one is not down. */
export async function isDown(client: CriClient): Promise<boolean> {
  return client.version({ timeoutMs: CALL_MS }).then(
    () => false,
    (error: unknown) =>
      error instanceof CriPluginUnavailable || (error instanceof CriError && error.kind === 'unreachable'),
  );
}
