import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Report } from '../../agent/report.ts';
import { SETTINGS } from '../../agent/settings.ts';
import { FakeContainerd } from './proof/fake-containerd.ts';

const MAIN = fileURLToPath(new URL('../../agent/main.ts', import.meta.url));
const REPOSITORY = dirname(dirname(MAIN));

type Env = Readonly<Record<string, string>>;
type Ended = { readonly code: number | null; readonly stdout: string; readonly stderr: string };

/** The agent as a process of its own; it is killed should the test leave it. */
function start(t: TestContext, args: readonly string[], env: Env = {}) {
  const child: ChildProcess = spawn(process.execPath, ['--import', 'tsx', MAIN, ...args], {
    cwd: REPOSITORY,
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

const run = (t: TestContext, args: readonly string[], env: Env = {}) => start(t, args, env).ended();

async function emptyHost(t: TestContext): Promise<string> {
  const root = await mkdtemp(join(tmpdir(), 'host-'));
  t.after(() => rm(root, { recursive: true, force: true }));
  return root;
}

/** A host with a containerd on its usual socket, which boots sandboxes that are gVisor's. */
async function provenHost(t: TestContext): Promise<string> {
  const root = await emptyHost(t);
  const files = {
    '/proc/version': 'Linux version 6.8.0 (buildd@lcy02) #45-Ubuntu SMP\n',
    '/proc/sys/kernel/random/boot_id': '6d0aa4a7-5e1a-4e7a-9f0f-1d6a0d6f2b11\n',
  };
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await writeFile(join(root, path), text);
  }
  await mkdir(join(root, '/run/containerd'), { recursive: true });
  const containerd = new FakeContainerd(join(root, '/run/containerd/containerd.sock'));
  await containerd.start();
  t.after(() => containerd.stop());
  return root;
}

const USAGE = 64;

describe('the agent’s process', { concurrency: 2 }, () => {
  it('explains itself with every setting', async (t) => {
    const { code, stdout, stderr } = await run(t, ['--help']);
    assert.deepEqual([code, stderr], [0, '']);
    for (const name of Object.keys(SETTINGS)) assert.ok(stdout.includes(name), name);
    for (const flag of ['--once', '--json', '--version', '--help']) assert.ok(stdout.includes(flag), flag);
  });

  it('tells its version', async (t) => {
    const { code, stdout } = await run(t, ['--version']);
    assert.equal(code, 0);
    assert.match(stdout, /^\d+\.\d+\.\d+\n$/);
  });

  for (const args of [['--loud'], ['--once=yes'], ['once']]) {
    it(`refuses ${args.join(' ')}`, async (t) => {
      const { code, stdout, stderr } = await run(t, args);
      assert.deepEqual([code, stdout], [USAGE, '']);
      assert.match(stderr, /\nTry --help\.\n$/);
      assert.doesNotMatch(stderr, /\n\s+at /);
    });
  }

  it('refuses bad settings, all in one answer', async (t) => {
    const env = { HANDLER: 'run sc', PROOF_INTERVAL: '1s', LOG_LEVEL: 'loud', LISTEN_ADDRESS: 'here' };
    const { code, stderr } = await run(t, ['--once'], env);
    assert.equal(code, USAGE);
    for (const [name, value] of Object.entries(env)) assert.ok(stderr.includes(`${name}="${value}"`), name);
  });

  it('refuses to uninstall from no cluster', async (t) => {
    const { code, stderr } = await run(t, ['uninstall']);
    assert.equal(code, 1);
    assert.match(stderr, /^Cannot uninstall: No cluster: set KUBECONFIG, /);
  });

  it('refuses to publish to a node outside of a cluster', async (t) => {
    const env = { PUBLISH: 'node', HOST_ROOT: await emptyHost(t) };
    const { code, stderr } = await run(t, [], env);
    assert.equal(code, USAGE);
    assert.match(stderr, /^PUBLISH="node" needs a cluster: set KUBECONFIG, or run in a pod /);
    const outside = await run(t, [], { ...env, KUBECONFIG: join(env.HOST_ROOT, 'none') });
    assert.equal(outside.code, USAGE);
    assert.match(outside.stderr, /^Cannot read kubeconfig "\S+none": ENOENT\n/);
  });

  it('looks once at a host without containerd, and says what is wrong and what to do', async (t) => {
    const { code, stdout, stderr } = await run(t, ['--once'], { HOST_ROOT: await emptyHost(t) });
    assert.deepEqual([code, stderr], [1, '']);
    assert.match(stdout, /^\ngVisor does not work here \(node-1, handler "runsc", HandlerNotConfigured\)\n/);
    assert.match(stdout, /✗ The handler is in containerd’s configuration on disk/);
    assert.match(
      stdout,
      /\? A sandbox boots, is gVisor’s, and goes away +containerd's Version: connect ENOENT \S+\n/,
    );
    assert.match(stdout, /\nWhat to do next\n {2}HandlerNotConfigured: /);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: an escape sequence begins with one
    assert.doesNotMatch(stdout, /\u001b/);
  });

  it('looks once at a host in order whose containerd does not run, and cannot tell', async (t) => {
    const root = join(REPOSITORY, 'test/fixtures/hosts/kubeadm-ready');
    const { code, stdout } = await run(t, ['--once'], { HOST_ROOT: root });
    assert.equal(code, 2);
    assert.match(
      stdout,
      /^\nCannot tell whether gVisor works here \(node-1, handler "runsc", ContainerdUnreachable\)\n/,
    );
  });

  it('looks once and prints the report as JSON, and nothing else', async (t) => {
    const { code, stdout } = await run(t, ['--once', '--json'], { HOST_ROOT: await emptyHost(t) });
    const report = JSON.parse(stdout) as Report;
    assert.equal(code, 1);
    assert.deepEqual(
      [report.node, report.verdict.reason, report.look.verdict.reason, report.proof.kind],
      ['node-1', 'AgentStarting', 'HandlerNotConfigured', 'impossible'],
    );
  });

  it('looks once at a host where gVisor boots', async (t) => {
    const { code, stdout } = await run(t, ['--once', '--json'], {
      HOST_ROOT: await provenHost(t),
      PROOF_IMAGE: 'agent',
    });
    const report = JSON.parse(stdout) as Report;
    assert.deepEqual([code, report.verdict.reason], [0, 'SandboxProven']);
    assert.ok(report.proof.kind === 'proven' && report.proof.guestKernel === '4.4.0');
  });

  it('shows what it knows over HTTP while it runs, and leaves when it is told to', async (t) => {
    const env = { HOST_ROOT: await provenHost(t), PROOF_IMAGE: 'agent' };
    const { child, ended, logged } = start(t, [], env);
    const { listening } = (await logged('agent started')) as { listening: { port: number } };
    await logged('verdict changed');
    const report = (await (await fetch(`http://127.0.0.1:${listening.port}/report`)).json()) as Report;
    assert.equal(report.verdict.status, 'True');
    const metrics = await (await fetch(`http://127.0.0.1:${listening.port}/metrics`)).text();
    assert.match(metrics, /^gvisor_node_status\{status="True"\} 1$/m);
    child.kill('SIGTERM');
    const { code, stderr } = await ended();
    assert.deepEqual([code, stderr], [0, '']);
  });

  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    it(`ends within a second of ${signal}, with a host that has no containerd`, async (t) => {
      const { child, ended, logged } = start(t, [], { HOST_ROOT: await emptyHost(t) });
      await logged('agent started');
      const asked = performance.now();
      child.kill(signal);
      const { code, stdout } = await ended();
      assert.equal(code, 0);
      assert.ok(performance.now() - asked < 1_000, `${performance.now() - asked} ms`);
      assert.match(stdout, /"msg":"agent stopped; labels stay as they are"/);
    });
  }

  it('says when its port is taken', async (t) => {
    const other = createServer();
    other.listen(0, '127.0.0.1');
    await once(other, 'listening');
    t.after(() => other.close());
    const { port } = other.address() as { port: number };
    const env = { LISTEN_ADDRESS: `127.0.0.1:${port}`, HOST_ROOT: await emptyHost(t) };
    const { code, stderr } = await run(t, [], env);
    assert.equal(code, USAGE);
    assert.equal(
      stderr,
      `Cannot listen on port ${port}: EADDRINUSE; set LISTEN_ADDRESS to another\nTry --help.\n`,
    );
  });
});
