import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { until, useAdmission } from './admission-cluster.ts';
import { create, createRuntimeClass, pod, workload } from './admission-objects.ts';
import { assertAccepted, mirrorPod, PARAMETERS, table } from './admission-table.ts';
import type { Answer } from './api-user.ts';

const plain = pod({ spec: { runtimeClassName: undefined } });
const tried = (namespace: string, body = plain) => create(namespace, body, 'dryRun=All');

const admission = useAdmission(['enforce', 'inject'], async (ready) => {
  await ready.as('admin', createRuntimeClass('plain'));
  const other = tried('strict', pod({ spec: { runtimeClassName: 'plain' } }));
  await until(
    'pods to be refused',
    () => ready.as('admin', other),
    ({ code }) => code === 403,
  );
  await until(
    'pods to be changed',
    () => ready.as('admin', tried('strict')),
    ({ code }) => code === 201,
  );
});

type Spec = {
  readonly runtimeClassName?: string;
  readonly nodeSelector?: object;
  readonly overhead?: object;
};
const specOf = ({ body }: Answer) => (body as { readonly spec: Spec }).spec;

describe('a pod that names no runtime class', () => {
  it('is given the one of gVisor, with its node selector and its overhead', async () => {
    const { as } = admission();
    const overhead = { podFixed: { memory: '32Mi' } };
    const path = '/apis/node.k8s.io/v1/runtimeclasses/gvisor';
    assert.equal((await as('admin', { method: 'PATCH', path, body: { overhead } })).code, 200);
    const seen = await until(
      'the overhead',
      () => as('dispatcher', tried('strict')),
      (answer) => specOf(answer).overhead !== undefined,
    );
    const { runtimeClassName, nodeSelector, overhead: added } = specOf(seen);
    assert.deepEqual(
      { runtimeClassName, nodeSelector, overhead: added },
      {
        runtimeClassName: 'gvisor',
        nodeSelector: { 'gvisor.node-restriction.kubernetes.io/ready': 'true' },
        overhead: overhead.podFixed,
      },
    );
  });

  for (const namespace of ['free', 'declined', 'audited']) {
    it(`is left alone in the namespace "${namespace}"`, async () => {
      const answer = await admission().as('admin', tried(namespace));
      assert.equal(answer.code, 201);
      assert.equal(specOf(answer).runtimeClassName, undefined);
    });
  }

  it('is left alone when it is the mirror of a static pod', async () => {
    const answer = await admission().as('kubelet', tried('strict', await mirrorPod(admission())));
    assert.equal(answer.code, 201, answer.message);
    assert.equal(specOf(answer).runtimeClassName, undefined);
  });

  it('comes out of a Deployment, of which nobody is warned', async () => {
    const { as, cluster } = admission();
    const made = workload('Deployment', { spec: { runtimeClassName: undefined } }, 'web');
    assertAccepted(await as('dispatcher', create('strict', made)));
    const path = '/api/v1/namespaces/strict/pods?labelSelector=app%3Dcase';
    const pods = (answer: Answer) =>
      (answer.body as { readonly items?: readonly { spec: Spec }[] }).items ?? [];
    const seen = await until(
      'its pod',
      () => as('admin', { method: 'GET', path }),
      (answer) => pods(answer).length === 1,
    );
    assert.equal(pods(seen)[0]?.spec.runtimeClassName, 'gvisor');
    assert.equal(
      await cluster.kubectl([
        'get',
        'events',
        '-n',
        'strict',
        '--field-selector=reason=FailedCreate',
        '-o',
        'name',
      ]),
      '',
    );
  });
});

describe('what injection does not change', () => {
  table(admission, [
    [
      'a pod with another runtime class',
      tried('strict', pod({ spec: { runtimeClassName: 'plain' } })),
      /runtimeClassName is "plain": write/,
    ],
    [
      'a pod that names its node',
      tried(
        'strict',
        pod({ spec: { schedulingGates: undefined, runtimeClassName: undefined, nodeName: 'n' } }),
      ),
      /enforce-pods.*would break that: spec\.nodeName is "n"/,
    ],
    ['a pod with the runtime class of gVisor', tried('strict', pod())],
  ]);

  it('templates that name another runtime class are still warned of', async () => {
    const made = workload('Deployment', { spec: { runtimeClassName: 'plain' } });
    const { code, warnings } = await admission().as('admin', create('strict', made, 'dryRun=All'));
    assert.equal(code, 201);
    assert.match(
      warnings.join(),
      /spec\.template\.spec\.runtimeClassName is "plain": write runtimeClassName: gvisor/,
    );
  });

  it('without parameters pods are refused', async () => {
    const { as } = admission();
    await as('admin', { method: 'DELETE', path: PARAMETERS });
    const { message } = await until(
      'the refusal',
      () => as('admin', tried('strict')),
      ({ code }) => code !== 201,
    );
    assert.match(
      message,
      /policy 'gvisor-ready-inject' with binding 'gvisor-ready-inject' denied request: failed to configure binding: no params found/,
    );
  });
});
