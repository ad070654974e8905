import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { applyOverlay } from '../e2e/agents.ts';
import { INJECTS } from '../kubernetes-minor.ts';
import { assertAccepted, describeGroups } from './admission-case.ts';
import { until, useAdmission } from './admission-cluster.ts';
import { INJECT_GROUPS } from './admission-inject-cases.ts';
import { create, createPod, workload } from './admission-objects.ts';
import type { Answer } from './api-user.ts';

type Pod = {
  readonly metadata: { readonly name: string };
  readonly spec: { readonly runtimeClassName?: string };
};
const admission = useAdmission(INJECTS ? ['enforce', 'inject'] : ['enforce']);

if (INJECTS) {
  describeGroups(admission, INJECT_GROUPS);
  describe('a Deployment that names no runtime class', testDeployment);
} else {
  describe('injection before Kubernetes 1.36', () => {
    it('is refused by name, and pods are refused or accepted as without it', async () => {
      const { as, cluster } = admission();
      await assert.rejects(
        applyOverlay(cluster, ['enforce', 'inject']),
        /no matches for kind "MutatingAdmissionPolicy" in version "admissionregistration.k8s.io\/v1"/,
      );
      const { code } = await as('admin', createPod({ spec: { runtimeClassName: undefined } }));
      assert.equal(code, 403);
    });
  });
}

function testDeployment(): void {
  it('gets pods in gVisor, and nobody is warned', async () => {
    const { as, cluster } = admission();
    const made = workload('Deployment', { spec: { runtimeClassName: undefined } }, 'web');
    assertAccepted(await as('dispatcher', create('strict', made)));
    const path = '/api/v1/namespaces/strict/pods?labelSelector=app%3Dcase';
    const classes = ({ body }: Answer) =>
      (body as { readonly items?: readonly Pod[] }).items
        ?.filter(({ metadata }) => metadata.name.startsWith('web-'))
        .map(({ spec }) => spec.runtimeClassName) ?? [];
    const seen = await until(
      'its pod',
      () => as('admin', { method: 'GET', path }),
      (answer) => classes(answer).length === 1,
    );
    assert.deepEqual(classes(seen), ['gvisor']);
    const failed = ['get', 'events', '-n', 'strict', '--field-selector=reason=FailedCreate', '-o', 'name'];
    assert.equal(await cluster.kubectl(failed), '');
  });
}
