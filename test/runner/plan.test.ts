import assert from 'node:assert/strict';
import { globSync } from 'node:fs';
import { describe, it } from 'node:test';
import { REPO } from '../../hack/paths.ts';
import { inOrder } from './order.ts';
import { planOf, tiersLeftOut } from './plan.ts';
import { filesOf, PROGRAMS, SHARING, TIERS, type TierName } from './tiers.ts';

const TIER_NAMES = Object.keys(TIERS) as TierName[];
const FILE = 'test/runner/plan.test.ts';
const plan = (args: readonly string[], failed: readonly string[] = []) =>
  planOf(args, { root: REPO, directory: REPO, failed });
const names = (args: readonly string[]) =>
  plan(args).map((tracks) => tracks.map((track) => track.map(({ name }) => name)));

describe('the tiers', () => {
  it('have every test file of the repository once', () => {
    const all = TIER_NAMES.flatMap((tier) => filesOf(tier, REPO));
    assert.deepEqual(all.toSorted(), globSync('test/**/*.test.ts', { cwd: REPO }).sort());
    for (const tier of TIER_NAMES) assert.notEqual(filesOf(tier, REPO).length, 0, tier);
  });
});

describe('planOf', () => {
  it('without arguments: the quick tiers side by side', () => {
    assert.deepEqual(names([]), [[['unit'], ['demo', 'smoke']]]);
    assert.ok(tiersLeftOut(plan([])).includes('e2e'));
  });

  it('--all adds the tiers with more nodes, --nightly everything else', () => {
    assert.deepEqual(names(['--all']), [
      [['unit'], ['demo', 'smoke']],
      [
        ['nodes', 'dispatcher'],
        ['waits', 'manifests'],
        ['e2e', 'api'],
      ],
    ]);
    assert.deepEqual(tiersLeftOut(plan(['--nightly'])), []);
  });

  it('tiers, directories and files, each file in its tier', () => {
    assert.deepEqual(names(['waits', FILE]), [[['unit']], [['waits']]]);
    assert.deepEqual(plan([FILE])[0], [[{ name: 'unit', files: [FILE] }]]);
    assert.deepEqual(plan(['runner/plan.test.ts']), plan([FILE]));
    const [[[{ files } = { files: [] }] = []] = []] = plan(['test/runner']);
    assert.ok(files.length > 1 && files.every((file) => file.startsWith('test/runner/')));
  });

  it('--failed: the files that failed in the last run, if any', () => {
    assert.deepEqual(plan(['--failed'], [FILE]), plan([FILE]));
    assert.deepEqual(plan(['--failed'], []), []);
  });

  it('reject a name that is neither a tier nor a path', () => {
    assert.throws(() => plan(['unti']), /There is no "unti"\. Name tiers \(unit, demo, smoke, /);
    assert.throws(() => plan(['docs/install.md']), /is no test file of any tier/);
  });
});

describe('the order of files', () => {
  it('has those with clusters of their own first, each the longest first', () => {
    const [own, longer, shared, dispatching] = ['helm', 'guide', 'pods', 'dispatcher'].map(
      (name) => `test/e2e/${name}.test.ts`,
    );
    const files = [shared, dispatching, own, longer] as string[];
    const seconds = { [`${longer}`]: 2, [`${own}`]: 1, [`${dispatching}`]: 9 };
    assert.deepEqual(inOrder(files, seconds), [longer, own, dispatching, shared]);
  });
});

describe('what tiers say of files', () => {
  it('is of files that exist', () => {
    const all = new Set(TIER_NAMES.flatMap((tier) => filesOf(tier, REPO)));
    assert.deepEqual(
      [...Object.keys(PROGRAMS), ...SHARING].filter((file) => !all.has(file)),
      [],
    );
  });
});
