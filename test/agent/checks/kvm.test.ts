import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { checkKvm } from '../../../agent/checks/kvm.ts';
import { checkFailed } from '../../../lib/checks/finding.ts';
import { criWith, type Files, inspect, outcome, sourcesOf, sourcesWith } from './fake-node.ts';

const KVM_TOML = '[runsc_config]\nplatform = "kvm"\n';
const OPTIONS = { TypeUrl: 'io.containerd.runsc.v1.options', ConfigPath: '/r.toml' };
const DRIVERS = '259 vsock\n232 kvm\n 59 ublk-control\n';
/** A kernel without KVM on this processor. */
const without = (cpu: string) => ({ '/proc/misc': '259 vsock\n  7 kvm_other\n', '/proc/cpuinfo': cpu });
const CPU = 'processor\t: 0\nflags\t\t: fpu svm lm\n';
const PLAIN_CPU = 'processor\t: 0\nflags\t\t: fpu svm_lock lm\n';
const HIDDEN =
  process.arch === 'x64' ? /not loaded; the processor shows neither vmx nor svm$/ : /not loaded$/;

describe('kvm', () => {
  const CASES: readonly (readonly [string, config: string, Files, expected: string, RegExp])[] = [
    ['without a platform', '[runsc_config]\n', {}, 'skipped', /does not set the platform kvm/],
    ['with systrap', KVM_TOML.replace('kvm', 'systrap'), {}, 'skipped', /does not set the platform kvm/],
    ['with a file that the shim refuses', '[runsc_config]\nplatform = kvm\n', {}, 'skipped', /does not set/],
    ['with KVM', KVM_TOML, { '/proc/misc': DRIVERS, '/proc/cpuinfo': PLAIN_CPU }, 'pass', /KVM is loaded/],
    ['with KVM of one digit', KVM_TOML, { '/proc/misc': '  2 kvm\n' }, 'pass', /KVM is loaded/],
    ['without KVM on a processor that has it', KVM_TOML, without(CPU), 'error KvmMissing', /not loaded$/],
    ['without KVM on a processor without it', KVM_TOML, without(PLAIN_CPU), 'error KvmMissing', HIDDEN],
    ['without /proc/misc', KVM_TOML, {}, 'unknown CheckFailed', /"\/proc\/misc": it is not there/],
  ];
  for (const [name, config, files, expected, message] of CASES) {
    it(`is ${expected} ${name}`, async (t) => {
      const cri = criWith({ options: OPTIONS });
      const sources = await sourcesWith(t, { '/r.toml': config, ...files }, { cri });
      const result = await inspect(checkKvm, sources).catch(checkFailed);
      assert.equal(outcome(result), expected);
      assert.match(result.message, message);
    });
  }

  it('shows where the platform is set and what the kernel has', async () => {
    const options = { ...OPTIONS, ConfigPath: '/etc/containerd/runsc.toml' };
    const sources = sourcesOf('debian-kvm-unloaded', { cri: criWith({ options }) });
    const { evidence = [] } = await inspect(checkKvm, sources);
    assert.deepEqual(evidence.slice(0, 2), [
      { file: '/etc/containerd/runsc.toml', line: 2, value: 'platform kvm' },
      { file: '/proc/misc', value: 'no kvm' },
    ]);
  });
});
