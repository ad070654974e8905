import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { identifyGuest, readWitness, type Witness } from '../../../agent/proof/witness.ts';
import { sentryFlags } from '../../../agent/runsc/flags.ts';
import { sandboxArgv, TEXT_PAGES } from '../host/fake-process.ts';
import { brief, scene, vanish } from './scene.ts';

/** A witness with these arguments, and PIDs that the runtime tells. */
function witnessOf(argv: readonly string[], runtimePids: readonly number[], pid = 189): Witness {
  const flags = sentryFlags(argv);
  return {
    pid,
    argv,
    ...(flags === undefined ? {} : { flags: Object.fromEntries(flags) }),
    uid: 0,
    seccomp: 2,
    textPages: TEXT_PAGES,
    cgroups: [],
    cgroupParent: '',
    runtimePids,
  };
}

describe('identifyGuest', () => {
  const GVISOR = sandboxArgv('1f');
  const PREWARMED = ['/usr/local/bin/gvisor-bin/gvisor-sentry-prewarmer', '/usr/bin/runsc', ...GVISOR];
  const QEMU = ['/opt/kata/bin/qemu-system-x86_64', '-name', 'sandbox-1f'];
  const table: readonly [string, Witness, 'gvisor' | 'host' | 'other'][] = [
    ['gVisor', witnessOf(GVISOR, [1]), 'gvisor'],
    ['gVisor with more in the guest', witnessOf(GVISOR, [1, 2, 3]), 'gvisor'],
    ['gVisor that a prewarmer started', witnessOf(PREWARMED, [1]), 'gvisor'],
    ['runc', witnessOf(['/pause'], [189]), 'host'],
    ['runc under a name that is forged', witnessOf(GVISOR, [189]), 'host'],
    ["runc that also tells a guest's PID", witnessOf(GVISOR, [1, 189]), 'host'],
    ["a name of gVisor's, and no PID of a guest", witnessOf(GVISOR, [298]), 'other'],
    ["a name of gVisor's, and no PID at all", witnessOf(GVISOR, []), 'other'],
    ['Kata', witnessOf(QEMU, [1]), 'other'],
    ["a path that ends as gVisor's name", witnessOf(['/tmp/runsc-sandbox', 'boot'], [1]), 'other'],
    ['a prewarmer of something else', witnessOf(['gvisor-sentry-prewarmer', '/pause'], [1]), 'other'],
  ];
  for (const [name, witness, kernel] of table) {
    it(`knows ${kernel} in ${name}`, () => assert.equal(identifyGuest(witness).kernel, kernel));
  }

  it('says why', () => {
    assert.equal(
      identifyGuest(witnessOf(['/pause'], [189])).evidence,
      'process 189 is "/pause", and the runtime tells the PIDs 189: the host\'s own',
    );
    assert.equal(
      identifyGuest(witnessOf(GVISOR, [])).evidence,
      'process 189 is "runsc-sandbox", and the runtime tells the PIDs of nothing',
    );
  });
});

describe('readWitness', { concurrency: true }, () => {
  it('tells what the host and the runtime say of a sandbox', async (t) => {
    const made = await scene(t);
    made.containerd.sandboxes.process = (id, pid) => ({
      argv: sandboxArgv(id, ['--platform=kvm', '--net-raw', '-debug=false']),
      parentPid: 4_000,
      namespacedPids: [pid, 1],
      uid: 65534,
      seccomp: 0,
      cgroup: `4:memory:/kubepods/gvisor_ready/${id}\n`,
      textPages: 77,
    });
    made.containerd.sandboxes.add('1f', {});
    const pid = made.containerd.sandboxes.byId.get('1f')?.pid ?? 0;
    const { argv, flags, ...rest } = await readWitness(made, '1f', '/kubepods/gvisor_ready');
    assert.equal(argv[0], 'runsc-sandbox');
    assert.equal(argv.at(-1), '1f');
    assert.deepEqual(
      [flags?.platform, flags?.['net-raw'], flags?.debug, flags?.root],
      ['kvm', 'true', 'false', '/run/containerd/runsc/k8s.io'],
    );
    // What comes after the command is no flag of runsc's own.
    assert.equal(flags?.network, undefined);
    assert.deepEqual(rest, {
      pid,
      uid: 65534,
      seccomp: 0,
      textPages: 77,
      cgroups: ['/kubepods/gvisor_ready/1f'],
      cgroupParent: '/kubepods/gvisor_ready',
      shim: '/usr/local/bin/containerd-shim-runsc-v1',
      runtimePids: [1],
    });
  });

  it('tells no shim where the parent names no path, or is gone', async (t) => {
    const made = await scene(t);
    made.containerd.sandboxes.add('1f', {});
    vanish(made, 4_000);
    assert.equal('shim' in (await readWitness(made, '1f', '')), false);
  });

  it("rejects when the process is none of the sandbox's", async (t) => {
    const made = await scene(t);
    made.containerd.sandboxes.process = () => ({
      argv: ['/usr/sbin/sshd', '-D'],
      cgroup: '0::/system.slice\n',
    });
    made.containerd.sandboxes.add('1f', {});
    await assert.rejects(
      readWitness(made, '1f', ''),
      /^Error: process \d+ in \/proc is none of the sandbox's: \/proc is not that of /,
    );
  });

  it("rejects when the process ends, and has no arguments any more, although its cgroup still is the sandbox's", async (t) => {
    const made = await scene(t);
    made.containerd.sandboxes.process = (id) => ({ argv: [], cgroup: `0::/kubepods/${id}\n` });
    made.containerd.sandboxes.add('1f', {});
    await assert.rejects(readWitness(made, '1f', ''), /the sandbox's first process \d+ is not in \/proc/);
  });

  it('rejects when there is no such process, or containerd names none', async (t) => {
    const made = await scene(t);
    made.containerd.sandboxes.add('1f', {});
    vanish(made, made.containerd.sandboxes.byId.get('1f')?.pid ?? 0);
    await assert.rejects(readWitness(made, '1f', ''), /the sandbox's first process \d+ is not in \/proc/);
    made.containerd.scripts = { PodSandboxStatus: () => ({ info: { info: '{"pid":-1}' } }) };
    await assert.rejects(readWitness(made, '1f', ''), /the sandbox's first process {2}is not in \/proc/);
  });
});

describe('boot, by what the sandbox is', { concurrency: true }, () => {
  const GUESTS = [
    ['runc', ['/pause'], (pid: number) => [pid], 'failed GuestIsHostKernel'],
    ['runc in disguise', sandboxArgv('sandbox-1'), (pid: number) => [pid], 'failed GuestIsHostKernel'],
    ['Kata', ['/opt/kata/qemu', 'sandbox-1'], () => [1], 'failed GuestNotGVisor'],
    ['a foreign process', ['/bin/x'], () => [1], 'impossible CheckFailed'],
  ] as const;
  for (const [name, argv, runtimePids, expected] of GUESTS) {
    it(`comes to ${expected} with ${name}`, async (t) => {
      const { containerd, run, clock } = await scene(t);
      clock.stepMs = 1_000;
      const cgroup = (id: string) => (name === 'runc' ? `0::/kubepods/${id}\n` : '0::/\n');
      containerd.sandboxes.process = (id) => ({ argv, cgroup: cgroup(id) });
      containerd.sandboxes.runtimePids = runtimePids;
      assert.equal(brief(await run()), expected);
      assert.equal(containerd.sandboxes.byId.size, 0);
    });
  }
});
