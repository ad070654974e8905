import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFile, chmod, mkdir, rm, truncate, writeFile } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { dirname, join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Report } from '../../agent/agent.ts';
import { outcome } from './checks/fake-node.ts';
import { tempHost } from './host/temp-host.ts';
import { GARBAGE, HANGS, type Script } from './proof/containerd-scripts.ts';
import { CONFIG, FakeContainerd } from './proof/fake-containerd.ts';
import { GVISOR_NODE_FILES, HANDLER_TOML } from './runsc/fake-runsc.ts';

const MAIN = fileURLToPath(new URL('../../agent/main.ts', import.meta.url));
const SOCKET = '/run/containerd/containerd.sock';
const CONTAINERD_TOML = '/etc/containerd/config.toml';
const RUNSC_TOML = '/etc/containerd/runsc.toml';
const RUNSC = '/usr/local/bin/runsc';
const FILES = { ...GVISOR_NODE_FILES, [RUNSC_TOML]: '[runsc_config]\nplatform = "systrap"\n' };
/** Maximum duration of a check plus the start of the agent. */
const MAX_MS = 25_000;
type Evaluated = { readonly report: Report; readonly mib: number; readonly found: (check: string) => string };

type Scene = Awaited<ReturnType<typeof scene>>;

/** A host with a containerd, and a function that evaluates it with the agent as a process, optionally unprivileged. */
async function scene(t: TestContext) {
  const { root } = await tempHost(t, FILES);
  await chmod(root, 0o755);
  await mkdir(dirname(join(root, SOCKET)), { recursive: true });
  const containerd = new FakeContainerd(join(root, SOCKET), root);
  const runtime = { runtimeType: 'io.containerd.runsc.v1', options: optionsOf(RUNSC_TOML) };
  const config = { ...JSON.parse(CONFIG), containerd: { runtimes: { runsc: runtime } } };
  const usual: Script = (request) => ({
    ...containerd.usual('Status', request),
    info: { config: JSON.stringify(config) },
  });
  containerd.scripts = { Status: usual };
  await containerd.start();
  await chmod(containerd.socket, 0o777);
  t.after(() => containerd.stop());
  const evaluate = (env: Readonly<Record<string, string>> = {}, unprivileged = false) =>
    runOnce({ HOST_ROOT: root, ...env }, unprivileged);
  return { path: (inside: string) => join(root, inside), containerd, usual, evaluate };
}

function optionsOf(path: string) {
  return { TypeUrl: 'io.containerd.runsc.v1.options', ConfigPath: path };
}

