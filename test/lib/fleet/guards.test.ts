import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { VERSION } from '../../../lib/base/version.ts';
import { effectOf, GUARDS, type Guards, missingGuards } from '../../../lib/fleet/guards.ts';
import { manifestGuards } from './manifest-guards.ts';

describe('the guards', () => {
  const all: Guards = { version: VERSION, ...manifestGuards() };
  const without = (...names: readonly string[]): Guards => ({
    ...all,
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
    const names = all.policies
      .map(({ metadata }) => metadata.name)
      .filter((name) => name !== 'gvisor-ready-compatibility'); // it only warns
    assert.deepEqual(Object.keys(GUARDS).sort(), names.toSorted());
    for (const guard of names) {
      const denying = all.bindings.filter(
        ({ spec }) => spec?.policyName === guard && (spec.validationActions?.includes('Deny') ?? true),
      );
      const denyingNames = denying.map(({ metadata }) => metadata.name);
      assert.deepEqual(GUARDS[guard]?.bindings ?? [guard], denyingNames, guard);
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

  const INJECT = 'gvisor-ready-inject';
  const seen = new Set([INJECT]);
  for (const [what, guard, needs, isMissing] of [
    ['agents', 'gvisor-ready-agent', { isRequired: false }, true],
    ['the controller', 'gvisor-ready-fleet', { isRequired: false }, true],
    ['a controller that is not installed', 'gvisor-ready-fleet', { hasFleet: false }, false],
    ['enforcement', 'gvisor-ready-enforce', {}, true],
    ['enforcement that no namespace asks for', 'gvisor-ready-enforce', { isRequired: false }, false],
    ['a component that never was there', INJECT, {}, false],
    ['a component that was there', INJECT, { seen }, true],
    ['a component that was there, and that no namespace needs', INJECT, { isRequired: false, seen }, false],
  ] as const)
    it(`${isMissing ? 'miss' : 'do not miss'} that of ${what}, where all of it is gone`, () =>
      assert.deepEqual(missing(gone(`all of ${guard}`), needs), isMissing ? [`${guard} absent`] : []));

  it('may only warn where enforcement is tried out, and nowhere else', () => {
    const ignoring = JSON.stringify(all).replaceAll('"Fail"', '"Ignore"');
    const text = ignoring.replaceAll('["Deny"]', '["Warn","Audit"]');
    const warning = Object.entries(GUARDS).filter(([, { part }]) => part === 'base' || part === 'fleet');
    const warns = warning.map(([guard]) => `${guard} warns`);
    assert.deepEqual(missing(JSON.parse(text)), warns);
  });

  it('are not those of another version, or without a label', () => {
    for (const label of ['"app.kubernetes.io/version":"0.0.9"', '"a":"b"']) {
      const old = JSON.stringify(all).replaceAll(/"app.kubernetes.io.version":"[^"]+"/g, label);
      assert.deepEqual(
        missing(JSON.parse(old)),
        Object.keys(GUARDS).map((guard) => `${guard} changed`),
      );
    }
  });
});
