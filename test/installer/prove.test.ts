import assert from 'node:assert/strict';
import { it } from 'node:test';
import { sweepProbes } from '../../installer/steps/probes.ts';
import { OWNER, PROBE_LABELS } from '../../lib/proof/sandbox.ts';
import { scene } from '../lib/proof/scene.ts';

it('removes the probes of an installer that was killed, and no others', async (t) => {
  const { containerd, client } = await scene(t);
  const { sandboxes } = containerd;
  for (const id of ['installer-1', 'agent-1']) sandboxes.addProbe(id);
  sandboxes.add('pod', { 'io.kubernetes.pod.uid': '12' });
  const labels = (owner: string) => ({ ...PROBE_LABELS, [OWNER]: owner });
  sandboxes.records.set('cut-off', { labels: labels('installer'), task: true });
  sandboxes.records.set('in-use', { labels: labels('agent'), task: true });
  await sweepProbes(client);
  assert.deepEqual([...sandboxes.byId.keys()], ['agent-1', 'pod']);
  assert.deepEqual(
    ['cut-off', 'in-use'].map((id) => sandboxes.records.has(id)),
    [false, true],
  );
});
