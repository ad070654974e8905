import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { judgeSidecars, sidecars } from '../../../agent/checks/sidecars.ts';
import { parseRunscRelease } from '../../../agent/host/runsc-release.ts';
import { tempHost } from '../host/temp-host.ts';
import { outcome, sourcesOf } from './fake-node.ts';

const { signal } = new AbortController();
const ALL = ['checkpointgofer', 'gvisor-sentry-prewarmer', 'gvisor_sentry', 'runsc-metric-server'];

describe('judgeSidecars', () => {
  const RELEASES: readonly (readonly [string, readonly string[] | undefined, boolean, string])[] = [
    ['release-20260914.0', ALL, false, 'pass'],
    ['release-20260914.0', undefined, false, 'explains SidecarMissing'],
    ['release-20260914.0', ['checkpointgofer'], false, 'explains SidecarMissing'],
    ['release-20260831.0', undefined, false, 'explains SidecarMissing'],
    ['release-20260831.0', undefined, true, 'advises SidecarMissing'],
    ['release-20260817.0', undefined, false, 'advises SidecarMissing'],
    ['release-20260727.0', undefined, false, 'pass'],
    ['release-20260223.0', undefined, false, 'pass'],
    ['release-20260223.0', ALL, false, 'advises ReleaseSkew'],
    ['VERSION_MISSING', undefined, false, 'unknown ReleaseUnknown'],
    ['VERSION_MISSING', ALL, false, 'pass'],
  ];
  for (const [release, names, isFallbackAllowed, expected] of RELEASES) {
    it(`says ${expected} of ${release} with ${names?.length ?? 'no'} sidecars${isFallbackAllowed ? ', doing without' : ''}`, () => {
      const found = { directory: '/d', names, isFallbackAllowed };
      assert.equal(outcome(judgeSidecars('/runsc', parseRunscRelease(release), found)), expected);
    });
  }
});

describe('sidecars', () => {
  const program = '#!/bin/sh\necho "runsc version release-20260914.0"\n';

  it('finds them beside the file that a link leads to', async (t) => {
    const host = await tempHost(t, {
      '/usr/bin/runsc': { link: '/opt/gvisor/runsc' },
      '/opt/gvisor/runsc': { program },
      '/opt/gvisor/gvisor-bin/gvisor_sentry': '',
    });
    assert.equal(outcome(await sidecars.look(sourcesOf('', { host }), signal)), 'pass');
  });

  it('knows a skew of releases by what runsc says', async (t) => {
    const skew = '#!/bin/sh\necho "build label a does not match the expected release b" >&2\nexit 2\n';
    const host = await tempHost(t, { '/usr/bin/runsc': { program: skew } });
    assert.equal(outcome(await sidecars.look(sourcesOf('', { host }), signal)), 'explains ReleaseSkew');
  });
});
