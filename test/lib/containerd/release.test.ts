import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { cannotStopSandboxes, parseContainerdRelease, rulesOf } from '../../../lib/containerd/release.ts';

describe('containerd releases', () => {
  const RELEASES: readonly (readonly [text: string, rules: string, cannotStop: boolean])[] = [
    ['1.6.20~ds1', '1.x', false],
    ['v1.7.34', '1.x', false],
    ['v2.0.5', '2.0', true],
    ['v2.0.6', '2.0', false],
    ['2.1.1-k3s1', '2.0', true],
    ['2.1.5-k3s1', '2.0', false],
    ['v2.2.2', '2.0', false],
    ['v2.3.4', '2.3', false],
    ['v2.4.0-beta.1', '2.3', false],
    ['v2.10.0', '2.3', false],
    ['3.0.0', '2.3', false],
  ];
  for (const [text, rules, cannotStop] of RELEASES) {
    it(`follow the rules ${rules} in ${text}, and ${cannotStop ? 'cannot' : 'can'} stop sandboxes`, () => {
      const release = parseContainerdRelease(text);
      assert.ok(release);
      assert.deepEqual([rulesOf(release), cannotStopSandboxes(release)], [rules, cannotStop]);
    });
  }

  it('are unknown in any other text', () => {
    for (const text of ['', 'unknown', 'v2', 'containerd 2.1'])
      assert.equal(parseContainerdRelease(text), undefined, text);
  });
});
