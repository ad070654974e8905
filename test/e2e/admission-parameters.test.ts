import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import { until, useAdmission } from './admission-cluster.ts';
import {
  addEphemeral,
  container,
  createPod,
  createRuntimeClass,
  hostPath,
  privileged,
} from './admission-objects.ts';
import { existing, PARAMETERS, podsAreRefused, setParameters, table } from './admission-table.ts';

const admission = useAdmission(['enforce'], async (ready) => {
  for (const name of ['gvisor-gpu']) await ready.as('admin', createRuntimeClass(name));
  await podsAreRefused(ready);
});

const POLICIES = ['enforce', 'guard-namespace', 'guard-runtimeclass', 'guard-parameters'];

describe('with everything refused that can be, and two runtime classes', () => {
  const refuse = 'hostNamespaces, hostPath privileged\nephemeralContainers';
  before(async () => {
    await setParameters(
      admission(),
      { refuse, runtimeClassNames: 'gvisor, gvisor-gpu' },
      createPod({ spec: hostPath }),
      /^403 .*hostPath is not allowed here/,
    );
  });

  table(admission, [
    ['a pod with the first class', createPod()],
    ['a pod with the second class', createPod({ spec: { runtimeClassName: 'gvisor-gpu' } })],
    [
      'a pod without',
      createPod({ spec: { runtimeClassName: undefined } }),
      /write runtimeClassName: gvisor \(or: gvisor-gpu\)$/,
    ],
    [
      'the network of the host',
      createPod({ spec: { hostNetwork: true } }),
      /spec sets hostNetwork: remove it/,
    ],
    [
      'the processes and the IPC of the host',
      createPod({ spec: { hostPID: true, hostIPC: true } }),
      /spec sets hostPID, hostIPC: remove it, a namespace of the host is not allowed here$/,
    ],
    ['host namespaces that are not taken', createPod({ spec: { hostNetwork: false } })],
    [
      'a folder of the host',
      createPod({ spec: hostPath }),
      /hostPath is not allowed here, and the volumes host use it: use emptyDir, configMap or a PersistentVolumeClaim$/,
    ],
    ['another volume', createPod({ spec: { volumes: [{ name: 'own', emptyDir: {} }] } })],
    [
      'a privileged container',
      createPod({ spec: container(privileged) }),
      /privileged is not allowed here, and the containers main have it: remove securityContext\.privileged$/,
    ],
    [
      'a privileged init container',
      createPod({ spec: { initContainers: [{ name: 'first', image: 'i', ...privileged }] } }),
      /the containers first have it/,
    ],
    [
      'a container that says it is not privileged',
      createPod({ spec: container({ securityContext: { privileged: false } }) }),
    ],
    [
      'an ephemeral container',
      async () => addEphemeral(await existing(admission(), createPod()), privileged),
      /the containers debug have it: .*; ephemeral containers are not allowed here: use kubectl exec, or kubectl debug --copy-to/,
    ],
  ]);
});

describe('parameters that cannot be gone by close the door', () => {
  const answer = () => admission().as('admin', createPod());

  it('when the ConfigMap is gone', async () => {
    await admission().as('admin', { method: 'DELETE', path: PARAMETERS });
    const { message } = await until('all pods to be refused', answer, ({ code }) => code !== 201);
    assert.match(message, /no params found for policy binding with `Deny` parameterNotFoundAction/);
  });

  for (const [what, data, why] of [
    ['names no runtime class', {}, /allows no runtime class: .* must name one under runtimeClassNames/],
    [
      'refuses what there is not',
      { runtimeClassNames: 'gvisor', refuse: 'hostpath' },
      /refuses "hostpath", which is none of hostNamespaces, hostPath, privileged, ephemeralContainers/,
    ],
  ] as const) {
    it(`when the ConfigMap was there before its guard and ${what}`, async () => {
      const guard = ['validatingadmissionpolicybinding', 'gvisor-ready-guard-parameters'];
      await admission().cluster.kubectl(['delete', ...guard, '--ignore-not-found']);
      const body = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'gvisor-ready-enforce' }, data };
      await until(
        'the parameters to be written',
        () =>
          admission().as('admin', {
            method: 'PATCH',
            path: `${PARAMETERS}?fieldManager=test&force=true`,
            patch: 'apply-patch+yaml',
            body,
          }),
        ({ code }) => code < 300,
      );
      const { message } = await until('the message', answer, (got) => why.test(got.message));
      assert.match(message, why);
    });
  }
});

describe('the policies', () => {
  it('have no type that the API server warns of', async () => {
    const path = '{range .items[*]}{.metadata.name} {.status.typeChecking}{"\\n"}{end}';
    const words = ['get', 'validatingadmissionpolicies', '-l', 'app.kubernetes.io/component=enforce'];
    const seen = await until(
      'the type check',
      async () => ({
        code: 0,
        warnings: [],
        body: 0,
        message: await admission().cluster.kubectl([...words, '-o', `jsonpath=${path}`]),
      }),
      ({ message }) =>
        message
          .trim()
          .split('\n')
          .filter((line) => line.includes('{')).length === POLICIES.length,
    );
    assert.doesNotMatch(seen.message, /expressionWarnings/);
  });
});
