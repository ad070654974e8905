import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { evaluationPod } from '../../cluster/pods.ts';
import { waitFor } from '../../hack/run.ts';
import { workload } from '../api/admission-objects.ts';
import { applyOverlay, removeEnforcement } from './agents.ts';
import { createNamespace, deletePods, tryCreate, useCluster } from './e2e-cluster.ts';

const cluster = useCluster();
const NAMESPACE = 'evaluations';
const there = (...args: string[]) => cluster().kubectl(['-n', NAMESPACE, ...args]);

const create = (manifest: string, ...options: string[]) =>
  tryCreate(cluster(), NAMESPACE, manifest, ...options);

describe('a namespace that requires gVisor, on real nodes', () => {
  before(async () => {
    await applyOverlay(cluster(), ['enforce']);
    await createNamespace(cluster(), NAMESPACE, { 'gvisor-ready.dev/require': 'true' });
    await waitFor('pods to be refused', 30_000, async () => {
      const { output } = await create(evaluationPod('canary', { gvisor: false }), '--dry-run=server');
      return output.includes('spec.runtimeClassName is not set');
    });
  });
  after(async () => {
    await removeEnforcement(cluster());
    await cluster().kubectl(['delete', 'namespace', NAMESPACE]);
  });

  it('runs DaemonSet pods on proven nodes only', async () => {
    const { spec } = JSON.parse(evaluationPod('x', { gvisor: true }));
    const made = workload('DaemonSet', { spec }, { name: 'every' });
    assert.equal((await create(JSON.stringify(made))).code, 0);
    const path = 'jsonpath={range .items[*]}{.spec.nodeName}={.status.phase} {end}';
    const phases = await waitFor('the pods of two nodes to run', 60_000, async () => {
      const pods = (await there('get', 'pods', '-l', 'app=case', '-o', path)).trim().split(' ').sort();
      return pods.filter((pod) => pod.endsWith('=Running')).length === 2 ? pods : undefined;
    });
    assert.deepEqual(phases, ['=Pending', 'node-1=Running', 'node-2=Running']);
  });

  it('has the kubelet of an unproven node reject a pod that bypasses the scheduler', async () => {
    const manifest = evaluationPod('past', { gvisor: true, spec: { nodeName: 'node-3' } });
    assert.match(
      (await create(manifest)).output,
      /spec\.nodeName is "node-3", which goes past the scheduler/,
    );
    await cluster().kubectl(['create', '-f', '-'], manifest); // in a namespace without the label
    const status = await waitFor('the kubelet to reject the pod', 30_000, async () => {
      const path = 'jsonpath={.status.phase} {.status.reason}';
      const current = await cluster().kubectl(['get', 'pod', 'past', '-o', path]);
      return current.startsWith('Failed') ? current : undefined;
    });
    assert.equal(status, 'Failed NodeAffinity');
    await deletePods(cluster(), 'past');
  });
});
