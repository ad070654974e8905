import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { applyComponents, type UserName, until, useAdmission } from './admission-cluster.ts';
import { addEphemeral, create, createPod, createRuntimeClass, pod } from './admission-objects.ts';
import { assertAccepted, PARAMETERS, podsAreRefused } from './admission-table.ts';
import type { Call } from './api-user.ts';

const plain = createPod({ spec: { runtimeClassName: undefined } });
const unlabel: Call = {
  method: 'PATCH',
  path: '/api/v1/namespaces/strict?dryRun=All',
  body: { metadata: { labels: { 'require-gvisor': null } } },
};
const relabel = (value: string): Call => ({
  ...unlabel,
  body: { metadata: { labels: { 'require-gvisor': value } } },
});
const elsewhere: Call = {
  method: 'PATCH',
  path: `${PARAMETERS}?dryRun=All`,
  body: { data: { runtimeClassNames: 'runc' } },
};

const WARNED: readonly (readonly [what: string, call: Call, why: RegExp, as: UserName])[] = [
  [
    'a pod without the runtime class',
    plain,
    /this Pod would break that: spec\.runtimeClassName is not set/,
    'dispatcher',
  ],
  [
    'the label taken off',
    unlabel,
    /to change its label require-gvisor from "true" needs the verb/,
    'operator',
  ],
  ['a label that would require nothing', relabel('yes'), /which would require nothing/, 'admin'],
  ['other parameters', elsewhere, /to write the parameters .* needs the verb/, 'operator'],
  [
    'the RuntimeClass made anew',
    { ...createRuntimeClass('gvisor', 'runc'), path: '/apis/node.k8s.io/v1/runtimeclasses?dryRun=All' },
    /the RuntimeClass "gvisor" stands for gVisor/,
    'operator',
  ],
];

const admission = useAdmission(['enforce', 'enforce-audit'], async ({ as, cluster }) => {
  await cluster.kubectl(['delete', 'runtimeclass', 'gvisor']); // so that it can be made anew
  for (const [what, call, , user] of WARNED) {
    await until(
      `a warning of ${what}`,
      () => as(user, call),
      ({ warnings }) => warnings.length > 0,
    );
  }
});

describe('the audit stage refuses nothing, and warns of', () => {
  for (const [what, call, why, user] of WARNED) {
    it(what, async () => {
      const { code, message, warnings } = await admission().as(user, call);
      assert.ok(code < 300, `${code} ${message}`);
      assert.match(warnings.join('\n'), why);
    });
  }

  it('nothing at all when the parameters are gone', async () => {
    const { as, cluster } = admission();
    await as('admin', { method: 'DELETE', path: PARAMETERS });
    await until(
      'pods in silence',
      () => as('admin', plain),
      ({ code, warnings }) => code === 201 && warnings.length === 0,
    );
    await applyComponents(cluster, ['enforce', 'enforce-audit']);
  });
});

describe('after the change from audit to enforce', () => {
  it('the same pod is refused, and what runs is left alone', async () => {
    const { as, cluster } = admission();
    const { body } = await as('admin', plain);
    const { name } = (body as { readonly metadata: { readonly name: string } }).metadata;
    await applyComponents(cluster, ['enforce']);
    await podsAreRefused(admission());
    const path = `/api/v1/namespaces/strict/pods/${name}`;
    assertAccepted(await as('admin', { method: 'PATCH', path, body: { metadata: { labels: { a: 'b' } } } }));
    assertAccepted(await as('admin', addEphemeral(path)));
    assertAccepted(await as('admin', create('strict', pod())));
  });
});
