import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Report } from '../../agent/report.ts';
import { outcome } from './checks/fake-node.ts';
import { tempHost } from './host/temp-host.ts';
import type { Script } from './proof/containerd-scripts.ts';
import { CONFIG, FakeContainerd } from './proof/fake-containerd.ts';
import { fakeRunsc } from './runsc/fake-runsc.ts';

const MAIN = fileURLToPath(new URL('../../agent/main.ts', import.meta.url));
const SOCKET = '/run/containerd/containerd.sock';
/** Files of the healthy host: containerd's configuration, */
export const CONTAINERD_TOML = '/etc/containerd/config.toml';
/** gVisor's, */
export const RUNSC_TOML = '/etc/containerd/runsc.toml';
/** runsc, */
export const RUNSC = '/usr/local/bin/runsc';
/** and the text of the first. */
export const HANDLER = `version = 3
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runsc]
runtime_type = 'io.containerd.runsc.v1'
`;
const FILES = {
  '/proc/sys/kernel/osrelease': '6.8.0\n',
  '/proc/sys/user/max_user_namespaces': '96365\n',
  [CONTAINERD_TOML]: HANDLER,
  [RUNSC_TOML]: '[runsc_config]\nplatform = "systrap"\n',
  [RUNSC]: fakeRunsc(),
  '/usr/local/bin/containerd-shim-runsc-v1': { program: '#!/bin/sh\n' },
};
/** How long an answer may take, whatever there is to be seen: the longest deadline of a check, and the agent's start. */
const MOST_MS = 25_000;
type Seen = { readonly report: Report; readonly mib: number; readonly found: (check: string) => string };

/** What {@link scene} gives. */
export type Scene = Awaited<ReturnType<typeof scene>>;

/** A host, the containerd on it, and one look of the agent as a process of its own, without rights if told so. */
export async function scene(t: TestContext) {
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
  const look = (env: Readonly<Record<string, string>> = {}, asNobody = false) =>
    lookOnce({ HOST_ROOT: root, ...env }, asNobody);
  return { path: (inside: string) => join(root, inside), containerd, usual, look };
}

function optionsOf(path: string) {
  return { TypeUrl: 'io.containerd.runsc.v1.options', ConfigPath: path };
}

async function lookOnce(env: Readonly<Record<string, string>>, asNobody: boolean): Promise<Seen> {
  const tellMemory = "process.on('exit', () => process.stderr.write(String(process.resourceUsage().maxRSS)))";
  const preload = ['--import', 'tsx', '--import', `data:text/javascript,${tellMemory}`];
  const nobody = asNobody && process.geteuid?.() === 0 ? { uid: 65534, gid: 65534 } : {};
  const child = spawn(process.execPath, [...preload, MAIN, '--once', '--json'], {
    cwd: dirname(dirname(MAIN)),
    env: { PATH: process.env.PATH, NODE_NAME: 'node-1', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: MOST_MS,
    killSignal: 'SIGKILL',
    ...nobody,
  });
  const output = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (chunk: string) => {
      output[name] += chunk;
    });
  }
  await once(child, 'close');
  assert.equal(child.signalCode, null, `no answer within ${MOST_MS} ms: ${output.stderr}`);
  const report = JSON.parse(output.stdout) as Report;
  const found = (check: string) => {
    const finding = report.findings.find((each) => each.check === check);
    assert.ok(finding, check);
    return `${outcome(finding)}: ${finding.message}`;
  };
  return { report, mib: Number(output.stderr) / 1024, found };
}