async function runOnce(env: Readonly<Record<string, string>>, unprivileged: boolean): Promise<Evaluated> {
  const reportMemory =
    "process.on('exit', () => process.stderr.write(String(process.resourceUsage().maxRSS)))";
  const preload = ['--import', 'tsx', '--import', `data:text/javascript,${reportMemory}`];
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

/** A hostile input, the expected finding, and the expected verdict. */
type Case = {
  readonly name: string;
  readonly make: (prepared: Scene) => Promise<unknown>;
  readonly found?: readonly [check: string, pattern: RegExp];
  readonly verdict: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly unprivileged?: boolean;
};
const garbage = (method: string, script: Script = GARBAGE): Case['make'] => {
  return async ({ containerd, usual }) => {
    containerd.scripts = { Status: usual, [method]: script };
  };
};
const program = (body: string): Case['make'] => {
  return ({ path }) => writeFile(path(RUNSC), `#!/bin/sh\n${body}\n`, { mode: 0o755 });
};
const CASES: readonly Case[] = [
  {
    name: 'has a containerd configuration that the agent may not read',
    make: ({ path }) => chmod(path(CONTAINERD_TOML), 0),
    unprivileged: true,
    found: ['handler-configured', /^unknown CheckFailed: Cannot read host file "\/etc\S+": EACCES$/],
    verdict: 'True SandboxProven',
  },
  {
    name: 'has an unreadable runsc.toml: the sandbox shows its flags',
    make: ({ path }) => chmod(path(RUNSC_TOML), 0),
    unprivileged: true,
    found: ['runsc-config', /^unknown CheckFailed: Cannot read host file "\/etc\S+": EACCES$/],
    verdict: 'True SandboxProven',
  },
  {
    name: 'has a socket that the agent may not open',
    make: ({ containerd }) => chmod(containerd.socket, 0),
    unprivileged: true,
    found: ['containerd', /^unknown ContainerdUnreachable: containerd's Version: connect EACCES/],
    verdict: 'Unknown ContainerdUnreachable',
  },
  {
    name: 'has a truncated containerd configuration',
    make: ({ path }) => writeFile(path(CONTAINERD_TOML), HANDLER_TOML.slice(0, -8)),
    found: ['handler-configured', /^error ContainerdConfigInvalid: .*line 3/],
    verdict: 'True SandboxProven',
  },
  {
    name: 'has a truncated runsc.toml',
    make: ({ path }) => writeFile(path(RUNSC_TOML), '[runsc_config]\nnetwork = "ho'),
    found: ['runsc-config', /^error RunscConfigInvalid: .*line 2/],
    verdict: 'True SandboxProven',
  },
  {
    name: 'has a containerd configuration of 100 MB',
    make: ({ path }) => truncate(path(CONTAINERD_TOML), 100 * 1024 * 1024),
    found: ['handler-configured', /^unknown CheckFailed: .*larger than 1048576 bytes/],
    verdict: 'True SandboxProven',
  },
  {
    name: 'has a runsc.toml of 100 MB',
    make: ({ path }) => truncate(path(RUNSC_TOML), 100 * 1024 * 1024),
    found: ['runsc-config', /^unknown CheckFailed: .*larger than 1048576 bytes/],
    verdict: 'True SandboxProven',
  },
  {
    name: 'has a configuration that imports itself, by name and by pattern',
    make: ({ path }) =>
      writeFile(
        path(CONTAINERD_TOML),
        `imports = ["config.toml", "/etc/containerd/*.toml"]\n${HANDLER_TOML}`,
      ),
    found: ['handler-configured', /^pass: /],
    verdict: 'True SandboxProven',
  },
  {
    name: 'has a configuration that imports 200 others',
    make: async ({ path }) => {
      await writeFile(path(CONTAINERD_TOML), `imports = ["conf.d/*.toml"]\n${HANDLER_TOML}`);
      await mkdir(path('/etc/containerd/conf.d'));
      for (let file = 0; file < 200; file++) await writeFile(path(`/etc/containerd/conf.d/${file}.toml`), '');
    },
    found: ['handler-configured', /^unknown CheckFailed: .*more than 100 files/],
    verdict: 'True SandboxProven',
  },
  ...[CONTAINERD_TOML, RUNSC_TOML, RUNSC].map((file) => ({
    name: `has a FIFO for ${file}`,
    make: async ({ path }: { path: (inside: string) => string }) => {
      await rm(path(file));
      await once(spawn('mkfifo', ['-m', '755', path(file)]), 'exit');
    },
    found: {
      [CONTAINERD_TOML]: ['handler-configured', /^unknown CheckFailed: .*it is a fifo/] as const,
      [RUNSC_TOML]: ['runsc-config', /^unknown CheckFailed: .*it is a fifo/] as const,
      [RUNSC]: ['runsc', /^error RunscNotExecutable: .*fifo/] as const,
    }[file] as readonly [string, RegExp],
    verdict: 'True SandboxProven',
  })),
  {
    name: 'has a runsc of 256 MB',
    make: ({ path }) => truncate(path(RUNSC), 256 * 1024 * 1024),
    found: ['runsc-release', /^pass: gVisor release-20260223\.0$/],
    verdict: 'True SandboxProven',
  },
  {
    name: 'has a runsc that names a million releases, while a minimum release is required',
    make: async ({ path }) => {
      const releases = Array.from({ length: 1_000_000 }, (_, nth) => `release-20260223.${nth}\0`);
      await appendFile(path(RUNSC), releases.join(''));
    },
    env: { MIN_RUNSC_RELEASE: '20250101.0' },
    found: ['runsc-release', /^unknown ReleaseUnknown: "\S+runsc" does not name its release$/],
    verdict: 'Unknown ReleaseUnknown',
  },
  {
    name: 'has a runsc that sleeps forever: it is never executed',
    make: program('sleep infinity & sleep infinity'),
    found: ['runsc-release', /^unknown ReleaseUnknown: The sandbox runs a program that is not /],
    verdict: 'True SandboxProven',
  },
  {
    name: 'has a sandbox with 10 MB of arguments',
    make: async ({ containerd }) => {
      const { process } = containerd.sandboxes;
      containerd.sandboxes.process = (id, pid, parent) => {
        const usual = process(id, pid, parent);
        return { ...usual, argv: [...usual.argv, 'x'.repeat(10 * 1024 * 1024)] };
      };
    },
    verdict: 'Unknown CheckFailed',
  },
  {
    name: 'has a containerd whose Version response is garbage',
    make: garbage('Version'),
    found: ['containerd', /^unknown ContainerdUnreachable: containerd's Version: /],
    verdict: 'Unknown ContainerdUnreachable',
  },
  {
    name: 'has a containerd whose status is not JSON',
    make: garbage('Status', () => ({ info: { config: '{"registry":{"password":"hunter2"' } })),
    found: ['containerd', /^unknown CheckFailed: .*configuration that is not JSON$/],
    verdict: 'Unknown CheckFailed',
  },
  {
    name: 'has a containerd whose status is larger than 16 MiB',
    make: garbage('Status', () => ({ info: { config: 'x'.repeat(17 * 1024 * 1024) } })),
    found: ['containerd', /^unknown \w+: /],
    verdict: 'Unknown CheckFailed',
  },
  {
    name: 'has a containerd that reports garbage as PIDs',
    make: garbage('Tasks.ListPids'),
    verdict: 'Unknown ContainerdUnreachable',
  },
  {
    name: 'has a containerd that never responds',
    make: garbage('Version', HANGS),
    found: ['containerd', /^unknown CheckTimedOut: containerd's Version: no answer within 3 s$/],
    verdict: 'Unknown CheckTimedOut',
  },
];

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

  for (const { name, make, found, verdict, env, unprivileged } of CASES) {
    it(`${name}: ${verdict}`, async (t) => {
      const prepared = await scene(t);
      await make(prepared);
      const evaluated = await prepared.evaluate(env, unprivileged);
      const { status, reason } = evaluated.report.evaluation.verdict;
      if (found !== undefined) assert.match(evaluated.found(found[0]), found[1]);
      assert.equal(`${status} ${reason}`, verdict, JSON.stringify(evaluated.report, null, 1));
      assert.doesNotMatch(JSON.stringify(evaluated.report), /hunter2/);
      assert.ok(
        evaluated.mib < healthyMib + MAX_EXTRA_MIB,
        `${evaluated.mib} MiB, healthy ${healthyMib} MiB`,
      );
    });
  }

  it('has a socket that sends endless noise: Unknown ContainerdUnreachable', async (t) => {
    const { containerd, evaluate } = await scene(t);
    await containerd.stop();
    const noise = Buffer.alloc(64 * 1024, 0xa5);
    const pour = (socket: Socket) => {
      while (socket.write(noise));
    };
    const server = createServer((socket) => {
      socket.on('error', () => {}).on('drain', () => pour(socket));
      pour(socket);
    });
    server.listen(containerd.socket);
    await once(server, 'listening');
    t.after(() => server.close());
    const { report, mib } = await evaluate();
    assert.equal(report.evaluation.verdict.reason, 'ContainerdUnreachable');
    assert.ok(mib < healthyMib + MAX_EXTRA_MIB, `${mib} MiB, healthy ${healthyMib} MiB`);
  });
});
