import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { describe, it } from 'node:test';
import { AUDIT_LOG } from '../../hack/cluster/control-plane.ts';
import { waitFor } from '../../hack/run.ts';
import { type UserName, until, useAdmission } from './admission-cluster.ts';
import { addEphemeral, create, createPod, createRuntimeClass, pod } from './admission-objects.ts';
import { assertAccepted, PARAMETERS, podsAreRefused } from './admission-table.ts';
import { applyOverlay } from './agents.ts';
import { type Call, tokenUser } from './api-user.ts';

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

  it('a pod, in the audit log too', async () => {
    const { cluster } = admission();
    const names = ['-n', 'gvisor-ready', 'logged']; // of whose namespace the test cluster keeps an audit log
    await cluster.kubectl(['create', 'serviceaccount', ...names]);
    const role = ['create', 'rolebinding', '-n', 'audited', 'logged', '--clusterrole=edit'];
    await cluster.kubectl([...role, '--serviceaccount=gvisor-ready:logged']);
    const logged = await tokenUser(cluster, 'gvisor-ready', 'logged');
    const dry = create('audited', pod({ spec: { runtimeClassName: undefined } }), 'dryRun=All');
    await until(
      'the pod to be warned of',
      () => logged(dry),
      ({ warnings }) => warnings.length > 0,
    );
    const failure = await waitFor('the audit log', 30_000, async () => {
      const lines = (await readFile(cluster.hub.path(AUDIT_LOG), 'utf8')).split('\n').filter(Boolean);
      return lines
        .map((line) => JSON.parse(line) as { readonly annotations?: Readonly<Record<string, string>> })
        .map(({ annotations }) => annotations?.['validation.policy.admission.k8s.io/validation_failure'])
        .find((text) => text !== undefined);
    });
    assert.match(failure, /the namespace \\"audited\\" requires gVisor, and this Pod would break that/);
  });

  it('nothing at all when the parameters are gone', async () => {
    const { as, cluster } = admission();
    await as('admin', { method: 'DELETE', path: PARAMETERS });
    await until(
      'pods in silence',
      () => as('admin', plain),
      ({ code, warnings }) => code === 201 && warnings.length === 0,
    );
    await applyOverlay(cluster, ['enforce', 'enforce-audit']);
  });
});

describe('after the change from audit to enforce', () => {
  it('the same pod is refused, and what runs is left alone', async () => {
    const { as, cluster } = admission();
    const { body } = await as('admin', plain);
    const { name } = (body as { readonly metadata: { readonly name: string } }).metadata;
    await applyOverlay(cluster, ['enforce']);
    await podsAreRefused(admission());
    const path = `/api/v1/namespaces/strict/pods/${name}`;
    assertAccepted(await as('admin', { method: 'PATCH', path, body: { metadata: { labels: { a: 'b' } } } }));
    assertAccepted(await as('admin', addEphemeral(path)));
    assertAccepted(await as('admin', create('strict', pod())));
  });
});
