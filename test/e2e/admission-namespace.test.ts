import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { until, useAdmission } from './admission-cluster.ts';
import { create, pod } from './admission-objects.ts';
import { assertAccepted, by, guardsAreUp, table } from './admission-table.ts';
import type { Call } from './api-user.ts';

const admission = useAdmission(['enforce'], (ready) => guardsAreUp(ready, [label('strict', null)]));
const DRY = '?dryRun=All';

const patch = (path: string, body: object): Call => ({ method: 'PATCH', path, body });
const label = (namespace: string, value: string | null, query = DRY, key = 'require-gvisor') =>
  patch(`/api/v1/namespaces/${namespace}${query}`, { metadata: { labels: { [key]: value } } });
const remove = (namespace: string, query = DRY): Call => ({
  method: 'DELETE',
  path: `/api/v1/namespaces/${namespace}${query}`,
});
const createNamespace = (labels: object): Call => ({
  method: 'POST',
  path: `/api/v1/namespaces${DRY}`,
  body: { apiVersion: 'v1', kind: 'Namespace', metadata: { generateName: 'new-', labels } },
});
/** Writes a whole Namespace without its labels, to a subresource or to itself. */
const put = (subresource: string) => async (): Promise<Call> => {
  const path = '/api/v1/namespaces/strict';
  const { body } = await admission().as('admin', { method: 'GET', path });
  const { metadata, ...rest } = body as { readonly metadata: object };
  return {
    method: 'PUT',
    path: `${path}${subresource}${DRY}`,
    body: { ...rest, metadata: { ...metadata, labels: {} } },
  };
};

const LIFT =
  /the namespace "strict" requires gVisor: to change its label require-gvisor from "true" needs the verb manage-gvisor-requirement on this namespace \(ClusterRole gvisor-ready-requirement\)$/;
const DELETE =
  /the namespace "strict" requires gVisor: to delete it needs the verb manage-gvisor-requirement on this namespace/;
describe('the label of a namespace, without the right to lift it', () => {
  table(admission, [
    by('operator', 'takes it off', label('strict', null, ''), LIFT),
    by('operator', 'takes it off in a dry run', label('strict', null), LIFT),
    by('operator', 'sets it to "false"', label('strict', 'false', ''), LIFT),
    by('operator', 'sets it to "audit"', label('strict', 'audit', ''), LIFT),
    by('operator', 'writes the namespace without labels', put(''), LIFT),
    by('operator', 'writes the status without labels', put('/status'), LIFT),
    by('operator', 'writes the finalizers without labels', put('/finalize'), LIFT),
    by(
      'operator',
      'applies another value',
      {
        ...label('strict', 'false', `${DRY}&fieldManager=test&force=true`),
        patch: 'apply-patch+yaml',
        body: {
          apiVersion: 'v1',
          kind: 'Namespace',
          metadata: { name: 'strict', labels: { 'require-gvisor': 'false' } },
        },
      },
      LIFT,
    ),
    by('operator', 'deletes the namespace', remove('strict', ''), DELETE),
    by('owner', 'of all inside, takes it off', label('strict', null, ''), LIFT),
    by('owner', 'of all inside, deletes the namespace', remove('strict', ''), DELETE),
    by(
      'single',
      'whose right is for another namespace, takes it off',
      label('another', null, ''),
      /the namespace "another" requires gVisor/,
    ),
    by(
      'single',
      'whose right is for another namespace, deletes it',
      remove('another', ''),
      /"another" requires gVisor: to delete/,
    ),
    by('operator', 'writes another label', label('strict', 'x', DRY, 'team')),
    by('operator', 'puts it on', label('free', 'true')),
    by('operator', 'sets "audit" to "true"', label('audited', 'true')),
    by('operator', 'takes "audit" off', label('audited', null)),
    by('operator', 'creates a namespace with it', createNamespace({ 'require-gvisor': 'true' })),
    by('operator', 'creates a namespace without', createNamespace({})),
    by('operator', 'deletes a namespace that has none', remove('free')),
  ]);
});

describe('the label of a namespace, with the right to lift it', () => {
  table(admission, [
    by('lifter', 'takes it off', label('strict', null)),
    by('lifter', 'deletes the namespace', remove('strict')),
    by('admin', 'takes it off', label('strict', null)),
    by('single', 'takes it off the namespace of the right', label('strict', null)),
    by('single', 'deletes the namespace of the right', remove('strict')),
  ]);
});

describe('a label that would require nothing', () => {
  const why = (value: string) =>
    new RegExp(
      `require-gvisor is "${value}", which would require nothing: write "true", "audit" \\(warns only\\) or "false"$`,
    );
  table(
    admission,
    [
      by(
        'admin',
        'creates a namespace with "True"',
        createNamespace({ 'require-gvisor': 'True' }),
        why('True'),
      ),
      by('admin', 'writes "yes"', label('free', 'yes'), why('yes')),
      by('admin', 'writes an empty value', label('free', ''), why('')),
      by('admin', 'writes another label beside an old "yes"', label('mistyped', 'x', DRY, 'team')),
      by('admin', 'mends an old "yes"', label('mistyped', 'true')),
    ],
    422,
  );
});

describe('a namespace that requires gVisor and is deleted', () => {
  it('goes away with all in it, and nobody needs the right a second time', async () => {
    const { as } = admission();
    const held = {
      ...(pod() as { metadata: object }),
      metadata: { name: 'held', finalizers: ['example.com/held'] },
    };
    assert.equal((await as('admin', create('another', held))).code, 201);
    assertAccepted(await as('lifter', remove('another', '')));
    const gone = () => as('admin', { method: 'GET', path: '/api/v1/namespaces/another' });
    const isTerminating = ({ body }: { readonly body: unknown }) =>
      (body as { status?: { phase?: string } }).status?.phase === 'Terminating';
    await until('the namespace to end', gone, isTerminating);
    const again = await as('operator', remove('another', ''));
    assert.notEqual(again.code, 403, again.message);
    const path = '/api/v1/namespaces/another/pods/held';
    await as('admin', patch(path, { metadata: { finalizers: null } }));
    await until('the namespace to be gone', gone, ({ code }) => code === 404);
  });
});
