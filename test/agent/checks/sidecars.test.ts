import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { checkSidecars, judgeSidecars } from '../../../agent/checks/sidecars.ts';
import { parseRunscRelease } from '../../../lib/runsc/program.ts';
import { fakeRunsc } from '../../lib/runsc/fake-runsc.ts';
import { criWith, outcome, outcomeOf, sourcesWith } from './fake-node.ts';

const ALL = ['checkpointgofer', 'gvisor-sentry-prewarmer', 'gvisor_sentry', 'runsc-metric-server'];

describe('judgeSidecars', () => {
  const RELEASES: readonly (readonly [string, readonly string[] | undefined, boolean, string])[] = [
    ['release-20260914.0', ALL, false, 'pass'],
    ['release-20260914.0', undefined, false, 'error SidecarMissing'],
    ['release-20260914.0', ['checkpointgofer'], false, 'error SidecarMissing'],
    ['release-20260831.0', undefined, false, 'error SidecarMissing'],
    ['release-20260831.0', undefined, true, 'warning SidecarMissing'],
    ['release-20260817.0', undefined, false, 'warning SidecarMissing'],
    ['release-20260727.0', undefined, false, 'pass'],
    ['release-20260223.0', undefined, false, 'pass'],
    ['release-20260223.0', ALL, false, 'warning ReleaseSkew'],
    ['VERSION_MISSING', undefined, false, 'unknown ReleaseUnknown'],
    ['VERSION_MISSING', ALL, false, 'pass'],
  ];
  for (const [release, names, isFallbackAllowed, expected] of RELEASES) {
    it(`judges ${release} with ${names?.length ?? 'no'} sidecars${isFallbackAllowed ? ' and a fallback' : ''}: ${expected}`, () => {
      const found = { directory: '/d', names, isFallbackAllowed };
      assert.equal(outcome(judgeSidecars('/runsc', parseRunscRelease(release), found)), expected);
    });
  }
});

describe('sidecars', () => {
  it('finds them beside runsc or beside the target of a link', async (t) => {
    const link = { '/usr/bin/runsc': { link: '/opt/gvisor/runsc' } };
    const runsc = fakeRunsc('release-20260914.0');
    const files = { ...link, '/opt/gvisor/runsc': runsc, '/opt/gvisor/gvisor-bin/gvisor_sentry': '' };
    assert.equal(await outcomeOf(checkSidecars, await sourcesWith(t, files)), 'pass');
    const beside = { ...link, '/opt/gvisor/runsc': runsc, '/usr/bin/gvisor-bin/gvisor_sentry': '' };
    assert.equal(await outcomeOf(checkSidecars, await sourcesWith(t, beside)), 'pass');
  });

  it('reads the release from the file and the policy from the configuration', async (t) => {
    const cri = criWith({ options: { ConfigPath: '/r.toml' } });
    for (const [policy, release, expected] of [
      ['STRICT', 'release-20260914.0', 'error SidecarMissing'],
      ['LEGACY_FALLBACK', 'release-20261001.0', 'warning SidecarMissing'],
      ['DEFAULT', 'release-20260914.0', 'warning SidecarMissing'],
      ['DEFAULT', 'release-20261001.0', 'error SidecarMissing'],
    ] as const) {
      const toml = `[runsc_config]\nsidecar-usage-policy = "${policy}"\n`;
      const files = { '/usr/bin/runsc': fakeRunsc(release), '/r.toml': toml };
      assert.equal(await outcomeOf(checkSidecars, await sourcesWith(t, files, { cri })), expected);
    }
  });

  it('is skipped without runsc', async (t) =>
    assert.equal(await outcomeOf(checkSidecars, await sourcesWith(t, {})), 'skipped'));
});
