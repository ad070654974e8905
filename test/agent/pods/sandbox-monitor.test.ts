import assert from 'node:assert/strict';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import pino from 'pino';
import { SandboxMonitor } from '../../../agent/pods/sandbox-monitor.ts';
import { CriClient } from '../../../lib/containerd/client.ts';
import { RunscPrograms } from '../../../lib/runsc/program.ts';
import { remedyOf } from '../../../lib/sandboxes/problem.ts';
import { SandboxScanner } from '../../../lib/sandboxes/scanner.ts';
import EXPECTED from '../../fixtures/sandbox-stories.json' with { type: 'json' };
import { fakeShim, frame } from '../../lib/containerd/fake-shim.ts';
import { mockCpuTimes } from '../../lib/host/cpu-times.ts';
import {
  addProcess,
  type FakeProcess,
  removeProcess,
  sandboxArgv,
  TEXT_PAGES,
} from '../../lib/host/fake-process.ts';
import { tempHost } from '../../lib/host/temp-host.ts';
import { refuses } from '../../lib/proof/containerd-scripts.ts';
import { fakeContainerd } from '../../lib/proof/fake-containerd.ts';
import { fakeRunsc } from '../../lib/runsc/fake-runsc.ts';
import { waitUntil } from '../publish/publisher-of.ts';

const { signal: SIGNAL } = new AbortController();
const STATE = '/run/containerd';
const SHIM = '/usr/local/bin/containerd-shim-runsc-v1';
const SANDBOX = 'a'.repeat(64);
const CONTAINER = 'c'.repeat(64);
const UID = '69bcf1d5-f675-4066-b2a0-04e0de51b8be';
const POD_CGROUP = `0::/kubepods/besteffort/pod${UID}\n`;
const MINUTE_MS = 60_000;
const [SHIM_PID, CONTAINER_SHIM_PID, SENTRY_PID, COMMAND_PID] = [10, 11, 12, 13];

type Lists = { sandboxes: object[]; containers: object[] };

/** A node with one gVisor pod of one container, as gVisor's release of February 2026 runs it. */
async function setUp(t: TestContext) {
  const bundle = (id: string) => `${STATE}/io.containerd.runtime.v2.task/k8s.io/${id}`;
  const filesOf = (id: string, socket: string, pid: number) => ({
    [`${bundle(id)}/shim-binary-path`]: SHIM,
    [`${bundle(id)}/address`]: `unix://${STATE}/s/${socket}`,
    [`${bundle(id)}/shim.pid`]: String(pid),
  });
  const host = await tempHost(t, {
    '/proc/uptime': '100000.00 0.00\n',
    [SHIM]: { program: 'x' },
    ...filesOf(SANDBOX, '1', SHIM_PID),
    ...filesOf(CONTAINER, '2', CONTAINER_SHIM_PID),
  });
  const local = (path: string) => join(host.root, path);
  await mkdir(local(`${STATE}/s`));
  const silent = new Set<string>();
  const shims = await Promise.all(
    ['1', '2'].map((name) =>
      fakeShim(t, local(`${STATE}/s/${name}`), (socket) => void (silent.has(name) || socket.write(frame(2)))),
    ),
  );
  const metadata = { name: 'train', namespace: 'eval', uid: UID };
  const sandbox = { id: SANDBOX, metadata, state: 'SANDBOX_READY', runtimeHandler: 'runsc' };
  const container = { id: CONTAINER, podSandboxId: SANDBOX, state: 'CONTAINER_RUNNING' };
  const lists: Lists = { sandboxes: [sandbox], containers: [container] };
  const { containerd } = await fakeContainerd(t, {
    ListPodSandbox: () => ({ items: lists.sandboxes }),
    ListContainers: () => ({ containers: lists.containers }),
  });
  const client = new CriClient(`${STATE}/containerd.sock`, containerd.socket);
  t.after(() => client.close());
  const add = (pid: number, process: FakeProcess) =>
    addProcess(host.root, pid, { cgroup: '0::/daemon\n', ...process });
  const shimArgv = [SHIM, '-namespace', 'k8s.io', '-address', `${STATE}/containerd.sock`];
  add(SHIM_PID, { argv: shimArgv });
  add(CONTAINER_SHIM_PID, { argv: shimArgv });
  const addSentry = (more: Partial<FakeProcess> = {}) =>
    add(SENTRY_PID, {
      argv: sandboxArgv(SANDBOX),
      name: 'exe',
      parentPid: SHIM_PID,
      cgroup: POD_CGROUP,
      namespacedPids: [12, 1],
      ...more,
    });
  addSentry();
  const clock = { ms: 0 };
  const lines: { readonly msg: string; readonly reason?: string }[] = [];
  const log = pino({ level: 'info' }, { write: (line: string) => void lines.push(JSON.parse(line)) });
  const sentries = new Map([[SANDBOX, { textPages: TEXT_PAGES, configPath: '', flags: {} }]]);
  const programs = new RunscPrograms();
  const scanner = new SandboxScanner({
    ...{ client, host, programs, sentries: () => sentries, patienceMs: 30 },
    ...{ now: () => clock.ms, wallMs: () => clock.ms },
  });
  t.after(() => scanner.close());
  const monitor = new SandboxMonitor({
    ...{ scanner, host, log, wallMs: () => clock.ms, everyMs: 1, startMs: 0 },
  });
  /** The report after so many minutes with a scan each. */
  const after = async (minutes: number) => {
    for (let minute = 0; minute < minutes; minute++) {
      await monitor.scan(SIGNAL);
      clock.ms += MINUTE_MS;
    }
    await monitor.scan(SIGNAL);
    const report = monitor.report();
    assert.ok(report);
    return report;
  };
  const forget = (id: string) => rm(local(bundle(id)), { recursive: true });
  return {
    ...{ host, local, lists, containerd, add, addSentry, clock, lines, monitor, scanner, after, forget },
    ...{ silent, shims, sandbox, container, shimArgv },
  };
}

