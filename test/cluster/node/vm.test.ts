import assert from 'node:assert/strict';
import { test } from 'node:test';
import { qemuCommand } from '../../../cluster/machine/qemu.ts';
import { containerdConfig, kubeletConfig, runscToml } from '../../../cluster/node/config.ts';
import { planNodes } from '../../../cluster/node/plan.ts';
import { parseProcesses, unitOf } from '../../../cluster/node/vm-system.ts';

const [plain, vm] = planNodes([{ name: 'a' }, { name: 'b', machine: 'vm' }]);
assert.ok(plain && vm);

test('uses the systemd cgroup driver only on virtual machines', () => {
  for (const [spec, rules] of [
    [plain, false],
    [vm, true],
  ] as const) {
    assert.equal(containerdConfig(spec).includes('SystemdCgroup = true'), rules);
    assert.equal(JSON.parse(kubeletConfig(spec)).cgroupDriver, rules ? 'systemd' : 'cgroupfs');
    assert.equal(runscToml(spec).includes('systemd-cgroup = "true"'), rules);
  }
  assert.doesNotMatch(runscToml(vm, false), /systemd-cgroup/);
});

test('passes address and SSH key to a guest as credentials', () => {
  const image = { disk: '/c/disk.img', kernel: '/c/vmlinuz', initrd: '/c/initrd.img' };
  const command = qemuCommand(vm, { image, port: 'node2', accel: 'tcg', key: 'ssh-ed25519 AAAA' });
  const credentials = command.flatMap((word) => {
    const [, name, value = ''] = /credential\.binary:([^=]+)=(.*)$/.exec(word) ?? [];
    return name === undefined ? [] : [[name, Buffer.from(value, 'base64').toString()]];
  });
  assert.deepEqual(Object.fromEntries(credentials), {
    'ssh.authorized_keys.root': 'ssh-ed25519 AAAA\n',
    'network.network.10-node':
      '[Match]\nName=eth0\n\n[Network]\nAddress=10.89.0.12/24\nGateway=10.89.0.1\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n',
  });
  assert.ok(command.includes('tap,id=net,ifname=node2,script=no,downscript=no'));
  assert.ok(command.includes('tcg,thread=multi'));
  assert.ok(!command.includes('kvm'));
});

test('has systemd units for the daemons', () => {
  assert.match(
    unitOf('kubelet', vm),
    /^ExecStart=\/usr\/local\/bin\/kubelet --config=.* --node-ip=10\.89\.0\.12$/m,
  );
  assert.match(unitOf('containerd', vm), /^KillMode=process$/m);
});

test('parses arguments with spaces and newlines', () => {
  const text = [
    '==> /proc/1/cmdline <==\n/sbin/init\0',
    '\n==> /proc/2/cmdline <==\n',
    '\n==> /proc/31/cmdline <==\n/bin/sh\0-c\0echo a b\necho c\0',
    '\n==> /proc/400/cmdline <==\nrunsc-sandbox\0--root=/run\0boot\0',
  ].join('');
  assert.deepEqual(parseProcesses(text), [
    { pid: 1, argv: ['/sbin/init'] },
    { pid: 31, argv: ['/bin/sh', '-c', 'echo a b\necho c'] },
    { pid: 400, argv: ['runsc-sandbox', '--root=/run', 'boot'] },
  ]);
});
