import assert from 'node:assert/strict';
import { MINOR } from '../kubernetes-minor.ts';
import { type Answer, assertAnswer, type Case, type Group } from './admission-case.ts';
import type { Admission, UserName } from './admission-cluster.ts';
import { type Row, requestOf } from './case-request.ts';
import { expand, readCases } from './case-yaml.ts';
import { COMPATIBILITY_GROUP } from './compatibility-cases.ts';
import { DELETION_GROUP } from './deletion-case.ts';
import { type Setting, whileSet } from './while-set.ts';

/** Rows of one or more users, with one answer unless a row has its own. */
type Block = Answer & {
  readonly as: UserName | readonly UserName[];
  /** texts for `<NAME>`, with each of which the block is repeated */
  readonly each?: readonly Readonly<Record<string, string>>[];
  /** rows, and the minor versions of Kubernetes to which they apply */
  readonly cases: Readonly<Record<string, Row & { readonly since?: number; readonly before?: number }>>;
};
type Entry = Block | { readonly while: Setting; readonly blocks: readonly Entry[] };

/** The groups of files in `cases/`. */
const readGroups = (...names: readonly string[]): readonly Group[] =>
  names.flatMap((name) => {
    const { groups } = readCases<{ readonly groups: Readonly<Record<string, readonly Entry[]>> }>(name);
    return Object.entries(groups).map(([title, entries]) => ({ title, cases: entries.flatMap(casesOf) }));
  });

function casesOf(entry: Entry): Case[] {
  if ('while' in entry) return [whileSet(entry.while, entry.blocks.flatMap(casesOf))];
  const { as, each = [{}], ...block } = entry;
  const blocks = each.map((texts) => expand(block, texts));
  return [as].flat().flatMap((user) =>
    blocks.flatMap(({ cases, ...answer }) =>
      Object.entries(cases)
        .filter(([, { since = MINOR, before = MINOR + 1 }]) => MINOR >= since && MINOR < before)
        .map(([what, row]) => caseOf(what, user, { ...answer, ...row })),
    ),
  );
}

const ANSWERS = ['refused', 'warned', 'logged', 'stored', 'accepted'] as const;

function caseOf(what: string, user: UserName, row: Row & Answer): Case {
  const answer = ANSWERS.find((each) => each in row) ?? assert.fail(`"${what}" has no answer`);
  const run = async (admission: Admission) =>
    assertAnswer(admission, user, await requestOf(admission, row), row);
  return { what: `${user}: ${what}: ${answer}`, run };
}

/** The cases of each configuration of the policies. */
export const CASES = {
  base: readGroups('agents-other-nodes', 'agents-own-node', 'agents-events', 'node-keys', 'fleet-controller'),
  taint: readGroups('taint'),
  enforce: [
    ...readGroups(
      'pods',
      'pod-writes',
      'pod-starts',
      'templates',
      'namespaces',
      'runtime-classes',
      'compatibility',
    ),
    ...readGroups('pod-classes', 'audit-log', 'settings'),
    COMPATIBILITY_GROUP,
    DELETION_GROUP,
  ],
  'enforce-bindings': readGroups('bindings'),
  'enforce-audit': readGroups('enforce-audit'),
  inject: readGroups('inject', 'pod-starts'),
};
