import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { judgeRelease, runscRelease } from '../../../agent/checks/runsc-release.ts';
import { parseRunscVersion } from '../../../agent/host/runsc-release.ts';
import { tempHost } from '../host/temp-host.ts';
import { outcome, sourcesOf } from './fake-node.ts';

const { signal } = new AbortController();

describe('judgeRelease', () => {
  const RELEASES: readonly (readonly [version: string, floor: string | undefined, string])[] = [
    ['runsc version release-20260223.0', undefined, 'pass'],
    ['runsc version 0.0~20240729.0', undefined, 'pass'],
    ['runsc version release-20240325.0', undefined, 'pass'],
    ['runsc version release-20240318.0', undefined, 'advises RunscTooOld'],
    ['runsc version release-20260223.0', '20260301.0', 'decides RunscTooOld'],
    ['runsc version release-20260301.0', 'release-20260301.0', 'pass'],
    ['runsc version release-20260301.0', 'latest', 'unknown ReleaseUnknown'],
    ['runsc version VERSION_MISSING', undefined, 'unknown ReleaseUnknown'],
    ['runsc version VERSION_MISSING', '20260301.0', 'unknown ReleaseUnknown'],
    ['runc version 1.3.4', undefined, 'decides HandlerRunsRunc'],
    ['hello', undefined, 'unknown ReleaseUnknown'],
  ];
  for (const [output, floor, expected] of RELEASES) {
    it(`says ${expected} of "${output}" with the floor ${floor ?? 'that is advised'}`, () => {
      assert.equal(outcome(judgeRelease('/x', parseRunscVersion(output), floor)), expected);
    });
  }
});

describe('runsc-release', () => {
  it('knows the release that runsc tells, and of no other program', async (t) => {
    for (const [line, facts] of [
      ['runsc version release-20260223.0', { runsc: 'release-20260223.0' }],
      ['runsc version VERSION_MISSING', { runsc: 'VERSION_MISSING' }],
      ['runc version 1.3.4', undefined],
    ] as const) {
      const host = await tempHost(t, { '/usr/bin/runsc': { program: `#!/bin/sh\necho ${line}\n` } });
      assert.deepEqual((await runscRelease.look(sourcesOf('', { host }), signal)).facts, facts);
    }
  });

  it('is unknown without runsc, and throws when runsc does not say its version', async (t) => {
    const none = sourcesOf('', { host: await tempHost(t) });
    assert.equal(outcome(await runscRelease.look(none, signal)), 'unknown NothingToJudge');
    const host = await tempHost(t, { '/usr/bin/runsc': { program: '#!/bin/sh\nyes\n' } });
    await assert.rejects(runscRelease.look(sourcesOf('', { host }), signal), /printed more than 65536 bytes/);
  });
});
