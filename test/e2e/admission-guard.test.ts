import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Admission, type UserName, until, useAdmission } from './admission-cluster.ts';
import { create, createRuntimeClass, pod } from './admission-objects.ts';
import { assertAccepted, type Case, PARAMETERS, table } from './admission-table.ts';
import type { Call } from './api-user.ts';

const admission = useAdmission(['enforce'], guardsAreUp);
const CLASS = '/apis/node.k8s.io/v1/runtimeclasses/gvisor';
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
const parameters = (data: object) => patch(`${PARAMETERS}${DRY}`, { data });

async function guardsAreUp({ as }: Admission): Promise<void> {
  const attempts = [
    label('strict', null),
    parameters({ refuse: '' }),
    patch(`${CLASS}${DRY}`, { metadata: { labels: { a: 'b' } } }),
  ];
  for (const attempt of attempts) {
    await until(
      'a guard',
      () => as('operator', attempt),
      ({ message }) => /manage-gvisor-requirement/.test(message),
    );
  }
}

const LIFT =
  /the namespace "strict" requires gVisor: to change its label require-gvisor from "true" needs the verb manage-gvisor-requirement on this namespace \(ClusterRole gvisor-ready-requirement\)$/;
const DELETE =
  /the namespace "strict" requires gVisor: to delete it needs the verb manage-gvisor-requirement on this namespace/;
const by = (user: UserName, what: string, call: Case[1], why?: RegExp): Case => [
  `${user} ${what}`,
  call,
  why,
  user,
];

describe('the label of a namespace, without the right to lift it', () => {
  table(
    admission,
    [
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
    ],
    403,
  );
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
  table(admission, [
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
  ]);
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
    assert.doesNotMatch(again.message, /gVisor/);
    const path = '/api/v1/namespaces/another/pods/held';
    await as('admin', patch(path, { metadata: { finalizers: null } }));
    await until('the namespace to be gone', gone, ({ code }) => code === 404);
  });
});

describe('the RuntimeClass that stands for gVisor', () => {
  const why =
    /the RuntimeClass "gvisor" stands for gVisor: to write it needs the verb manage-gvisor-requirement on all namespaces/;
  const elsewhere = patch(CLASS, { scheduling: { nodeSelector: null } });
  table(
    admission,
    [
      by('operator', 'takes its node selector away', elsewhere, why),
      by('single', 'whose right is for one namespace, does', elsewhere, why),
      by('operator', 'creates another', createRuntimeClass('other')),
      by('lifter', 'labels it', patch(CLASS, { metadata: { labels: { team: 'x' } } })),
      by('lifter', 'deletes it', { method: 'DELETE', path: CLASS }),
      by('operator', 'makes it anew with runc', createRuntimeClass('gvisor', 'runc'), why),
      by('lifter', 'makes it anew', createRuntimeClass('gvisor')),
    ],
    403,
  );

  it('keeps its handler, whoever asks', async () => {
    const { code, message } = await admission().as('admin', patch(CLASS, { handler: 'runc' }));
    assert.equal(code, 422);
    assert.match(message, /handler: Invalid value: "runc": field is immutable/);
  });
});

describe('the parameters', () => {
  const why =
    /to write the parameters of gVisor's enforcement needs the verb manage-gvisor-requirement on all namespaces/;
  const other = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'other' } };
  table(
    admission,
    [
      by('operator', 'allows another class', parameters({ runtimeClassNames: 'runc' }), why),
      by('single', 'whose right is for one namespace, does', parameters({ runtimeClassNames: 'runc' }), why),
      by('operator', 'creates another ConfigMap beside them', create('gvisor-ready', other)),
      by('lifter', 'allows another class', parameters({ runtimeClassNames: 'gvisor other' })),
    ],
    403,
  );
  table(admission, [
    by(
      'admin',
      'misspells a key',
      parameters({ refuses: 'hostPath' }),
      /there is no parameter "refuses": write runtimeClassNames, refuse or inject$/,
    ),
    by(
      'admin',
      'misspells a word',
      parameters({ refuse: 'hostPath hostpath' }),
      /refuse has "hostpath": it takes hostNamespaces, hostPath/,
    ),
    by(
      'admin',
      'names no class',
      parameters({ runtimeClassNames: ' , ' }),
      /runtimeClassNames names no RuntimeClass: write for example/,
    ),
    by(
      'admin',
      'injects what is refused',
      parameters({ inject: 'runc' }),
      /inject is "runc", which is none of runtimeClassNames \(gvisor\)/,
    ),
  ]);
});
