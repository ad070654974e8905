import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { ProcessScanner } from '../../../lib/sandboxes/processes.ts';
import { addProcess, type FakeProcess, removeProcess, sandboxArgv } from '../host/fake-process.ts';
import { processesAmong, recordPaths } from '../host/recorded-paths.ts';
import { tempHost } from '../host/temp-host.ts';

const { signal: SIGNAL } = new AbortController();
const ID = 'a'.repeat(64);
const OTHER = 'b'.repeat(64);
const UID = '69bcf1d5-f675-4066-b2a0-04e0de51b8be';
const POD = `0::/../../kubepods.slice/kubepods-burstable-pod${UID.replaceAll('-', '_')}.slice/cri-containerd-${OTHER}.scope\n`;
const DAEMON = '0::/../../system.slice/containerd.service\n';
const RUNSC_SHIM = '/usr/local/bin/containerd-shim-runsc-v1';
const SHIM = ['-namespace', 'k8s.io', '-address', '/run/containerd/containerd.sock'];
const RUNSC = ['runsc', '--root=/run/containerd/runsc/k8s.io', '--platform=kvm'];
const commandArgv = (...command: string[]) => [...RUNSC, ...command];

async function setUp(context: TestContext, processes: Readonly<Record<number, FakeProcess>>) {
  const host = await tempHost(context, { '/proc/uptime': '1000.00 0.00\n' });
  for (const [pid, process] of Object.entries(processes))
    addProcess(host.root, Number(pid), { cgroup: DAEMON, ...process });
  const scanner = new ProcessScanner(host);
  const scan = (bundles: Readonly<Record<string, object>> = {}) =>
    scanner.scan(new Map(Object.entries(bundles)), SIGNAL);
  return { host, scan };
}

describe('ProcessScanner', () => {
  it('finds shims, commands of runsc and sentries, and the container of an old shim by its child', async (t) => {
    const { scan } = await setUp(t, {
      10: { argv: [RUNSC_SHIM, ...SHIM, '-publish-binary', '/usr/bin/containerd'], state: 'T' },
      11: { argv: ['/usr/bin/containerd-shim-runc-v2', ...SHIM, '-id', OTHER] },
      12: { argv: ['/opt/gvisor/shim', ...SHIM, '-id', OTHER] },
      13: { argv: [RUNSC_SHIM, ...SHIM, '-id', ID, '-bundle', '/x', 'delete'] },
      14: { argv: commandArgv('wait', ID), parentPid: 10 },
      15: { argv: commandArgv('kill', '--all', ID, '9'), parentPid: 10 },
      16: { argv: commandArgv('events', '--interval=5s', ID) },
      17: { argv: commandArgv('exec', '--process', '/x', ID) },
      18: { argv: ['runc', '--root', '/run/containerd/runc/k8s.io', 'kill', ID] },
      19: { argv: sandboxArgv(ID), name: 'exe', cgroup: POD, namespacedPids: [19, 1], parentPid: 10 },
      20: { argv: sandboxArgv(OTHER), name: 'exe', namespacedPids: [20, 1], parentPid: 12 },
      21: { argv: ['ctr', ...SHIM, 'tasks', 'ls'] },
    });
    const { shims, commands, sentries, nowTicks } = await scan({
      [OTHER]: { program: '/opt/gvisor/shim', shimPid: 12 },
    });
    const process = (pid: number, state = 'S') => ({ pid, startTicks: 100, state });
    assert.deepEqual(shims, [
      { ...process(10, 'T'), id: ID },
      { ...process(11), id: OTHER },
      { ...process(12), id: OTHER },
    ]);
    assert.deepEqual(commands, [{ ...process(15), kind: 'command', id: ID, command: 'kill' }]);
    assert.deepEqual(sentries, [
      { ...process(19), id: ID },
      { ...process(20), id: OTHER },
    ]);
    assert.equal(nowTicks, 100_000);
  });

  it('believes no process of a pod, whatever it calls itself', async (t) => {
    const hostile = [[RUNSC_SHIM, ...SHIM, '-id', ID], commandArgv('kill', ID)];
    const cgroups = [
      POD, // a pod that shares the host's PID namespace
      `0::/../../pod${UID}\n`,
      `5:cpu,cpuacct:/kubepods/besteffort/pod${UID.replaceAll('-', '')}/${OTHER}\n4:memory:/\n`,
      `0::/k8s.io/${OTHER}\n`,
    ];
    const processes = hostile.flatMap((argv) => [
      ...cgroups.map((cgroup) => ({ argv, cgroup })),
      { argv, namespacedPids: [1, 1] },
    ]);
    const { scan } = await setUp(t, Object.fromEntries(processes.map((each, n) => [n + 10, each])));
    const { shims, commands } = await scan();
    assert.deepEqual([shims, commands], [[], []]);
  });

  it('examines a process once, and another one with its PID again', async (t) => {
    const { host, scan } = await setUp(t, {
      10: { argv: [RUNSC_SHIM, ...SHIM, '-id', ID] },
      11: { argv: ['/usr/bin/kubelet'] },
      12: { argv: ['sleep'], name: 'exe', cgroup: POD },
      // Younger than 15 s: it may still execute a program.
      13: { argv: ['sh'], startTicks: 99_900 },
    });
    await scan();
    addProcess(host.root, 13, { argv: commandArgv('delete', ID), cgroup: DAEMON, startTicks: 99_900 });
    const paths = recordPaths(t, host);
    const [command, ...others] = (await scan()).commands;
    assert.deepEqual([command?.pid, others], [13, []]);
    assert.deepEqual(processesAmong(paths), ['/proc/13']);
    // A shim is read every other time, the rest in turn.
    addProcess(host.root, 10, { argv: ['sleep'], cgroup: DAEMON, startTicks: 5_000 });
    const another = { argv: [RUNSC_SHIM, ...SHIM, '-id', OTHER], cgroup: DAEMON, startTicks: 5_000 };
    addProcess(host.root, 11, another);
    await scan();
    assert.deepEqual((await scan()).shims, []);
    let found = (await scan()).shims;
    for (let scans = 0; scans < 20 && found.length === 0; scans++) found = (await scan()).shims;
    assert.deepEqual([found.length, found[0]?.pid, found[0]?.id], [1, 11, OTHER]);
    removeProcess(host.root, 11);
    await scan();
    addProcess(host.root, 13, { argv: commandArgv('delete', ID), state: 'Z', startTicks: 99_900 });
    const { shims, commands } = await scan();
    assert.deepEqual([shims, commands], [[], []]);
  });

  it('examines few of the processes with which a pod may flood it, and those of other pods', async (t) => {
    const process = { argv: ['x'], name: 'exe', cgroup: POD };
    const flood = Array.from({ length: 50 }, (_, n) => [n + 10, process] as const);
    const uid = UID.replace('6', '7');
    const cgroup = `0::/kubepods/pod${uid}\n`;
    const { host, scan } = await setUp(t, {
      ...Object.fromEntries(flood),
      98: { argv: [RUNSC_SHIM, ...SHIM] },
      99: { argv: sandboxArgv(ID), name: 'exe', cgroup, parentPid: 98 },
    });
    const paths = recordPaths(t, host);
    const [sentry, ...others] = (await scan()).sentries;
    assert.deepEqual([sentry?.pid, others], [99, []]);
    assert.equal(processesAmong(paths).length, 18);
  });

  it('rejects where /proc cannot be read', async (t) => {
    const scanner = new ProcessScanner(await tempHost(t));
    await assert.rejects(scanner.scan(new Map(), SIGNAL), /uptime/);
  });
});
