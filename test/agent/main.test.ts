import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import type { Report, Status } from '../../agent/agent.ts';
import { SETTINGS } from '../../agent/config.ts';
import { REPO } from '../../hack/paths.ts';
import { waitFor } from '../../hack/run.ts';
import { tempHost } from './host/temp-host.ts';
import { Refusal, refuses, type Script } from './proof/containerd-scripts.ts';
import { FakeContainerd } from './proof/fake-containerd.ts';

type Env = Readonly<Record<string, string>>;
type Ended = { readonly code: number | null; readonly stdout: string; readonly stderr: string };

/** Starts the agent as a process, which is killed at the end of the test. */
function start(t: TestContext, args: readonly string[], env: Env = {}) {
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
  /** Resolves with the first log line with this message. */
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

/** The root of a host whose containerd boots gVisor sandboxes, except as `scripts` say. */
async function provenHost(
  t: TestContext,
  scripts: Readonly<Record<string, Script>> = {},
  scriptsOf: (containerd: FakeContainerd) => Readonly<Record<string, Script>> = () => scripts,
): Promise<string> {
  const { root } = await tempHost(t);
  await mkdir(join(root, '/run/containerd'), { recursive: true });
  const containerd = new FakeContainerd(join(root, '/run/containerd/containerd.sock'), root);
  containerd.scripts = scriptsOf(containerd);
  await containerd.start();
  t.after(() => containerd.stop());
  return root;
}

async function emptyHost(t: TestContext): Promise<string> {
  return (await tempHost(t)).root;
}

const USAGE = 64;

describe("the agent's process", { concurrency: 2 }, () => {
  it('prints --help with every setting', async (t) => {
    const { code, stdout, stderr } = await run(t, ['--help']);
    assert.deepEqual([code, stderr], [0, '']);
    for (const name of Object.keys(SETTINGS)) assert.ok(stdout.includes(name), name);
    for (const flag of ['--once', '--json', '--version', '--help']) assert.ok(stdout.includes(flag), flag);
  });

  it('prints --version', async (t) => {
    const { code, stdout } = await run(t, ['--version']);
    assert.equal(code, 0);
    assert.match(stdout, /^\d+\.\d+\.\d+\n$/);
  });

  it('rejects an unknown option', async (t) => {
    const { code, stdout, stderr } = await run(t, ['--loud']);
    assert.deepEqual([code, stdout], [USAGE, '']);
    assert.match(stderr, /\nTry --help\.\n$/);
    assert.doesNotMatch(stderr, /\n\s+at /);
  });

  it('lists all invalid settings', async (t) => {
    const env = { HANDLERS: 'run sc', PROOF_INTERVAL: '1s', LOG_LEVEL: 'loud', LISTEN_ADDRESS: 'here' };
    const { code, stderr } = await run(t, ['--once'], env);
    assert.equal(code, USAGE);
    for (const [name, value] of Object.entries(env)) assert.ok(stderr.includes(`${name}="${value}"`), name);
  });

  it('refuses PUBLISH=node outside a cluster', async (t) => {
    const env = { PUBLISH: 'node', HOST_ROOT: await emptyHost(t) };
    const { code, stderr } = await run(t, [], env);
    assert.equal(code, USAGE);
    assert.match(stderr, /^PUBLISH="node" needs a cluster: run in a pod /);
  });

  it('--once on an empty host shows findings and remedies', async (t) => {
    const { code, stdout, stderr } = await run(t, ['--once'], { HOST_ROOT: await emptyHost(t) });
    assert.deepEqual([code, stderr], [2, '']);
    const head =
      /^\nCannot tell whether gVisor works here\nnode-1, handler "runsc"\n\n {2}ContainerdUnreachable: /;
    assert.match(stdout, head);
    assert.match(stdout, /\? The handler is in containerd's configuration on disk/);
    assert.match(stdout, /\? A sandbox boots, is gVisor's, and goes away: as said above\n/);
    assert.match(stdout, /\nWhat to do next\n {2}ContainerdUnreachable: Start containerd, /);
    assert.match(stdout, /\n {2}HandlerNotConfigured: Add the handler /);
    for (const line of stdout.split('\n')) assert.ok(line.length <= 80 || !/\S\s\S/.test(line.trim()), line);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: an escape sequence begins with one
    assert.doesNotMatch(stdout, /\u001b/);
  });

  const refused = { RunPodSandbox: refuses('no runtime for "runsc" is configured') };
  for (const [what, prepare, expected] of [
    ['an empty host', emptyHost, [2, 'Unknown', 'ContainerdUnreachable', 'inconclusive']],
    ['a failure', (t) => provenHost(t, refused), [1, 'False', 'HandlerNotConfigured', 'failed']],
    ['a proof', (t) => provenHost(t), [0, 'True', 'SandboxProven', 'proven']],
  ] as const satisfies readonly (readonly [string, (t: TestContext) => Promise<string>, unknown])[])
    it(`--once --json prints only the report, which agrees with the exit code: ${what}`, async (t) => {
      const { code, stdout } = await run(t, ['--once', '--json'], { HOST_ROOT: await prepare(t) });
      const { node, verdict, evaluation, proof } = JSON.parse(stdout) as Report;
      assert.deepEqual([code, verdict.status, verdict.reason, proof.kind], expected);
      assert.deepEqual([node, verdict], ['node-1', evaluation.verdict]);
      if (proof.kind === 'proven') assert.deepEqual(proof.witness.runtimePids, [1]);
    });

  it('--once lists pods outside gVisor', async (t) => {
    const metadata = { name: 'plain', namespace: 'eval', uid: 'uid-1' };
    const labels = { 'io.kubernetes.pod.uid': 'uid-1' };
    const HOST_ROOT = await provenHost(t, {
      ListPodSandbox: () => ({ items: [{ id: 'a', metadata, labels }] }),
      PodSandboxStatus: () => ({ info: { info: '{"runtimeType":"io.containerd.runc.v2"}' } }),
    });
    const { pods } = JSON.parse((await run(t, ['--once', '--json'], { HOST_ROOT })).stdout) as Status;
    assert.deepEqual([pods?.running, pods?.requirementsKnown, pods?.violating], [1, false, []]);
    const permitted = pods?.permitted.map(({ namespace, name }) => `${namespace}/${name}`);
    assert.deepEqual(permitted, ['eval/plain']);
    const { stdout } = await run(t, ['--once'], { HOST_ROOT });
    const pattern = /It is unknown which namespaces require gVisor\n {4}1 of 1 pod runs outside of gVisor\n/;
    assert.match(stdout, pattern);
  });

  it('serves its report and metrics until SIGTERM', async (t) => {
    const env = { HOST_ROOT: await provenHost(t) };
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

  it('proves additional handlers in turn, and a broken one changes nothing of the main one', async (t) => {
    let running = 0;
    let most = 0;
    const boots: string[] = [];
    const HOST_ROOT = await provenHost(t, {}, (containerd) => ({
      RunPodSandbox: (request) => {
        boots.push(request.runtimeHandler);
        if (request.runtimeHandler === 'runsc-kvm')
          throw new Refusal('open /dev/kvm: no such file or directory');
        most = Math.max(most, ++running);
        return containerd.usual('RunPodSandbox', request);
      },
      RemovePodSandbox: (request) => {
        running -= 1;
        return containerd.usual('RemovePodSandbox', request);
      },
    }));
    const env = { HOST_ROOT, HANDLERS: 'runsc,runsc-kvm,runsc-debug', CONFIRM_DELAY: '0s' };
    const { child, ended, logged } = start(t, [], env);
    const { listening } = (await logged('agent started')) as { listening: { port: number } };
    const get = async (path: string) => (await fetch(`http://127.0.0.1:${listening.port}${path}`)).text();
    const { verdict, handlers } = await waitFor('the verdicts', 30_000, async () => {
      const status = JSON.parse(await get('/report').catch(() => '{}')) as Partial<Status>;
      const known = status.handlers?.filter(({ verdict }) => verdict.reason !== 'AgentStarting');
      return known?.length === 2 ? status : undefined;
    });
    assert.equal(verdict?.status, 'True');
    const seen = handlers?.map(({ handler, verdict: { status } }) => [handler, status]);
    assert.deepEqual(seen, [
      ['runsc-kvm', 'False'],
      ['runsc-debug', 'True'],
    ]);
    assert.equal(boots[0], 'runsc', 'the main handler comes first');
    assert.equal(most, 1);
    const metrics = await get('/metrics');
    assert.match(metrics, /^gvisor_node_status\{status="True"\} 1$/m);
    assert.match(metrics, /^gvisor_handler_status\{handler="runsc-kvm",status="False"\} 1$/m);
    assert.match(metrics, /^gvisor_handler_status\{handler="runsc-debug",status="True"\} 1$/m);
    const text = await get('/');
    assert.match(text, /^gVisor works here\n/);
    assert.match(text, /^ {2}✗ Additional handler "runsc-kvm": /m);
    assert.match(
      text,
      /^ {2}✓ Additional handler "runsc-debug": a sandbox of handler "runsc-debug" booted in gVisor/m,
    );
    child.kill('SIGTERM');
    assert.equal((await ended()).code, 0);
    const once = await run(t, ['--once', '--json'], env);
    const status = JSON.parse(once.stdout) as Status;
    assert.deepEqual(
      [once.code, status.handlers?.map((each) => each.verdict.status)],
      [0, ['False', 'True']],
    );
  });

  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    it(`exits at once on ${signal}, also without containerd`, async (t) => {
      const { child, ended, logged } = start(t, [], { HOST_ROOT: await emptyHost(t) });
      const { listening } = (await logged('agent started')) as { listening: { port: number } };
      const { status } = await fetch(`http://127.0.0.1:${listening.port}/readyz`);
      assert.equal(status, 503, 'not ready before the first verdict');
      const startedMs = performance.now();
      child.kill(signal);
      const { code, stdout } = await ended();
      assert.equal(code, 0);
      assert.ok(performance.now() - startedMs < 5_000, `${performance.now() - startedMs} ms`);
      assert.match(stdout, /"msg":"agent stopped; labels stay as they are"/);
    });
  }

  it('fails if its port is in use', async (t) => {
    const other = createServer();
    other.listen(0, '127.0.0.1');
    await once(other, 'listening');
    t.after(() => other.close());
    const { port } = other.address() as { port: number };
    const env = { LISTEN_ADDRESS: `127.0.0.1:${port}`, HOST_ROOT: await emptyHost(t) };
    const { code, stderr } = await run(t, [], env);
    assert.equal(code, USAGE);
    const message = `Cannot listen on port ${port}: EADDRINUSE; set LISTEN_ADDRESS to another`;
    assert.equal(stderr, `${message}\nTry --help.\n`);
  });
});

/** Runs the agent on an 80-column terminal made by `script` (util-linux) until the output matches. */
async function onTerminal(t: TestContext, until: RegExp, args = ''): Promise<string> {
  const command = `stty columns 80; exec ${process.execPath} --import tsx agent/main.ts ${args}`;
  const env = { NODE_NAME: 'node-1', LISTEN_ADDRESS: '127.0.0.1:0', HOST_ROOT: await emptyHost(t) };
  const child = spawn('script', ['-qefc', command, '/dev/null'], {
    cwd: REPO,
    env: { PATH: process.env.PATH, TERM: 'xterm-256color', UNKNOWN_GRACE: '0s', ...env },
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  t.after(() => child.kill('SIGKILL'));
  let output = '';
  for await (const chunk of child.stdout.setEncoding('utf8')) {
    output += chunk;
    if (until.test(output)) break;
  }
  child.kill('SIGTERM');
  return output.replaceAll('\r\n', '\n');
}

describe('the agent on a terminal', () => {
  it('shows a coloured report, log sentences and its URL', { timeout: 30_000 }, async (t) => {
    const [url, log] = ['over HTTP: http:\\S+\\s', 'cannot read the pods'];
    const output = await onTerminal(t, new RegExp(`${url}[^]*${log}|${log}[^]*${url}`));
    assert.ok(output.includes('\u001b[1mCannot tell whether gVisor works here\u001b'), output);
    assert.match(output, /^The same over HTTP: http:\/\/127\.0\.0\.1:\d+\/$/m);
    assert.match(output, /^! cannot read the pods of this node: /m);
    assert.doesNotMatch(output, /^\{/m);
  });

  it('shows only the report with --once', { timeout: 30_000 }, async (t) => {
    const output = await onTerminal(t, /What to do next/, '--once');
    assert.match(output, /^ {2}\S*\?\S* A sandbox boots, is gVisor's, and goes away: as said above$/m);
    assert.doesNotMatch(output, /^\{|over HTTP/m);
  });
});
