import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Guest, identifyGuest, readWitness } from '../../../lib/proof/witness.ts';
import { sentryFlags } from '../../../lib/runsc/flags.ts';
import { witnessOf } from '../../agent/checks/fake-node.ts';
import { removeProcess, sandboxArgv } from '../host/fake-process.ts';
import { scene } from './scene.ts';

function guestOf(argv: readonly string[], runtimePids: readonly number[]) {
  const { flags: _, ...witness } = witnessOf({ argv, runtimePids });
  return identifyGuest(sentryFlags(argv) === undefined ? witness : { ...witness, flags: {} });
}

describe('identifyGuest', () => {
  const GVISOR = sandboxArgv('1f');
  const PREWARMED = ['/usr/local/bin/gvisor-bin/gvisor-sentry-prewarmer', '/usr/bin/runsc', ...GVISOR];
  const QEMU = ['/opt/kata/bin/qemu-system-x86_64', '-name', 'sandbox-1f'];
  const table: readonly [string, Guest, Guest['kernel']][] = [
    ['gVisor', guestOf(GVISOR, [1]), 'gvisor'],
    ['gVisor with more in the guest', guestOf(GVISOR, [1, 2, 3]), 'gvisor'],
    ['gVisor started by a prewarmer', guestOf(PREWARMED, [1]), 'gvisor'],
    ['runc', guestOf(['/pause'], [189]), 'host'],
    ['runc under a forged name', guestOf(GVISOR, [189]), 'host'],
    ["runc that also reports a guest's PID", guestOf(GVISOR, [1, 189]), 'host'],
    ["gVisor's name without a PID of the guest", guestOf(GVISOR, [298]), 'other'],
    ["gVisor's name without any PID", guestOf(GVISOR, []), 'other'],
    ['Kata', guestOf(QEMU, [1]), 'other'],
    ["a path that ends in gVisor's name", guestOf(['/tmp/runsc-sandbox', 'boot'], [1]), 'other'],
    ['a prewarmer of something else', guestOf(['gvisor-sentry-prewarmer', '/pause'], [1]), 'other'],
  ];
  for (const [name, guest, kernel] of table) {
    it(`identifies ${name} as ${kernel}`, () => assert.equal(guest.kernel, kernel));
  }

  it('returns evidence', () => {
    const { evidence: host } = guestOf(['/pause'], [189]);
    assert.equal(host, 'process 189 is "/pause", and the runtime reports the PIDs 189: the host\'s own');
  });
});

describe('readWitness', { concurrency: true }, () => {
  it('reads a sandbox from the host and its runtime', async (t) => {
    const setup = await scene(t);
    setup.containerd.sandboxes.process = (id, pid) => ({
      argv: sandboxArgv(id, ['--platform=kvm', '--net-raw', '-debug=false']),
      parentPid: 4_000,
      namespacedPids: [pid, 1],
      uid: 65534,
      seccomp: 0,
      cgroup: `4:memory:/kubepods/gvisor_ready/${id}\n`,
      textPages: 77,
    });
    setup.containerd.sandboxes.add('1f', {});
    const pid = setup.containerd.sandboxes.byId.get('1f')?.pid ?? 0;
    const { argv, flags, ...rest } = await readWitness(setup, '1f', '/kubepods/gvisor_ready');
    assert.equal(argv[0], 'runsc-sandbox');
    assert.equal(argv.at(-1), '1f');
    // Arguments after the command, such as a network, are not flags of runsc itself.
    const { platform, root, network, debug, 'net-raw': raw } = flags ?? {};
    assert.deepEqual([platform, raw, debug, network], ['kvm', 'true', 'false', undefined]);
    assert.equal(root, '/run/containerd/runsc/k8s.io');
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

  it('has no shim if the parent process is gone', async (t) => {
    const setup = await scene(t);
    setup.containerd.sandboxes.add('1f', {});
    removeProcess(setup.host.root, 4_000);
    assert.equal('shim' in (await readWitness(setup, '1f', '')), false);
  });

  it('rejects a process of something else', async (t) => {
    const setup = await scene(t);
    const argv = ['/usr/sbin/sshd', '-D'];
    setup.containerd.sandboxes.process = () => ({ argv, cgroup: '0::/system.slice\n' });
    setup.containerd.sandboxes.add('1f', {});
    const message = /^Error: process \d+ in \/proc does not belong to the sandbox: \/proc is not that of /;
    await assert.rejects(readWitness(setup, '1f', ''), message);
  });

  it('rejects a process that is ending, although it is still in its cgroup', async (t) => {
    const setup = await scene(t);
    setup.containerd.sandboxes.process = (id) => ({ argv: [], cgroup: `0::/kubepods/${id}\n` });
    setup.containerd.sandboxes.add('1f', {});
    await assert.rejects(readWitness(setup, '1f', ''), /the sandbox's first process \d+ is not in \/proc/);
  });

  it('rejects if there is no process, or containerd reports none', async (t) => {
    const setup = await scene(t);
    setup.containerd.sandboxes.add('1f', {});
    removeProcess(setup.host.root, setup.containerd.sandboxes.byId.get('1f')?.pid ?? 0);
    await assert.rejects(readWitness(setup, '1f', ''), /the sandbox's first process \d+ is not in \/proc/);
    setup.containerd.scripts = { PodSandboxStatus: () => ({ info: { info: '{"pid":-1,"config":{}}' } }) };
    await assert.rejects(readWitness(setup, '1f', ''), /the sandbox's first process {2}is not in \/proc/);
  });
});
