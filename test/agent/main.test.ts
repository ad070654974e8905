import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { SETTINGS } from '../../agent/config.ts';
import type { Report, Status } from '../../agent/report.ts';
import { REPO } from '../../hack/paths.ts';
import { emptyHost, provenHost, run, start } from './agent-process.ts';
import { refuses } from './proof/containerd-scripts.ts';

const USAGE = 64;

describe("the agent's process", { concurrency: 2 }, () => {
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

  it('refuses to publish to a node outside of a cluster', async (t) => {
    const env = { PUBLISH: 'node', HOST_ROOT: await emptyHost(t) };
    const { code, stderr } = await run(t, [], env);
    assert.equal(code, USAGE);
    assert.match(stderr, /^PUBLISH="node" needs a cluster: run in a pod /);
  });

  it('looks once at a host without containerd, and says what is wrong and what to do', async (t) => {
    const { code, stdout, stderr } = await run(t, ['--once'], { HOST_ROOT: await emptyHost(t) });
    assert.deepEqual([code, stderr], [2, '']);
    assert.match(
      stdout,
      /^\nCannot tell whether gVisor works here\nnode-1, handler "runsc"\n\n {2}ContainerdUnreachable: /,
    );
    assert.match(stdout, /\? The handler is in containerd's configuration on disk/);
    assert.match(stdout, /\? A sandbox boots, is gVisor's, and goes away: as said above\n/);
    assert.match(stdout, /\nWhat to do next\n {2}ContainerdUnreachable: Start containerd, /);
    assert.match(stdout, /\n {2}HandlerNotConfigured: Add the handler /);
    for (const line of stdout.split('\n')) assert.ok(line.length <= 80 || !/\S\s\S/.test(line.trim()), line);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: an escape sequence begins with one
    assert.doesNotMatch(stdout, /\u001b/);
  });

  it('looks once at a host in order whose containerd does not run, and cannot tell', async (t) => {
    const root = join(REPO, 'test/fixtures/hosts/kubeadm-ready');
    const { code, stdout } = await run(t, ['--once'], { HOST_ROOT: root });
    assert.equal(code, 2);
    assert.match(
      stdout,
      /^\nCannot tell whether gVisor works here\nnode-1, handler "runsc"\n\n {2}ContainerdUnreachable: /,
    );
  });

  it('looks once and prints the report as JSON, and nothing else', async (t) => {
    const { code, stdout } = await run(t, ['--once', '--json'], { HOST_ROOT: await emptyHost(t) });
    const report = JSON.parse(stdout) as Report;
    assert.equal(code, 2);
    assert.deepEqual(
      [report.node, report.verdict.reason, report.evaluation.verdict.reason, report.proof.kind],
      ['node-1', 'ContainerdUnreachable', 'ContainerdUnreachable', 'inconclusive'],
    );
  });

  it('says in the JSON of one look what its exit code says', async (t) => {
    const refused = { RunPodSandbox: refuses('no runtime for "runsc" is configured') };
    const HOST_ROOT = await provenHost(t, refused);
    const { code, stdout } = await run(t, ['--once', '--json'], { HOST_ROOT });
    const { verdict, evaluation } = JSON.parse(stdout) as Report;
    assert.deepEqual([code, verdict.status, verdict.reason], [1, 'False', 'HandlerNotConfigured']);
    assert.deepEqual(verdict, evaluation.verdict);
  });

  it('tells in one look which pods are outside of gVisor', async (t) => {
    const metadata = { name: 'plain', namespace: 'eval', uid: 'uid-1' };
    const labels = { 'io.kubernetes.pod.uid': 'uid-1' };
    const HOST_ROOT = await provenHost(t, {
      ListPodSandbox: () => ({ items: [{ id: 'a', metadata, labels }] }),
      PodSandboxStatus: () => ({ info: { info: '{"runtimeType":"io.containerd.runc.v2"}' } }),
    });
    const { pods } = JSON.parse((await run(t, ['--once', '--json'], { HOST_ROOT })).stdout) as Status;
    assert.deepEqual([pods?.running, pods?.requirementsKnown, pods?.violating], [1, false, []]);
    assert.deepEqual(
      pods?.permitted.map(({ namespace, name }) => `${namespace}/${name}`),
      ['eval/plain'],
    );
    const { stdout } = await run(t, ['--once'], { HOST_ROOT });
    assert.match(
      stdout,
      /Which namespaces require gVisor is not known here\n {4}1 of 1 pod runs outside of gVisor\n/,
    );
  });

  it('looks once at a host where gVisor boots', async (t) => {
    const { code, stdout } = await run(t, ['--once', '--json'], {
      HOST_ROOT: await provenHost(t),
    });
    const report = JSON.parse(stdout) as Report;
    assert.deepEqual([code, report.verdict.reason], [0, 'SandboxProven']);
    assert.ok(report.proof.kind === 'proven' && report.proof.witness.runtimePids[0] === 1);
  });

  it('shows what it knows over HTTP while it runs, and leaves when it is told to', async (t) => {
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

  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    it(`ends at once with ${signal}, also with a host that has no containerd`, async (t) => {
      const { child, ended, logged } = start(t, [], { HOST_ROOT: await emptyHost(t) });
      await logged('agent started');
      const asked = performance.now();
      child.kill(signal);
      const { code, stdout } = await ended();
      assert.equal(code, 0);
      assert.ok(performance.now() - asked < 5_000, `${performance.now() - asked} ms`);
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