type Node = Awaited<ReturnType<typeof setUp>>;

const POD = { namespace: 'eval', name: 'train', uid: UID };

/** Changes of the node. The fixture has the minutes until it is reported, and the report. */
const STORIES: Readonly<Record<keyof typeof EXPECTED, (node: Node) => unknown>> = {
  'the shim of a container is stopped': ({ silent }) => silent.add('2'),
  'the shim of a container is stopped, and its socket is out of reach': ({ add, shimArgv, local }) => {
    add(CONTAINER_SHIM_PID, { argv: shimArgv, state: 'T' });
    return rm(local(`${STATE}/s`), { recursive: true });
  },
  'containerd has forgotten a pod whose shims and sentry live': async ({ lists, forget, host }) => {
    lists.sandboxes = [];
    lists.containers = [];
    removeProcess(host.root, CONTAINER_SHIM_PID);
    await forget(SANDBOX);
  },
  'the sandbox has ended and its shim has not': ({ lists, sandbox, host }) => {
    lists.sandboxes = [{ ...sandbox, state: 'SANDBOX_NOTREADY' }];
    for (const pid of [CONTAINER_SHIM_PID, SENTRY_PID]) removeProcess(host.root, pid);
  },
  'a container has ended and its shim has not': ({ lists, container }) => {
    lists.containers = [{ ...container, state: 'CONTAINER_EXITED' }];
  },
  'the sandbox has ended and its sentry has not': ({ lists, sandbox, container }) => {
    lists.containers = [{ ...container, state: 'CONTAINER_EXITED' }];
    lists.sandboxes = [{ ...sandbox, state: 'SANDBOX_NOTREADY' }];
  },
  'a command of runsc does not end': ({ add }) =>
    add(COMMAND_PID, {
      argv: ['runsc', '--root=/run/containerd/runsc/k8s.io', 'delete', CONTAINER],
      state: 'D',
      startTicks: 9_994_000,
    }),
  'the sentry is stopped': ({ addSentry }) => addSentry({ state: 'T' }),
  "the shim's program was removed": ({ local }) => rm(local(SHIM)),
  'runsc was replaced under a running pod': ({ local }) => {
    const { program } = fakeRunsc('release-20260817.0', TEXT_PAGES + 1);
    return writeFile(local('/usr/local/bin/runsc'), program, { mode: 0o755 });
  },
};

