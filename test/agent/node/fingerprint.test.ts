import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseConfig } from '../../../agent/config.ts';
import { fingerprintOf } from '../../../agent/node/desired.ts';

function fingerprint(env: Record<string, string>, version = '0.1.0'): string {
  const parsed = parseConfig(env, { hostname: 'node-1', inCluster: false });
  assert.ok('config' in parsed);
  return fingerprintOf(version, parsed.config);
}

describe('fingerprintOf', () => {
  it('is the version with a digest, alike on every node', () => {
    assert.match(fingerprint({}), /^0\.1\.0\+[0-9a-f]{8}$/);
    assert.equal(fingerprint({ NODE_NAME: 'a' }), fingerprint({ NODE_NAME: 'b', LOG_LEVEL: 'debug' }));
  });

  const settings = {
    HANDLER: 'nonsense',
    HOST_ROOT: '/host',
    CRI_SOCKET: '/a',
    CONTAINERD_CONFIG: '/a',
    REQUIRE_LIMITS: 'on',
    FORBID_FLAG_OVERRIDE: 'on',
    MIN_RUNSC_RELEASE: '20990101.0',
  };
  for (const [name, value] of Object.entries(settings)) {
    it(`changes with ${name}`, () => assert.notEqual(fingerprint({ [name]: value }), fingerprint({})));
  }

  it('changes with the version', () => assert.notEqual(fingerprint({}, '0.2.0'), fingerprint({})));
});
