import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseConfig } from '../../agent/config.ts';
import { editionOf } from '../../agent/edition.ts';

function edition(env: Record<string, string>, version = '0.1.0'): string {
  const parsed = parseConfig(env, { hostname: 'node-1', inCluster: false });
  assert.ok('config' in parsed);
  return editionOf(version, parsed.config);
}

describe('editionOf', () => {
  it('is the version with a digest, alike on every node', () => {
    assert.match(edition({}), /^0\.1\.0\+[0-9a-f]{8}$/);
    assert.equal(edition({ NODE_NAME: 'a' }), edition({ NODE_NAME: 'b', LOG_LEVEL: 'debug' }));
  });

  const settings = {
    HANDLER: 'nonsense',
    HOST_ROOT: '/host',
    CRI_SOCKET: '/a',
    CONTAINERD_CONFIG: '/a',
    REQUIRE_LIMITS: 'on',
    MIN_RUNSC_RELEASE: '20990101.0',
  };
  for (const [name, value] of Object.entries(settings)) {
    it(`changes with ${name}`, () => assert.notEqual(edition({ [name]: value }), edition({})));
  }

  it('changes with the version', () => assert.notEqual(edition({}, '0.2.0'), edition({})));
});
