import assert from 'node:assert/strict';
import { askedBy, FEATURES } from '../../kubectl/pods/features.ts';
import { dryRun, type Group } from './admission-case.ts';
import type { Admission } from './admission-cluster.ts';
import { create, pod } from './admission-objects.ts';
import { readCases } from './case-yaml.ts';

type Spec = Readonly<Record<string, unknown>>;
const { specs, others } = readCases<{
  readonly specs: Readonly<Record<string, Spec>>;
  readonly others: Readonly<Record<string, Spec>>;
}>('compatibility');
/** A word of a command tells of these, which the policy does not read. */
const BY_WORDS = ['docker', 'iptables', 'sysctlWrite'];
const WARNED = FEATURES.filter(
  ({ id, effect, asks }) => /refused|hangs/.test(effect) && asks !== undefined && !BY_WORDS.includes(id),
);

/** Pods that ask for what the table of features calls refused or hanging, and nearly. */
export const COMPATIBILITY_GROUP: Group = {
  title: 'what gVisor refuses, and what hangs in it',
  cases: [
    ...WARNED.flatMap(({ id, field }) => {
      const own = Object.entries(specs).filter(([key]) => key.split(',')[0] === id);
      assert.notEqual(own.length, 0, `a pod for the row ${id}`);
      return own.map(([key, spec]) => ({
        what: `a pod is warned of: ${key}`,
        run: async ({ as }: Admission) => {
          assert.ok(
            askedBy(spec).some(({ feature }) => feature.id === id),
            'the table sees it in a manifest',
          );
          const warnings = await warningsOf(as, spec);
          assert.ok(warnings.includes(`hangs in gVisor: ${field}; kubectl`), warnings);
        },
      }));
    }),
    ...Object.entries(others).map(([what, spec]) => ({
      what: `a pod is not warned of ${what}`,
      run: async ({ as }: Admission) => {
        assert.deepEqual(askedBy(spec), []);
        assert.doesNotMatch(await warningsOf(as, spec), /hangs in gVisor/);
      },
    })),
  ],
};

/** If pods are refused, nothing warns of those. */
async function warningsOf(as: Admission['as'], spec: Spec): Promise<string> {
  const { warnings } = await as('admin', dryRun(create('audited', pod({ spec }))));
  return warnings.join('\n');
}
