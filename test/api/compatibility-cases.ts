import assert from 'node:assert/strict';
import { askedBy, FEATURES } from '../../lib/pod/features.ts';
import { dryRun, type Group } from './admission-case.ts';
import type { Admission } from './admission-cluster.ts';
import { create, pod } from './admission-objects.ts';
import { readCases } from './case-yaml.ts';

type Spec = Readonly<Record<string, unknown>>;
const { specs } = readCases<{ readonly specs: Readonly<Record<string, Spec>> }>('compatibility');
/** No manifest tells of these. */
const UNTOLD = ['ioUring', 'portForward'];
const WARNED = Object.entries(FEATURES).filter(
  ([id, { effect }]) => /refused|hangs/.test(effect) && !UNTOLD.includes(id),
);

/** Pods that ask for what the table of features calls refused or hanging. */
export const COMPATIBILITY_GROUP: Group = {
  title: 'what gVisor refuses, and what hangs in it',
  cases: WARNED.map(([id, { field }]) => ({
    what: `a pod with ${field} is warned of`,
    run: async ({ as }: Admission) => {
      const spec = specs[id] ?? assert.fail(`no pod for the row ${id}`);
      assert.ok(
        askedBy(spec).some((row) => row.id === id),
        'the table sees it in a manifest',
      );
      // If pods are refused, nothing warns of those.
      const { warnings } = await as('admin', dryRun(create('audited', pod({ spec }))));
      assert.ok(
        warnings.some((warning) => warning.includes(`hangs in gVisor: ${field}; kubectl`)),
        warnings.join('\n'),
      );
    },
  })),
};
