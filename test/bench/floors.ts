import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { watch } from 'node:fs';
import type { ClusterNode } from '../../cluster/node/node.ts';
import { programOfImage } from '../../cluster/node/outside-agent.ts';
import { REPO } from '../../hack/paths.ts';
import type { CriClient } from '../../lib/containerd/client.ts';
import { findPlace, newSandbox } from '../../lib/proof/sandbox.ts';

/** What no agent can be quicker than: the same machine at the same time shows how much of a figure is its noise. */

const SERVER = "require('http').createServer().listen(0, '127.0.0.1', () => console.log('up'))";
const WATCHED = '/etc/containerd/bench-floor';

/** Milliseconds in which a sandbox of runc boots where probes do. */
export async function bootOfRunc(client: CriClient): Promise<number> {
  const config = newSandbox(await findPlace(client), 'bench');
  const begun = performance.now();
  const id = await client.runSandbox(config, 'runc', { timeoutMs: 60_000 });
  const ms = performance.now() - begun;
  await client.stopSandbox(id, { timeoutMs: 60_000 });
  await client.removeSandbox(id, { timeoutMs: 60_000 });
  return ms;
}

/** A server without work in the agent's Node binary, with its flags, and the milliseconds until it listens. */
export async function startBareServer(): Promise<{ readonly server: ChildProcess; readonly ms: number }> {
  const { command, env } = programOfImage();
  const [file = '', ...args] = command;
  const begun = performance.now();
  const server = spawn(file, [...args.slice(0, -1), '-e', SERVER], {
    cwd: REPO,
    env: { PATH: process.env.PATH, ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(server.stdout, 'data');
  return { server, ms: performance.now() - begun };
}

/** Milliseconds from a write on the node to inotify's event. */
export async function fileEvent(node: ClusterNode): Promise<number> {
  await node.write(WATCHED, 'before');
  const watcher = watch(node.path(WATCHED).replace(/\/[^/]*$/, ''));
  try {
    const event = once(watcher, 'change');
    const begun = performance.now();
    await node.remove(WATCHED);
    await event;
    return performance.now() - begun;
  } finally {
    watcher.close();
  }
}
