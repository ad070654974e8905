import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { checkRunscRelease, judgeRelease } from '../../../agent/checks/runsc-release.ts';
import { checkSidecars } from '../../../agent/checks/sidecars.ts';
import { parseRunscRelease } from '../../../lib/runsc/program.ts';
import { TEXT_PAGES } from '../../lib/host/fake-process.ts';
import { fakeRunsc } from '../../lib/runsc/fake-runsc.ts';
import { type Files, inputsOf, inspect, outcome, outcomeOf, sourcesWith, witnessOf } from './fake-node.ts';

const RUNSC = '/usr/local/bin/runsc';
const SENTRY = '/usr/local/bin/gvisor-bin/gvisor_sentry';

/** Sources with these files, and the evidence of a proof whose program has this many pages of code. */
async function nodeWith(t: TestContext, files: Files, pages?: number, floor?: string) {
  const sources = await sourcesWith(t, files, floor === undefined ? {} : { minRunscRelease: floor });
  return [sources, pages === undefined ? undefined : witnessOf({ textPages: pages })] as const;
}

describe('judgeRelease', () => {
  const RELEASES: readonly (readonly [release: string, floor: string | undefined, string])[] = [
    ['release-20260223.0', undefined, 'pass'],
    ['0.0~20240729.0', undefined, 'pass'],
    ['release-20240325.0', undefined, 'pass'],
    ['release-20240318.0', undefined, 'warning RunscTooOld'],
    ['release-20260223.0', '20260301.0', 'blocker RunscTooOld'],
    ['release-20260301.0', 'release-20260301.0', 'pass'],
    ['release-20260301.0', 'latest', 'unknown ReleaseUnknown'],
    ['', undefined, 'unknown ReleaseUnknown'],
    ['', '20260301.0', 'unknown ReleaseUnknown'],
  ];
  for (const [release, floor, expected] of RELEASES) {
    it(`judges "${release}" with ${floor ? `the floor ${floor}` : 'no floor'}: ${expected}`, () => {
      const program = { path: '/x', release: parseRunscRelease(release) };
      assert.equal(outcome(judgeRelease(program, floor)), expected);
    });
  }
});

describe('runsc-release', () => {
  it('reads the release of the program that the sandbox runs', async (t) => {
    const node = await nodeWith(t, { [RUNSC]: fakeRunsc('release-20260223.0') }, TEXT_PAGES);
    const result = await inspect(checkRunscRelease, ...node);
    assert.deepEqual([outcome(result), result.message], ['pass', 'gVisor release-20260223.0']);
    assert.deepEqual(result.facts, { runsc: 'release-20260223.0' });
    assert.deepEqual(result.evidence, [{ file: RUNSC, value: 'release-20260223.0' }]);
  });

  it('is unknown when the sandbox runs another program', async (t) => {
    const node = await nodeWith(t, { [RUNSC]: fakeRunsc() }, TEXT_PAGES + 1);
    const result = await inspect(checkRunscRelease, ...node);
    assert.equal(outcome(result), 'unknown ReleaseUnknown');
    assert.deepEqual(result.facts, { runsc: undefined });
    assert.match(result.message, /^The sandbox runs a program that is not "\/usr\/local\/bin\/runsc", so /);
    assert.deepEqual(result.evidence, [{ value: `${TEXT_PAGES + 1} pages of code` }]);
  });

  it('identifies the running program when an upgrade came just before or after the boot', async (t) => {
    for (const [pages, release] of [
      [50, 'release-20260223.0'],
      [60, 'release-20260817.0'],
    ] as const) {
      const [sources, witness] = await nodeWith(t, { [RUNSC]: fakeRunsc('release-20260223.0', 50) }, pages);
      const inputs = inputsOf(sources);
      await checkSidecars(inputs);
      await writeFile(join(sources.host.root, RUNSC), fakeRunsc('release-20260817.0', 60).program);
      assert.deepEqual((await checkRunscRelease(inputs, witness)).facts, { runsc: release });
    }
  });

  it('finds the sentry beside runsc or beside the target of a link', async (t) => {
    const sidecar = fakeRunsc('release-20260914.0', 50);
    const beside = { [RUNSC]: fakeRunsc('release-20260817.0'), [SENTRY]: sidecar };
    const linked = {
      [RUNSC]: { link: '/opt/gvisor/runsc' },
      '/opt/gvisor/runsc': fakeRunsc('release-20260817.0'),
      '/opt/gvisor/gvisor-bin/gvisor_sentry': sidecar,
    };
    for (const files of [beside, linked]) {
      const running = await inspect(checkRunscRelease, ...(await nodeWith(t, files, 50)));
      assert.equal(running.message, 'gVisor release-20260914.0');
      const other = await inspect(checkRunscRelease, ...(await nodeWith(t, files, TEXT_PAGES)));
      assert.equal(other.message, 'gVisor release-20260817.0');
    }
  });

  it('accepts pages of 16 and 64 KiB', async (t) => {
    const files = { [RUNSC]: fakeRunsc('release-20260223.0', 64) };
    for (const pages of [64, 16, 4])
      assert.equal(await outcomeOf(checkRunscRelease, ...(await nodeWith(t, files, pages))), 'pass');
  });

  it('judges runsc itself before there is a proof', async (t) => {
    const old = await nodeWith(t, { [RUNSC]: fakeRunsc('release-20240101.0') }, undefined, '20240325.0');
    assert.equal(await outcomeOf(checkRunscRelease, ...old), 'blocker RunscTooOld');
  });

  it('is skipped without runsc, but unknown if a sandbox runs', async (t) => {
    const without = await inspect(checkRunscRelease, ...(await nodeWith(t, {})));
    assert.equal(outcome(without), 'skipped');
    const hidden = await inspect(checkRunscRelease, ...(await nodeWith(t, {}, TEXT_PAGES)));
    assert.equal(outcome(hidden), 'unknown ReleaseUnknown');
    assert.deepEqual([without.facts, hidden.facts], [undefined, { runsc: undefined }]);
  });
});
