import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFile, chmod, mkdir, rm, truncate, writeFile } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { dirname, join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { patient } from '../../hack/run.ts';
import type { Report } from '../../lib/report/report.ts';
import { tempHost } from '../lib/host/temp-host.ts';
import type { Script } from '../lib/proof/containerd-scripts.ts';
import { CONFIG, FakeContainerd } from '../lib/proof/fake-containerd.ts';
import { GVISOR_NODE_FILES } from '../lib/runsc/fake-runsc.ts';
import { outcome } from './checks/fake-node.ts';

const MAIN = fileURLToPath(new URL('../../agent/main.ts', import.meta.url));
const SOCKET = '/run/containerd/containerd.sock';
const CONTAINERD_TOML = '/etc/containerd/config.toml';
const RUNSC_TOML = '/etc/containerd/runsc.toml';
const RUNSC = '/usr/local/bin/runsc';
const FILES = { ...GVISOR_NODE_FILES, [RUNSC_TOML]: '[runsc_config]\nplatform = "systrap"\n' };
/** Maximum duration of a check plus the start of the agent. */
const MAX_MS = patient(25_000);
type Evaluated = { readonly report: Report; readonly mib: number; readonly found: (check: string) => string };

type Scene = Awaited<ReturnType<typeof scene>>;

/** A host with a containerd, and a function that evaluates it with the agent as a process, optionally unprivileged. */
async function scene(t: TestContext) {
  const { root } = await tempHost(t, FILES);
  await chmod(root, 0o755);
  await mkdir(dirname(join(root, SOCKET)), { recursive: true });
  const containerd = new FakeContainerd(join(root, SOCKET), root);
  const options = { TypeUrl: 'io.containerd.runsc.v1.options', ConfigPath: RUNSC_TOML };
  const runtime = { runtimeType: 'io.containerd.runsc.v1', options };
  const config = { ...JSON.parse(CONFIG), containerd: { runtimes: { runsc: runtime } } };
  const usual: Script = (request) => ({
    ...containerd.usual('Status', request),
    info: { config: JSON.stringify(config) },
  });
  containerd.scripts = { Status: usual };
  await containerd.start();
  await chmod(containerd.socket, 0o777);
  t.after(() => containerd.stop());
  const evaluate = ({ env = {}, unprivileged = false }: Pick<Case, 'env' | 'unprivileged'> = {}) =>
    runOnce({ HOST_ROOT: root, ...env }, unprivileged);
  const closing = (server: Server) => t.after(() => server.close());
  return { path: (inside: string) => join(root, inside), containerd, usual, evaluate, closing };
}

async function runOnce(env: Readonly<Record<string, string>>, unprivileged: boolean): Promise<Evaluated> {
  const reportMemory =
    "process.on('exit', () => process.stderr.write(String(process.resourceUsage().maxRSS)))";
  const preload = ['--import', `data:text/javascript,${reportMemory}`];
  const identity = unprivileged && process.geteuid?.() === 0 ? { uid: 65534, gid: 65534 } : {};
  const child = spawn(process.execPath, [...preload, MAIN, '--once', '--json'], {
    cwd: dirname(dirname(MAIN)),
    env: { PATH: process.env.PATH, NODE_NAME: 'node-1', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: MAX_MS,
    killSignal: 'SIGKILL',
    ...identity,
  });
  const output = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (chunk: string) => {
      output[name] += chunk;
    });
  }
  await once(child, 'close');
  assert.equal(child.signalCode, null, `no exit within ${MAX_MS} ms: ${output.stderr}`);
  const report = JSON.parse(output.stdout) as Report;
  const found = (check: string) => {
    const finding = report.findings.find((each) => each.check === check);
    assert.ok(finding, check);
    return `${outcome(finding)}: ${finding.message}`;
  };
  return { report, mib: Number(output.stderr) / 1024, found };
}

/** Hostile inputs of one node, the findings that they cause, and the verdict. */
type Case = {
  readonly make: (prepared: Scene) => unknown;
  readonly found?: Readonly<Record<string, RegExp>>;
  readonly verdict?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly unprivileged?: boolean;
};
/** Replaces the response of a method. */
const responds = (method: string, script: Script): Case['make'] => {
  return ({ containerd, usual }) => {
    containerd.scripts = { Status: usual, [method]: script };
  };
};
/** Acts on each of these files. */
const onFiles = (files: readonly string[], act: (path: string) => Promise<unknown>): Case['make'] => {
  return ({ path }) => Promise.all(files.map((file) => act(path(file))));
};
const replaceByFifo = async (path: string) => {
  await rm(path);
  await once(spawn('mkfifo', ['-m', '755', path]), 'exit');
};
const UNREADABLE = /^unknown CheckFailed: Cannot read host file "\/etc\S+": EACCES$/;
const TOO_LARGE = /^unknown CheckFailed: .*larger than 1048576 bytes/;
const FIFO = /^unknown CheckFailed: .*it is a fifo/;

