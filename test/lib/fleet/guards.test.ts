import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { parse } from 'yaml';
import { guardShapes, SHAPES } from '../../../hack/guard-shapes.ts';
import { REPO } from '../../../hack/paths.ts';
import type { Admission } from '../../../lib/fleet/guard-shape.ts';
import {
  ACCEPTED,
  describeMissing,
  effectOf,
  GUARDS,
  type GuardName,
  type Guards,
  isCritical,
  judgeGuards,
  missingClasses,
} from '../../../lib/fleet/guards.ts';
import { agentSettingsOf } from '../../../lib/fleet/objects.ts';
import { guardsAmong, type Manifest, manifestObjects } from './manifest-guards.ts';
import { OVERLAYS, WEAKENINGS } from './weakenings.ts';

const objects = manifestObjects();
const all = guardsAmong(objects);
const NEEDS = { hasFleet: true, isRequired: true };
const missing = (guards: Guards, needs: Partial<Parameters<typeof judgeGuards>[1]> = {}) =>
  judgeGuards(guards, { ...NEEDS, ...needs }).missing.map(({ guard, effect }) => `${guard} ${effect}`);
const without = (isGone: (object: Admission) => boolean): Guards => ({
  ...all,
  policies: all.policies.filter((each) => !isGone(each)),
  bindings: all.bindings.filter((each) => !isGone(each)),
});

it('the shapes of the manifests are up to date (npm run guards writes them)', async () =>
  assert.equal(await readFile(join(REPO, SHAPES), 'utf8'), await guardShapes()));

describe('the guards', () => {
  it('are the policies of the manifests, and all in force as applied', () => {
    const names = all.policies
      .map(({ metadata }) => metadata.name)
      .filter((name) => name !== 'gvisor-ready-compatibility'); // it only warns
    assert.deepEqual(Object.keys(GUARDS).sort(), names.toSorted());
    for (const guard of Object.keys(GUARDS) as GuardName[])
      assert.equal(effectOf(guard, all), 'denies', guard);
    assert.deepEqual(missing(all), []);
  });

  for (const [what, guard, change] of WEAKENINGS)
    it(`are weaker if ${what}`, () => {
      const weaker = guardsAmong(change(objects));
      assert.notDeepEqual(weaker, all);
      assert.deepEqual(
        judgeGuards(weaker, NEEDS).missing.map((each) => each.guard),
        [guard],
      );
    });

  for (const [what, change] of OVERLAYS)
    it(`are in force with ${what}`, () => {
      const changed = guardsAmong(change(objects));
      assert.notDeepEqual(changed, all);
      assert.deepEqual(missing(changed), []);
    });

  it('say what differs, and are accepted with its digest until it differs otherwise', () => {
    const [, , narrow] =
      WEAKENINGS.find(([what]) => what === 'a binding exempts a namespace') ?? assert.fail();
    const narrowed = narrow(objects);
    const [found] = judgeGuards(guardsAmong(narrowed), NEEDS).missing;
    assert.equal(
      found && describeMissing(found),
      'gvisor-ready-enforce-classes is not that of version 0.1.0 (matchResources of validatingadmissionpolicybinding/gvisor-ready-enforce-classes): pods can name a class that does not run gVisor',
    );
    const digest = found?.changes?.[0]?.digest ?? '';
    const accept = (each: Manifest): Manifest => ({
      ...each,
      metadata: { ...each.metadata, annotations: { [ACCEPTED]: digest } },
    });
    const accepted = judgeGuards(guardsAmong(narrowed.map(accept)), NEEDS);
    assert.deepEqual(accepted.missing, []);
    assert.deepEqual(accepted.accepted, [{ guard: found?.guard, changes: found?.changes }]);
    const [, , audit] = WEAKENINGS.find(([what]) => what === 'a binding audits') ?? assert.fail();
    assert.deepEqual(missing(guardsAmong(audit(narrowed).map(accept))), ['gvisor-ready-node-keys warns']);
    assert.deepEqual(judgeGuards(guardsAmong(objects.map(accept)), NEEDS).accepted, []);
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
    it(`${isMissing ? 'miss' : 'do not miss'} that of ${what}, where all of it is gone`, () => {
      const gone = without(({ metadata, spec }) => [metadata.name, spec?.policyName].includes(guard));
      assert.deepEqual(missing(gone, needs), isMissing ? [`${guard} absent`] : []);
    });

  it('that the API server does not list may be in its files, and those that it lists are compared', () => {
    const gone = without(({ metadata }) => metadata.name === 'gvisor-ready-agent');
    assert.deepEqual(missing(gone, { fromFiles: true }), []);
    const unbound = without(({ spec }) => spec?.policyName === 'gvisor-ready-agent');
    assert.deepEqual(missing(unbound, { fromFiles: true }), ['gvisor-ready-agent unbound']);
  });

  it('may only warn where enforcement is tried out and no namespace requires gVisor', () => {
    const validating = objects.filter(({ kind }) => kind.startsWith('Validating'));
    const text = JSON.stringify(validating)
      .replaceAll('"Fail"', '"Ignore"')
      .replaceAll('["Deny"]', '["Warn","Audit"]');
    const warning = guardsAmong(JSON.parse(text) as Manifest[]);
    const warns = (parts: readonly string[]) =>
      Object.entries(GUARDS).flatMap(([guard, { part }]) =>
        parts.includes(part) && guard !== INJECT ? [`${guard} warns`] : [],
      );
    assert.deepEqual(missing(warning, { isRequired: false }), warns(['base', 'fleet']));
    assert.deepEqual(missing(warning), warns(['base', 'fleet', 'enforce', 'optional']));
  });

  it('have the class that came with the agents, which nobody needs to have seen, beside another one', async () => {
    const text = await readFile(join(REPO, 'manifests/base/daemonset.yaml'), 'utf8');
    const other = {
      metadata: { name: 'gvisor-gpu' },
      handler: 'runsc',
      scheduling: { nodeSelector: { 'gvisor.node-restriction.kubernetes.io/ready': 'true' } },
    };
    const base = without(({ metadata }) => metadata.name === 'gvisor-ready-enforce');
    const needs = { guards: base, settings: agentSettingsOf(parse(text)), isRequired: false };
    const { faults } = missingClasses([other], { ...needs, seen: new Set() });
    assert.deepEqual(faults.map(describeMissing), [
      'runtimeclass/gvisor is not installed: pods that name it are refused',
    ]);
  });

  it('are critical, but those of enforcement where no namespace requires gVisor', () => {
    const critical = (guard: string, isRequired: boolean) =>
      isCritical({ isRequired, missing: [{ guard, effect: 'absent', danger: '' }] });
    assert.equal(critical('gvisor-ready-node-keys', false), true);
    assert.equal(critical('runtimeclass/gvisor', false), true);
    assert.equal(critical('gvisor-ready-enforce', false), false);
    assert.equal(critical('gvisor-ready-enforce', true), true);
  });
});
