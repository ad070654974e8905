import { describe, it } from 'node:test';
import { applyOverlay } from '../e2e/agents.ts';
import { AUDIT_GROUPS } from './admission-audit-cases.ts';
import { accepted, describeGroups, existing, refused } from './admission-case.ts';
import { useAdmission } from './admission-cluster.ts';
import { annotate, create, createPod, pod } from './admission-objects.ts';
import { settle } from './admission-settle.ts';

const admission = useAdmission(['enforce', 'enforce-audit']);

describeGroups(admission, AUDIT_GROUPS);

describe('after the change from audit to enforce', () => {
  it('the same pod is refused, and what runs is left alone', async () => {
    const plain = pod({ spec: { runtimeClassName: undefined } });
    const path = await existing(admission(), create('strict', plain));
    await applyOverlay(admission().cluster, ['enforce']);
    await settle(admission());
    for (const { run } of [
      refused('the same pod', create('strict', plain), /is not set: write runtimeClassName: gvisor/),
      accepted('an annotation of the pod that runs', annotate(path, { a: 'b' })),
      accepted('its end', { method: 'DELETE', path }),
      accepted('a gVisor pod', createPod()),
    ]) {
      await run(admission());
    }
  });
});