const CASES: Readonly<Record<string, Case>> = {
  'has configurations that the agent may not read: the sandbox shows its flags': {
    make: onFiles([CONTAINERD_TOML, RUNSC_TOML], (path) => chmod(path, 0)),
    unprivileged: true,
    found: { 'handler-configured': UNREADABLE, 'runsc-config': UNREADABLE },
  },
  'has a socket that the agent may not open': {
    make: ({ containerd }) => chmod(containerd.socket, 0),
    unprivileged: true,
    found: { containerd: /^unknown ContainerdUnreachable: containerd's Version: connect EACCES/ },
    verdict: 'Unknown ContainerdUnreachable',
  },
  'has configurations of 100 MB': {
    make: onFiles([CONTAINERD_TOML, RUNSC_TOML], (path) => truncate(path, 100 * 1024 * 1024)),
    found: { 'handler-configured': TOO_LARGE, 'runsc-config': TOO_LARGE },
  },
  'has FIFOs as configurations': {
    make: onFiles([CONTAINERD_TOML, RUNSC_TOML], replaceByFifo),
    found: { 'handler-configured': FIFO, 'runsc-config': FIFO },
  },
  'has a FIFO as runsc': {
    make: onFiles([RUNSC], replaceByFifo),
    found: { runsc: /^error RunscNotExecutable: .*fifo/ },
  },
  'has a runsc of 256 MB': {
    make: ({ path }) => truncate(path(RUNSC), 256 * 1024 * 1024),
    found: { 'runsc-release': /^pass: gVisor release-20260223\.0$/ },
  },
  'has a runsc that names a million releases, while a minimum release is required': {
    make: ({ path }) => {
      const releases = Array.from({ length: 1_000_000 }, (_, nth) => `release-20260223.${nth}\0`);
      return appendFile(path(RUNSC), releases.join(''));
    },
    env: { MIN_RUNSC_RELEASE: '20250101.0' },
    found: { 'runsc-release': /^unknown ReleaseUnknown: "\S+runsc" does not name its release$/ },
    verdict: 'Unknown ReleaseUnknown',
  },
  'has a runsc that sleeps forever: it is never executed': {
    make: ({ path }) =>
      writeFile(path(RUNSC), '#!/bin/sh\nsleep infinity & sleep infinity\n', { mode: 0o755 }),
    found: { 'runsc-release': /^unknown ReleaseUnknown: The sandbox runs a program that is not / },
  },
  'has a sandbox with 10 MB of arguments': {
    make: ({ containerd }) => {
      const { process } = containerd.sandboxes;
      containerd.sandboxes.process = (id, pid, parent) => {
        const usual = process(id, pid, parent);
        return { ...usual, argv: [...usual.argv, 'x'.repeat(10 * 1024 * 1024)] };
      };
    },
    verdict: 'Unknown CheckFailed',
  },
  'has a containerd whose status is not JSON': {
    make: responds('Status', () => ({ info: { config: '{"registry":{"password":"hunter2"' } })),
    found: { containerd: /^unknown CheckFailed: .*configuration that is not JSON$/ },
    verdict: 'Unknown CheckFailed',
  },
  'has a containerd whose status is larger than 16 MiB': {
    make: responds('Status', () => ({ info: { config: 'x'.repeat(17 * 1024 * 1024) } })),
    found: { containerd: /^unknown \w+: / },
    verdict: 'Unknown CheckFailed',
  },
  'has a socket that sends endless noise': {
    make: async ({ containerd, closing }) => {
      await containerd.stop();
      const noise = Buffer.alloc(64 * 1024, 0xa5);
      const pour = (socket: Socket) => {
        while (socket.write(noise));
      };
      const server = createServer((socket) => {
        socket.on('error', () => {}).on('drain', () => pour(socket));
        pour(socket);
      });
      closing(server);
      server.listen(containerd.socket);
      await once(server, 'listening');
    },
    verdict: 'Unknown ContainerdUnreachable',
  },
};

/** Maximum extra memory; the hostile inputs are far larger, or endless. */
const MAX_EXTRA_MIB = 64;

describe('an evaluation of a node that', () => {
  let healthyMib = 0;

  it('is healthy: True SandboxProven', async (t) => {
    const { evaluate } = await scene(t);
    const { report, mib } = await evaluate();
    assert.equal(report.evaluation.verdict.reason, 'SandboxProven', JSON.stringify(report, null, 1));
    assert.ok(mib > 0);
    healthyMib = mib;
  });

  for (const [name, { make, found = {}, verdict = 'True SandboxProven', ...how }] of Object.entries(CASES)) {
    it(`${name}: ${verdict}`, async (t) => {
      const prepared = await scene(t);
      await make(prepared);
      const { report, mib, found: finding } = await prepared.evaluate(how);
      for (const [check, pattern] of Object.entries(found)) assert.match(finding(check), pattern);
      const { status, reason } = report.evaluation.verdict;
      assert.equal(`${status} ${reason}`, verdict, JSON.stringify(report, null, 1));
      assert.doesNotMatch(JSON.stringify(report), /hunter2/);
      assert.ok(mib < healthyMib + MAX_EXTRA_MIB, `${mib} MiB, healthy ${healthyMib} MiB`);
    });
  }
});