describe('SandboxMonitor', () => {
  it('reports nothing of a healthy pod, and a restart as safe', async (t) => {
    const { after, lines } = await setUp(t);
    const { problems, total, restart } = await after(10);
    assert.deepEqual([problems, total, restart, lines], [[], 0, { state: 'safe', because: [] }, []]);
  });

  for (const [name, { reason, minutes, pids, restart, message }] of Object.entries(EXPECTED)) {
    it(`reports ${reason} once it has lasted: ${name}`, async (t) => {
      const node = await setUp(t);
      await node.after(0);
      await STORIES[name as keyof typeof EXPECTED](node);
      for (let minute = 0; minute < minutes; minute++) {
        assert.deepEqual((await node.after(0)).problems, [], `after ${minute} minutes`);
        node.clock.ms += MINUTE_MS;
        await writeFile(node.local('/proc/uptime'), `${100_000 + (minute + 1) * 60}.00 0.00\n`);
      }
      const { problems, total, restart: found } = await node.after(0);
      const [problem] = problems;
      assert.ok(problem !== undefined && total === 1, JSON.stringify(problems));
      const { message: text, since: _, ageSeconds, ...rest } = problem;
      assert.deepEqual(rest, { reason, sandbox: SANDBOX, pids, ...POD });
      assert.ok(text.startsWith(message), text);
      assert.ok(ageSeconds >= minutes * 60);
      assert.equal(found.state, restart, found.because.join());
      const remedy = remedyOf(problem);
      assert.ok(!/\bPID\b|\bSANDBOX\b/.test(remedy), remedy);
    });
  }

  it('waits longer on a busy node, and keeps what it has reported until it ends', async (t) => {
    const { host, lists, sandbox, after } = await setUp(t);
    await after(0);
    mockCpuTimes(t, host, 0);
    lists.sandboxes = [{ ...sandbox, state: 'SANDBOX_NOTREADY' }];
    assert.equal((await after(24)).total, 0);
    assert.equal((await after(1)).total, 1);
    lists.sandboxes = [sandbox];
    assert.equal((await after(0)).total, 0);
  });

  it('calls a restart unsafe while a container starts, and unknown while a shim is slow', async (t) => {
    const { lists, container, after, silent, clock } = await setUp(t);
    lists.containers = [{ ...container, state: 'CONTAINER_CREATED' }];
    const because = [`container ${'c'.repeat(12)} of sandbox ${'a'.repeat(12)} is being started`];
    assert.deepEqual((await after(0)).restart, { state: 'unsafe', because });
    lists.containers = [container];
    silent.add('2');
    await after(0);
    clock.ms += 5_000;
    const { restart: slow } = await after(0);
    assert.deepEqual(slow, { state: 'unknown', because: ['1 shims have not answered yet'] });
    const { restart: silenced } = await after(1);
    assert.deepEqual(silenced.because, [`the shim 11 of sandbox ${'a'.repeat(12)} does not answer`]);
  });

  it('does not know whether a restart is safe where processes, sockets or programs are hidden', async (t) => {
    const { host, local, after, add, shims, silent } = await setUp(t);
    silent.add('2');
    await after(0);
    for (const socket of shims[1]?.connections ?? []) socket.destroy();
    assert.match((await after(0)).restart.because.join(), /^1 sockets of shims cannot be opened,/);
    silent.delete('2');
    for (const pid of [SHIM_PID, CONTAINER_SHIM_PID]) removeProcess(host.root, pid);
    const { restart } = await after(0);
    assert.equal(restart.state, 'unknown');
    assert.match(restart.because.join(), /no shim is visible in \/proc/);
    add(SHIM_PID, { argv: [SHIM, '-namespace', 'k8s.io', '-id', SANDBOX] });
    assert.equal((await after(0)).restart.state, 'safe');
    await rm(local(`${STATE}/io.containerd.runtime.v2.task`), { recursive: true });
    assert.match((await after(0)).restart.because.join(), /records of shims are not beside its socket/);
  });

  it('says nothing of a sandbox for what a process in a pod calls itself', async (t) => {
    const { lists, sandbox, container, add, after } = await setUp(t);
    const [plain, gone] = ['d'.repeat(64), 'e'.repeat(64)];
    const metadata = { name: 'plain', namespace: 'tenant', uid: UID.replace('6', '7') };
    // A pod of runc: the children of its shim are its own programs.
    const runc = '/usr/bin/containerd-shim-runc-v2';
    add(20, { argv: [runc, '-namespace', 'k8s.io', '-id', plain] });
    const cgroup = POD_CGROUP.replace(UID, metadata.uid);
    const forged = [plain, gone, SANDBOX].flatMap((id) => [
      sandboxArgv(id),
      ['runsc', '--root=/run/containerd/runsc/k8s.io', 'delete', id],
      [SHIM, '-namespace', 'k8s.io', '-id', id],
    ]);
    for (const [n, argv] of [...forged, ...forged].entries()) {
      const parentPid = n < forged.length ? 20 : 35; // 35 calls itself a shim of gVisor
      const process = { argv, name: 'runsc-sandbox', parentPid, cgroup, state: 'T' };
      add(30 + n, { ...process, namespacedPids: [30 + n, n] });
    }
    const own = { ...sandbox, id: plain, metadata, runtimeHandler: '' };
    lists.sandboxes = [sandbox, own, { ...own, id: gone, state: 'SANDBOX_NOTREADY' }];
    lists.containers = [container, { id: 'f', podSandboxId: plain, state: 'CONTAINER_CREATED' }];
    const { problems, restart } = await after(30);
    assert.deepEqual([problems, restart], [[], { state: 'safe', because: [] }]);
  });

  it('knows a sentry by the shim that its bundle names, and after that has ended', async (t) => {
    const { add, addSentry, lists, sandbox, container, forget, host, local, after } = await setUp(t);
    // A name of its own, as a handler's runtime_path allows.
    const shim = '/usr/local/bin/gvisor-shim';
    const bundle = `${STATE}/io.containerd.runtime.v2.task/k8s.io/${SANDBOX}`;
    await writeFile(local(`${bundle}/shim-binary-path`), shim);
    await writeFile(local(shim), '');
    add(SHIM_PID, { argv: [shim, '-namespace', 'k8s.io'] });
    await after(0);
    lists.containers = [{ ...container, state: 'CONTAINER_EXITED' }];
    lists.sandboxes = [{ ...sandbox, state: 'SANDBOX_NOTREADY' }];
    for (const pid of [SHIM_PID, CONTAINER_SHIM_PID]) removeProcess(host.root, pid);
    await forget(SANDBOX);
    addSentry({ parentPid: 1 });
    const { problems } = await after(5);
    const found = problems.map(({ reason, pids }) => [reason, pids]);
    assert.deepEqual(found, [['SentryLingers', [SENTRY_PID]]]);
  });

  it('scans again after a change, and knows of no restart that is safe until then', async (t) => {
    const { scanner, host, clock } = await setUp(t);
    const scans: number[] = [];
    const counted = {
      scan: async (signal: AbortSignal) => {
        scans.push(clock.ms);
        return scanner.scan(signal);
      },
      close: () => {},
    };
    const options = { scanner: counted, host, log: pino({ level: 'silent' }), wallMs: () => clock.ms };
    const monitor = new SandboxMonitor({ ...options, everyMs: 60 * MINUTE_MS, startMs: 0 });
    const stop = new AbortController();
    const done = monitor.run(stop.signal);
    const state = () => monitor.report()?.restart.state;
    await waitUntil('a scan', () => state() === 'safe');
    clock.ms += 1_000;
    monitor.changed();
    assert.equal(state(), 'unknown');
    await waitUntil('the next', () => state() === 'safe');
    assert.deepEqual(scans, [0, 1_000]);
    stop.abort();
    await done;
  });

  it('logs what begins and what ends, and an unreadable list once', async (t) => {
    const { monitor, clock, lists, sandbox, containerd, lines, after } = await setUp(t);
    await after(0);
    const usual = containerd.scripts;
    lists.sandboxes = [{ ...sandbox, state: 'SANDBOX_NOTREADY' }];
    await after(4);
    clock.ms += MINUTE_MS;
    const stop = new AbortController();
    const done = monitor.run(stop.signal);
    const scans = async (count: number) => {
      for (let n = 0; n < count; n++) await containerd.called('ListContainers');
    };
    await scans(2);
    lists.sandboxes = [sandbox];
    await scans(2);
    containerd.scripts = { ...usual, ListContainers: refuses('the store is broken') };
    await scans(2);
    stop.abort();
    await done;
    const logged = lines.map(({ msg, reason }) => [msg, reason]);
    assert.deepEqual(logged, [
      ['a sandbox has a problem', 'SentryLingers'],
      ['the problem of a sandbox has ended', 'SentryLingers'],
      ['cannot scan the sandboxes of this node: the store is broken', undefined],
    ]);
    clock.ms += 60 * MINUTE_MS;
    const { stale, restart } = monitor.report() ?? {};
    assert.deepEqual([stale, restart?.state], [true, 'unknown']);
  });
});
