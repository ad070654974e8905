import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { sentryFlags } from '../../../agent/runsc/sentry.ts';

describe('sentryFlags', () => {
  const FLAGS: readonly (readonly [string, Readonly<Record<string, string>> | undefined])[] = [
    ['runsc-sandbox --network=host --platform=kvm boot 1f', { network: 'host', platform: 'kvm' }],
    ['runsc-sandbox -net-raw --debug=false boot', { 'net-raw': 'true', debug: 'false' }],
    ['runsc-sandbox --log=/a=b boot', { log: '/a=b' }],
    ['runsc-sandbox --root= boot --network=host', { root: '' }],
    ['runsc-sandbox --root=/x positional --network=host', { root: '/x' }],
    ['runsc-sandbox --network=none --network=host boot', { network: 'host' }],
    ['runsc-sandbox', {}],
    ['gvisor-sentry-prewarmer /usr/bin/runsc runsc-sandbox --network=host boot', { network: 'host' }],
    ['/opt/gvisor-bin/gvisor-sentry-prewarmer runsc-sandbox boot', {}],
    ['gvisor-sentry-prewarmer --network=host', undefined],
    ['/pause runsc-sandbox --network=host boot', undefined],
    ['/usr/bin/runsc-sandbox boot', undefined],
    ['', undefined],
  ];
  for (const [words, expected] of FLAGS) {
    it(`reads ${expected === undefined ? 'none' : Object.keys(expected).join(', ') || 'no flag'} in "${words}"`, () => {
      const flags = sentryFlags(words.split(' '));
      assert.deepEqual(flags && Object.fromEntries(flags), expected);
    });
  }

  it('takes an empty command line for no sandbox', () => assert.equal(sentryFlags([]), undefined));
});
