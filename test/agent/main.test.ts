import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { REPO } from '../../hack/paths.ts';
import { waitFor } from '../../hack/run.ts';
import SETTINGS from '../../lib/fleet/agent-settings.json' with { type: 'json' };
import { OWNER, ownerMarks } from '../../lib/proof/sandbox.ts';
import type { Report, Status } from '../../lib/report/report.ts';
import { tempHost } from '../lib/host/temp-host.ts';
import { HANGS, Refusal, refuses, type Script } from '../lib/proof/containerd-scripts.ts';
import { FakeContainerd } from '../lib/proof/fake-containerd.ts';
import { POD_LABELS } from '../lib/proof/scene.ts';

type Env = Readonly<Record<string, string>>;
type Ended = { readonly code: number | null; readonly stdout: string; readonly stderr: string };

/** Starts the agent as a process, which is killed at the end of the test. */
function start(t: TestContext, args: readonly string[], env: Env = {}) {
  const child: ChildProcess = spawn(process.execPath, ['agent/main.ts', ...args], {
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
  const closed = once(child, 'close').then(() => more.resolve());
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
  /** Gets a path of its server. */
  const get = async (path: string): Promise<Response> => {
    const { listening } = (await logged('agent started')) as { listening: { port: number } };
    return fetch(`http://127.0.0.1:${listening.port}${path}`);
  };
  return { child, ended, logged, get };
}

const run = (t: TestContext, args: readonly string[], env: Env = {}) => start(t, args, env).ended();

/** A host whose containerd boots gVisor sandboxes, except as `scriptsOf` says. */
async function hostWith(
  t: TestContext,
  scriptsOf: (containerd: FakeContainerd) => Readonly<Record<string, Script>>,
) {
  const { root } = await tempHost(t);
  await mkdir(join(root, '/run/containerd'), { recursive: true });
  const containerd = new FakeContainerd(join(root, '/run/containerd/containerd.sock'), root);
  containerd.scripts = scriptsOf(containerd);
  await containerd.start();
  t.after(() => containerd.stop());
  return { root, containerd };
}

/** The root of such a host. */
const provenHost = async (t: TestContext, scripts: Readonly<Record<string, Script>> = {}) =>
  (await hostWith(t, () => scripts)).root;

async function emptyHost(t: TestContext): Promise<string> {
  return (await tempHost(t)).root;
}

/** Lets the agent's clock jump by more than an evaluation may take, and less than the time between two. */
const LATER_ON_SIGUSR2 = `--import=data:text/javascript,${encodeURIComponent(`
  const now = performance.now.bind(performance);
  process.once('SIGUSR2', () => (performance.now = () => now() + 200_000));
`)}`;

/** An agent with an additional handler, whose boots wait for `open`, in the first of them. */
async function bootingHandler(t: TestContext, env: Env = {}) {
  const booting = Promise.withResolvers<void>();
  const boot = Promise.withResolvers<void>();
  const { root, containerd } = await hostWith(t, (fake) => ({
    RunPodSandbox: async (request) => {
      if (request.runtimeHandler !== 'runsc') {
        booting.resolve();
        await boot.promise;
      }
      return fake.usual('RunPodSandbox', request);
    },
  }));
  const agent = start(t, [], { HOST_ROOT: root, HANDLERS: 'runsc,runsc-kvm', ...env });
  await booting.promise;
  return { ...agent, containerd, open: boot.resolve };
}

const USAGE = 64;

describe("the agent's process", { concurrency: 2 }, () => {
  it('prints --help with every setting', async (t) => {
    const { code, stdout, stderr } = await run(t, ['--help']);
    assert.deepEqual([code, stderr], [0, '']);
    for (const name of Object.keys(SETTINGS)) assert.ok(stdout.includes(name), name);
    for (const flag of ['--once', '--json', '--version', '--help']) assert.ok(stdout.includes(flag), flag);
  });

  it('lists all invalid settings', async (t) => {
    const env = { HANDLERS: 'run sc', PROOF_INTERVAL: '1s', LOG_LEVEL: 'loud', LISTEN_ADDRESS: 'here' };
    const { code, stdout, stderr } = await run(t, ['--once'], env);
    assert.deepEqual([code, stdout], [USAGE, '']);
    assert.match(stderr, /\nTry --help\.\n$/);
    for (const [name, value] of Object.entries(env)) assert.ok(stderr.includes(`${name}="${value}"`), name);
  });

  it('--once on an empty host shows findings and remedies', async (t) => {
    const { code, stdout, stderr } = await run(t, ['--once'], { HOST_ROOT: await emptyHost(t) });
    assert.deepEqual([code, stderr], [2, '']);
    const head =
      /^\nCannot tell whether gVisor works here\nnode-1, handler "runsc"\n\n {2}ContainerdUnreachable: /;
    assert.match(stdout, head);
    assert.match(stdout, /\? .*\bhandler-configured\b/);
    assert.match(stdout, /\? proof: as said above\n/);
    assert.match(stdout, /\nWhat to do\n {2}ContainerdUnreachable: Start containerd, /);
    assert.match(stdout, /\n {2}HandlerNotConfigured: Install gVisor /);
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
    assert.match(stdout, /^ {2}\? pods: it is unknown which namespaces require gVisor$/m);
    assert.match(stdout, /^ {2}- pods: 1 of 1 runs outside of gVisor$/m);
  });

  it("--once has a mark of its own, also in the agent's pod", async (t) => {
    const POD_UID = '01234567-89ab-cdef-0123-456789abcdef';
    const { root: HOST_ROOT, containerd } = await hostWith(t, () => ({}));
    const metadata = { name: 'agent', namespace: 'gvisor-ready', uid: POD_UID };
    containerd.sandboxes.add('agent', POD_LABELS, { config: { metadata } });
    assert.equal((await run(t, ['--once'], { HOST_ROOT, POD_UID })).code, 0);
    const boot = containerd.requests.find(({ method }) => method === 'RunPodSandbox');
    const [agents] = ownerMarks(1, POD_UID);
    assert.notEqual(boot?.request.config.labels[OWNER], agents);
  });

  it('proves additional handlers after the main one, of which a broken one changes nothing', async (t) => {
    const { root: HOST_ROOT, containerd } = await hostWith(t, (fake) => ({
      RunPodSandbox: (request) => {
        if (request.runtimeHandler !== 'runsc-kvm') return fake.usual('RunPodSandbox', request);
        throw new Refusal('open /dev/kvm: no such file or directory');
      },
    }));
    const HANDLERS = 'runsc,runsc-kvm,runsc-debug,runsc-old';
    const env = { HOST_ROOT, HANDLERS, CONFIRM_DELAY: '0s', EVIDENCE: 'off' };
    const { child, ended, get } = start(t, [], env);
    const { verdict, handlers } = await waitFor('the verdicts', 30_000, async () => {
      const status = (await (await get('/report')).json()) as Status;
      const known = status.handlers?.filter(({ verdict }) => verdict.reason !== 'AgentStarting');
      return known?.length === 3 ? status : undefined;
    });
    assert.equal(verdict?.status, 'True');
    const seen = handlers?.map(({ handler, verdict: { status } }) => `${handler} ${status}`);
    assert.deepEqual(seen, ['runsc-kvm False', 'runsc-debug True', 'runsc-old True']);
    const boot = containerd.requests.find(({ method }) => method === 'RunPodSandbox');
    assert.equal(boot?.request.runtimeHandler, 'runsc', 'the main handler comes first');
    const metrics = await (await get('/metrics')).text();
    assert.match(metrics, /^gvisor_ready_node_status\{status="True"\} 1$/m);
    assert.match(metrics, /^gvisor_ready_handler_status\{handler="runsc-kvm",status="False"\} 1$/m);
    const text = await (await get('/')).text();
    assert.match(text, /^gVisor works here\n/);
    assert.match(text, /^ {2}✗ handler runsc-kvm: /m);
    assert.match(text, /^ {2}✓ handler runsc-debug: last proven at /m);
    child.kill('SIGTERM');
    const { code, stderr } = await ended();
    assert.deepEqual([code, stderr], [0, '']);
    const once = await run(t, ['--once', '--json'], env);
    const { handlers: again } = JSON.parse(once.stdout) as Status;
    const statuses = again?.map((each) => each.verdict.status);
    assert.deepEqual([once.code, statuses], [0, ['False', 'True', 'True']]);
  });

  it('evaluates the handler alone whose pod runs outside gVisor', async (t) => {
    const metadata = { name: 'outside', namespace: 'eval', uid: 'uid-1' };
    const pod = { id: 'outside', metadata, labels: POD_LABELS, runtimeHandler: 'runsc-kvm' };
    const { root: HOST_ROOT } = await hostWith(t, (fake) => ({
      ListPodSandbox: (request) => {
        const { items } = fake.usual('ListPodSandbox', request) as { readonly items: readonly object[] };
        return { items: [...items, pod] };
      },
      PodSandboxStatus: (request) =>
        request.podSandboxId === pod.id
          ? { info: { info: '{"runtimeType":"io.containerd.runc.v2"}' } }
          : fake.usual('PodSandboxStatus', request),
    }));
    const { get } = start(t, [], { HOST_ROOT, HANDLERS: 'runsc,runsc-kvm' });
    const main = await waitFor('its evaluation', 30_000, async () => {
      const { handlers, evaluation } = (await (await get('/report')).json()) as Status;
      return handlers?.[0]?.evaluation.trigger === 'pods' && evaluation;
    });
    assert.equal(main.trigger, 'start');
  });

  it('evaluates an additional handler if containerd breaks', async (t) => {
    const { containerd, get, open } = await bootingHandler(t);
    open();
    const handler = async () => ((await (await get('/report')).json()) as Status).handlers?.[0];
    await waitFor('its proof', 30_000, async () => (await handler())?.verdict.status === 'True');
    containerd.scripts = { ...containerd.scripts, Version: refuses('no') };
    const isTold = async () => (await handler())?.evaluation.trigger === 'containerd is gone';
    await waitFor('its evaluation', 30_000, isTold);
  });

  it('is not live if the loop of an additional handler stalls', async (t) => {
    const { child, get } = await bootingHandler(t, { NODE_OPTIONS: LATER_ON_SIGUSR2 });
    assert.equal((await get('/livez')).status, 200);
    child.kill('SIGUSR2');
    // The evaluation waits 30 s for the boot.
    await waitFor('the failure', 20_000, async () => (await get('/livez')).status === 503);
  });

  it('leaves no boot of an additional handler half done when it stops', async (t) => {
    const { child, ended, containerd, open } = await bootingHandler(t);
    containerd.scripts = { ...containerd.scripts, Version: HANGS };
    await containerd.called('Version');
    child.kill('SIGTERM');
    const hasHeard = async () => containerd.cancelled.includes('Version');
    await waitFor('the agent to cancel what it may', 30_000, hasHeard);
    open();
    assert.equal((await ended()).code, 0);
    assert.ok(!containerd.cancelled.includes('RunPodSandbox'));
    assert.equal(containerd.sandboxes.byId.size, 0);
  });

  it('exits on SIGINT, also without containerd', async (t) => {
    const { child, ended, get } = start(t, [], { HOST_ROOT: await emptyHost(t) });
    assert.equal((await get('/readyz')).status, 503, 'not ready before the first verdict');
    child.kill('SIGINT');
    const { code, stdout } = await ended();
    assert.equal(code, 0);
    assert.match(stdout, /"msg":"agent stopped; labels stay as they are"/);
  });

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
