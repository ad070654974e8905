import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { CHECKS } from '../../agent/checks/checks.ts';
import { SETTINGS, type Setting } from '../../agent/config.ts';
import { OWN_KEYS } from '../../agent/node/object.ts';
import { REASONS } from '../../agent/reasons.ts';
import { SANDBOX_REMEDIES } from '../../agent/sandboxes/problem.ts';
import { FLEET_SETTINGS } from '../../fleet/settings.ts';
import { REPO } from '../../hack/paths.ts';

const read = (file: string) => readFile(join(REPO, file), 'utf8');

describe('the reference matches the code', () => {
  const ALL_SETTINGS: Readonly<Record<string, Readonly<Record<string, Setting>>>> = {
    'docs/reference.md': SETTINGS,
    'docs/fleet.md': FLEET_SETTINGS,
  };
  for (const [page, settings] of Object.entries(ALL_SETTINGS))
    it(`${page} has a row with default, bounds and meaning for each setting`, async () => {
      const rows = (await read(page)).matchAll(/^\| `([A-Z_]+)` \| (.*) \| (.*) \| (.*) \|$/gm);
      assert.deepEqual(
        [...rows].map(([, ...cells]) => cells),
        Object.entries(settings).map(([name, { fallback, bounds, meaning }]) => [
          name,
          fallback,
          bounds === undefined ? '' : `${bounds[0] / 1000} s to ${bounds[1] / 1000} s`,
          meaning,
        ]),
      );
    });

  it('has a row for each check', async () => {
    const rows = [...(await read('docs/reference.md')).matchAll(/^\| `([a-z-]+)` \| ([^|]*) \|$/gm)];
    assert.deepEqual(
      rows.map(([, id, title]) => [id, title]),
      CHECKS.map(({ id, title }) => [id, title]),
    );
  });

  it('has a row with status and remedy for each reason', async () => {
    const rows = [...(await read('docs/reasons.md')).matchAll(/^\| `(\w+)` \| (\w+) \| (.*) \|$/gm)];
    assert.deepEqual(
      rows.map(([, reason, status, remedy]) => [reason, { status, remedy }]),
      Object.entries(REASONS),
    );
  });

  it('has a row with the remedy for each problem of a sandbox', async () => {
    const [, text = ''] = (await read('docs/reasons.md')).split('## Problems of sandboxes');
    const rows = [...text.matchAll(/^\| `(\w+)` \| (.*) \|$/gm)];
    assert.deepEqual(
      rows.map(([, reason, remedy]) => [reason, remedy]),
      Object.entries(SANDBOX_REMEDIES),
    );
  });

  it('names every key that agents write', async () => {
    const text = await read('docs/reference.md');
    const { labels, annotations, prefixes, taint } = OWN_KEYS;
    for (const key of [labels, annotations, prefixes].flatMap<string>(Object.values).concat(taint))
      assert.ok(text.includes(`\`${key}`), key);
  });
});
