import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { weakFlags } from '../../../agent/runsc/isolation-flags.ts';

describe('weakFlags', () => {
  const FLAGS: readonly (readonly [flag: string, value: string, 'decides' | 'advises' | 'nothing'])[] = [
    ['network', 'host', 'decides'],
    ['network', 'sandbox', 'nothing'],
    ['network', 'none', 'nothing'],
    ['host-uds', 'open', 'decides'],
    ['host-uds', 'create', 'decides'],
    ['host-uds', 'all', 'decides'],
    ['host-uds', 'none', 'nothing'],
    ['fsgofer-host-uds', 'true', 'decides'],
    ['host-fifo', 'open', 'decides'],
    ['host-fifo', 'none', 'nothing'],
    ['character-device-policy', 'emulated-only', 'nothing'],
    ['character-device-policy', 'all', 'decides'],
    ['TESTONLY-unsafe-nonroot', 'true', 'decides'],
    ['TESTONLY-unsafe-nonroot', 'false', 'nothing'],
    ['allow-flag-override', '1', 'decides'],
    ['allow-flag-override', 'false', 'nothing'],
    ['profile', 'true', 'advises'],
    ['rootless', 'T', 'advises'],
    ['ignore-cgroups', 'true', 'advises'],
    ['nvproxy', 'true', 'advises'],
    ['platform', 'ptrace', 'advises'],
    ['platform', 'kvm', 'nothing'],
    ['net-raw', 'true', 'advises'],
    ['allow-packet-socket-write', 'true', 'advises'],
    ['allow-suid', 'true', 'advises'],
    ['debug', 'true', 'nothing'],
    ['constructor', 'true', 'nothing'],
  ];
  for (const [flag, value, weight] of FLAGS) {
    it(`says that ${flag}=${value} ${weight}`, () => {
      assert.equal(weakFlags(new Map([[flag, value]]))[0]?.weight ?? 'nothing', weight);
    });
  }

  it('puts the deciding flags first', () => {
    const flags = new Map([
      ['net-raw', 'true'],
      ['debug', 'true'],
      ['network', 'host'],
    ]);
    assert.deepEqual(
      weakFlags(flags).map(({ flag }) => flag),
      ['network', 'net-raw'],
    );
  });
});
