import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { REPO } from '../../hack/paths.ts';
import { tempHost } from './host/temp-host.ts';
import type { Script } from './proof/containerd-scripts.ts';
import { FakeContainerd } from './proof/fake-containerd.ts';

type Env = Readonly<Record<string, string>>;
type Ended = { readonly code: number | null; readonly stdout: string; readonly stderr: string };

/** The agent as a process of its own; it is killed should the test leave it. */
export function start(t: TestContext, args: readonly string[], env: Env = {}) {
  const child: ChildProcess = spawn(process.execPath, ['--import', 'tsx', 'agent/main.ts', ...args], {
    cwd: REPO,
    env: { PATH: process.env.PATH, NODE_NAME: 'node-1', LISTEN_ADDRESS: '127.0.0.1:0', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  t.after(() => child.kill('SIGKILL'));
  const output = { stdout: '', stderr: '' };
  let more = Promise.withResolvers<void>();
  for (const name of ['stdout', 'stderr'] as const) {
    child[name]?.setEncoding('utf8').on('data', (chunk: string) => {
      output[name] += chunk;
      more.resolve();
    });
  }
  const closed = once(child, 'close').then(() => {
    more.resolve();
    return true;
  });
  const ended = async (): Promise<Ended> => {
    await closed;
    return { code: child.exitCode, ...output };
  };
  /** The JSON log line with that message, once it is there. */
  const logged = async (message: string): Promise<Record<string, unknown>> => {
    for (;;) {
      const lines = output.stdout.split('\n').slice(0, -1);
      const line = lines.find((each) => each.includes(`"msg":"${message}"`));
      if (line !== undefined) return JSON.parse(line) as Record<string, unknown>;
      assert.equal(child.exitCode, null, `${output.stdout}${output.stderr}`);
      more = Promise.withResolvers<void>();
      await more.promise;
    }
  };
  return { child, ended, logged };
}

/** Runs the agent to its end: how it ended, and what it printed. */
export const run = (t: TestContext, args: readonly string[], env: Env = {}) => start(t, args, env).ended();

/** The root of a host with a containerd on its usual socket, which boots gVisor's sandboxes, save for what `scripts` say. */
export async function provenHost(
  t: TestContext,
  scripts: Readonly<Record<string, Script>> = {},
): Promise<string> {
  const { root } = await tempHost(t);
  await mkdir(join(root, '/run/containerd'), { recursive: true });
  const containerd = new FakeContainerd(join(root, '/run/containerd/containerd.sock'), root);
  containerd.scripts = scripts;
  await containerd.start();
  t.after(() => containerd.stop());
  return root;
}

/** The root of a host where nothing is. */
export async function emptyHost(t: TestContext): Promise<string> {
  return (await tempHost(t)).root;
}
