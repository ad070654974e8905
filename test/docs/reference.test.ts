import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { CAUSE_CHECKS, EVIDENCE_CHECKS } from '../../agent/checks/checks.ts';
import { FAULT_TEXTS } from '../../cluster/faults/fault-texts.ts';
import FLEET_SETTINGS from '../../controller/settings.json' with { type: 'json' };
import { EGRESS_SETTINGS } from '../../egress/settings.ts';
import { REPO } from '../../hack/paths.ts';
import { REASONS } from '../../lib/base/reasons.ts';
import type { Setting } from '../../lib/base/settings.ts';
import SETTINGS from '../../lib/fleet/agent-settings.json' with { type: 'json' };
import { OWN_KEYS } from '../../lib/report/node-object.ts';
import { SANDBOX_PROBLEMS } from '../../lib/sandboxes/problem.ts';

const CHECKS = [...CAUSE_CHECKS, ...EVIDENCE_CHECKS];

const read = (file: string) => readFile(join(REPO, file), 'utf8');

const row = (name: string, ...cells: readonly string[]) => `| \`${name}\` | ${cells.join(' | ')} |`;

const settings = (all: Readonly<Record<string, Setting>>) =>
  Object.entries(all).map(([name, { fallback, bounds: [min = 0, max = 0] = [], meaning }]) => {
    const cell = max === 0 ? '' : `${min / 1000} s to ${max / 1000} s`;
    return row(name, fallback, cell, meaning);
  });

const TABLES: readonly (readonly [page: string, head: string, rows: readonly string[]])[] = [
  ['docs/reference.md', 'setting | default | bounds | meaning', settings(SETTINGS)],
  ['docs/fleet.md', 'setting | default | bounds | meaning', settings(FLEET_SETTINGS)],
  ['docs/egress.md', 'setting | default | bounds | meaning', settings(EGRESS_SETTINGS)],
  ['docs/reference.md', 'check | passes if', CHECKS.map(({ id, title }) => row(id, title))],
  [
    'docs/reasons.md',
    'reason | what to do',
    Object.entries(REASONS).map(([reason, { remedy }]) => row(reason, remedy)),
  ],
  [
    'docs/reasons.md',
    'problem | what to do',
    SANDBOX_PROBLEMS.map(({ reason, remedy }) => row(reason, remedy)),
  ],
  [
    'cluster/README.md',
    'Fault | What it does | What is seen',
    Object.entries(FAULT_TEXTS).map(([name, { does, seen }]) => row(name, does, seen)),
  ],
];

describe('the reference matches the code', () => {
  for (const [page, head, rows] of TABLES)
    it(`in ${page}, | ${head} |`, async () => {
      const [, table = ''] = (await read(page)).split(`\n| ${head} |\n`);
      const found = table.split('\n\n')[0]?.trim().split('\n').slice(1) ?? [];
      for (const [at, expected] of rows.entries()) assert.equal(found[at], expected);
      assert.equal(found.length, rows.length);
    });

  it('names every key that agents write', async () => {
    const text = await read('docs/reference.md');
    const { labels, annotations, prefixes, taint, egressClosed } = OWN_KEYS;
    for (const key of [labels, annotations, prefixes]
      .flatMap<string>(Object.values)
      .concat(taint, egressClosed))
      assert.ok(text.includes(`\`${key}`), key);
  });
});
