import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { weaknessesOfSpec } from '../../../agent/runsc/base-spec.ts';
import DEFAULT from '../../fixtures/containerd-spec.json' with { type: 'json' };

const judge = (spec: Parameters<typeof weaknessesOfSpec>[0]) =>
  weaknessesOfSpec(spec).map(({ severity, flag, value }) => `${severity} ${flag}=${value}`);
const bind = (source: string, ...options: string[]) => ({ type: 'bind', source, destination: '/x', options });

describe('weaknessesOfSpec', () => {
  it("passes containerd's own spec, and one with other limits and fewer rights", () => {
    const rlimits = [{ type: 'RLIMIT_NOFILE', hard: 65_536, soft: 1_024 }];
    const fewer = { ...DEFAULT, process: { rlimits, capabilities: { bounding: ['CAP_CHOWN'] } } };
    assert.deepEqual([DEFAULT, fewer, {}, null].flatMap(judge), []);
  });

  const MOUNTS: readonly (readonly [expected: string, ...Parameters<typeof bind>])[] = [
    ['blocker mount /x=/', '/', 'rbind', 'ro'],
    ['blocker mount /x=/run/containerd/containerd.sock', '/run/containerd/containerd.sock', 'ro'],
    ['blocker mount /x=/etc', '/usr/../etc/', 'ro'],
    ['blocker mount /x=/opt/tools', '/opt/tools'],
    ['warning mount /x=/etc/localtime', '/etc/localtime', 'ro'],
    ['warning mount /x=/runtime', '/runtime', 'ro'],
  ];
  for (const [expected, ...mount] of MOUNTS)
    it(`judges ${mount.join(' ')}: ${expected}`, () => {
      assert.deepEqual(judge({ mounts: [...DEFAULT.mounts, bind(...mount)] }), [expected]);
      assert.deepEqual(judge({ mounts: [{ ...bind(...mount, 'bind'), type: 'none' }] }), [expected]);
    });

  it('names the rest with the blockers first', () => {
    const spec = {
      linux: { devices: [{ path: '/dev/kvm' }] },
      process: { capabilities: { bounding: ['CAP_BPF', 'CAP_KILL'], effective: ['CAP_BPF'], ambient: null } },
      hooks: { prestart: [{ path: '/opt/hook' }], poststop: null },
      annotations: { 'dev.gvisor.flag.host-uds': 'open', 'dev.gvisor.flag.debug': 'true', other: '' },
    };
    assert.deepEqual(judge(spec), [
      'blocker host-uds=open',
      'warning devices=/dev/kvm',
      'warning hooks=/opt/hook',
      'warning capabilities=CAP_BPF',
    ]);
  });
});
