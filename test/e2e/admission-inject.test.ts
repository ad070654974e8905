import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { assertAccepted, describeGroups } from './admission-case.ts';
import { until, useAdmission } from './admission-cluster.ts';
import { INJECT_GROUPS } from './admission-inject-cases.ts';
import { create, workload } from './admission-objects.ts';
import type { Answer } from './api-user.ts';

const admission = useAdmission(['enforce', 'inject']);

describeGroups(admission, INJECT_GROUPS);

describe('a Deployment that names no runtime class', () => {
  it('gets pods in gVisor, and nobody is warned', async () => {
    const { as, cluster } = admission();
    const made = workload('Deployment', { spec: { runtimeClassName: undefined } }, 'web');
    assertAccepted(await as('dispatcher', create('strict', made)));
    const path = '/api/v1/namespaces/strict/pods?labelSelector=app%3Dcase';
    const pods = ({ body }: Answer) =>
      (body as { readonly items?: readonly { readonly spec: { readonly runtimeClassName?: string } }[] })
        .items ?? [];
    const seen = await until(
      'its pod',
      () => as('admin', { method: 'GET', path }),
      (answer) => pods(answer).length === 1,
    );
    assert.equal(pods(seen)[0]?.spec.runtimeClassName, 'gvisor');
    const failed = ['get', 'events', '-n', 'strict', '--field-selector=reason=FailedCreate', '-o', 'name'];
    assert.equal(await cluster.kubectl(failed), '');
  });
});
