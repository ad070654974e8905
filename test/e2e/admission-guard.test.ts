import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { useAdmission } from './admission-cluster.ts';
import { create, createRuntimeClass } from './admission-objects.ts';
import { by, guardsAreUp, PARAMETERS, table } from './admission-table.ts';
import type { Call } from './api-user.ts';

const CLASS = '/apis/node.k8s.io/v1/runtimeclasses/gvisor';
const patch = (path: string, body: object): Call => ({ method: 'PATCH', path, body });
const parameters = (data: object) => patch(`${PARAMETERS}?dryRun=All`, { data });

const admission = useAdmission(['enforce'], (ready) =>
  guardsAreUp(ready, [
    parameters({ refuse: '' }),
    patch(`${CLASS}?dryRun=All`, { metadata: { labels: { a: 'b' } } }),
  ]),
);

describe('the RuntimeClass that stands for gVisor', () => {
  const why =
    /the RuntimeClass "gvisor" stands for gVisor: to write it needs the verb manage-gvisor-requirement on all namespaces/;
  const elsewhere = patch(CLASS, { scheduling: { nodeSelector: null } });
  table(admission, [
    by('operator', 'takes its node selector away', elsewhere, why),
    by('single', 'whose right is for one namespace, does', elsewhere, why),
    by('operator', 'creates another', createRuntimeClass('other')),
    by('lifter', 'labels it', patch(CLASS, { metadata: { labels: { team: 'x' } } })),
    by('lifter', 'deletes it', { method: 'DELETE', path: CLASS }),
    by('operator', 'makes it anew with runc', createRuntimeClass('gvisor', 'runc'), why),
    by('lifter', 'makes it anew', createRuntimeClass('gvisor')),
  ]);

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
  table(admission, [
    by('operator', 'allows another class', parameters({ runtimeClassNames: 'runc' }), why),
    by('single', 'whose right is for one namespace, does', parameters({ runtimeClassNames: 'runc' }), why),
    by('operator', 'creates another ConfigMap beside them', create('gvisor-ready', other)),
    by('lifter', 'allows another class', parameters({ runtimeClassNames: 'gvisor other' })),
  ]);
  table(
    admission,
    [
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
    ],
    422,
  );
});
