import assert from 'node:assert/strict';
import { globSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { parseAllDocuments } from 'yaml';
import { REPO } from '../../../hack/paths.ts';
import { effectOf, GUARDS, type Guards, missingGuards } from '../../../lib/fleet/guards.ts';

type Manifest = Guards['policies'][number] & Guards['bindings'][number] & { readonly kind?: string };

/** Every policy and binding of manifests/. */
async function manifests(): Promise<Guards> {
  const files = globSync('manifests/**/*.yaml', { cwd: REPO });
  const texts = await Promise.all(files.map((file) => readFile(join(REPO, file), 'utf8')));
  const objects = texts.flatMap((text) => parseAllDocuments(text).map((each) => each.toJS() as Manifest));
  const of = (kind: RegExp) => objects.filter((each) => kind.test(each?.kind ?? ''));
  return { policies: of(/AdmissionPolicy$/), bindings: of(/AdmissionPolicyBinding$/) };
}

describe('the guards', async () => {
  const all = await manifests();
  const without = (...names: readonly string[]): Guards => ({
    policies: all.policies.filter(({ metadata }) => !names.includes(metadata.name)),
    bindings: all.bindings.filter(({ metadata }) => !names.includes(`binding ${metadata.name}`)),
  });
  const named = (name: string) => (name.startsWith('all of ') ? name.slice(7) : undefined);
  const gone = (name: string) => {
    const guard = named(name);
    if (guard === undefined) return without(name);
    const bindings = all.bindings.filter(({ spec }) => spec?.policyName === guard);
    return without(guard, ...bindings.map(({ metadata }) => `binding ${metadata.name}`));
  };
  const renamed = (guards: Guards): Guards =>
    JSON.parse(JSON.stringify(guards).replaceAll(/"(gvisor-ready-[^"]+)"/g, '"team-$1-x"'));
  const missing = (guards: Guards, needs: Partial<Parameters<typeof missingGuards>[1]> = {}) =>
    missingGuards(guards, { hasFleet: true, isRequired: true, ...needs }).map(
      ({ guard, effect }) => `${guard} ${effect}`,
    );

  it('are those of the manifests, with the bindings that deny', () => {
    const names = all.policies.map(({ metadata }) => metadata.name);
    assert.deepEqual(Object.keys(GUARDS).sort(), names.toSorted());
    for (const guard of names) {
      const denying = all.bindings.filter(
        ({ spec }) => spec?.policyName === guard && (spec.validationActions?.includes('Deny') ?? true),
      );
      const { bindings = [guard] } = GUARDS[guard] ?? {};
      assert.deepEqual(
        bindings,
        denying.map(({ metadata }) => metadata.name),
        guard,
      );
    }
  });

  for (const [what, guards] of [
    ['as applied', all],
    ['with a prefix and a suffix', renamed(all)],
  ] as const)
    it(`are in force ${what}`, () => {
      assert.deepEqual(missing(guards), []);
      for (const guard of Object.keys(GUARDS)) assert.equal(effectOf(guard, guards), 'denies');
    });

  for (const name of Object.keys(GUARDS))
    it(`miss ${name} without its policy, and without one of its bindings`, () => {
      assert.deepEqual(missing(gone(name)), [`${name} absent`]);
      for (const binding of GUARDS[name]?.bindings ?? [name])
        assert.deepEqual(missing(gone(`binding ${binding}`)), [`${name} unbound`]);
    });

  for (const [what, guard, needs, isMissing] of [
    ['agents', 'gvisor-ready-agent', { isRequired: false }, true],
    ['the controller', 'gvisor-ready-fleet', { isRequired: false }, true],
    ['a controller that is not installed', 'gvisor-ready-fleet', { hasFleet: false }, false],
    ['enforcement', 'gvisor-ready-enforce', {}, true],
    ['enforcement that no namespace asks for', 'gvisor-ready-enforce', { isRequired: false }, false],
    ['a component that never was there', 'gvisor-ready-inject', {}, false],
    ['a component that was there', 'gvisor-ready-inject', { seen: new Set(['gvisor-ready-inject']) }, true],
    [
      'a component that was there, and that no namespace needs',
      'gvisor-ready-inject',
      { isRequired: false, seen: new Set(['gvisor-ready-inject']) },
      false,
    ],
  ] as const)
    it(`${isMissing ? 'miss' : 'do not miss'} that of ${what}, where all of it is gone`, () =>
      assert.deepEqual(missing(gone(`all of ${guard}`), needs), isMissing ? [`${guard} absent`] : []));

  it('may only warn where enforcement is tried out, and nowhere else', () => {
    const policies = all.policies.map((each) => ({
      ...each,
      spec: { ...each.spec, failurePolicy: 'Ignore' },
    }));
    const base = Object.entries(GUARDS).filter(([, { part }]) => part === 'base' || part === 'fleet');
    assert.deepEqual(
      missing({ ...all, policies }),
      base.map(([guard]) => `${guard} warns`),
    );
  });

  it('miss a policy whose binding does not deny any more', () => {
    const bindings = all.bindings.map(({ spec, ...each }) => {
      const isEnforce = each.metadata.name === 'gvisor-ready-enforce-pods';
      return { ...each, spec: isEnforce ? { ...spec, validationActions: ['Audit'] } : { ...spec } };
    });
    assert.deepEqual(missing({ ...all, bindings }), ['gvisor-ready-enforce unbound']);
  });
});
