import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Report } from '../../agent/agent.ts';
import { breakAndWait, evaluationPod, healAndWait } from '../../cluster/story.ts';
import { waitFor } from '../../hack/run.ts';
import { getFromAgent } from './agents.ts';
import { provenAgain } from './disturb.ts';
import { deletePods, useCluster } from './e2e-cluster.ts';
import { shareOfProbes } from './own-cgroup.ts';

const cluster = useCluster();
type Pod = {
  readonly status: {
    readonly phase?: string;
    readonly conditions?: readonly { readonly type: string; readonly message?: string }[];
  };
};

describe('a gVisor pod', () => {
  it('stays Pending while no node is ready, and runs once one is', async () => {
    await Promise.all(['node-1', 'node-2'].map((node) => breakAndWait(cluster(), node, 'runsc-missing')));
    await cluster().kubectl(['apply', '-f', '-'], evaluationPod('nowhere', { gvisor: true }));
    const podNow = async () =>
      JSON.parse(await cluster().get('/api/v1/namespaces/default/pods/nowhere')) as Pod;
    const message = await waitFor("the scheduler's reason", 30_000, async () => {
      const { conditions } = (await podNow()).status;
      return conditions?.find(({ type }) => type === 'PodScheduled')?.message;
    });
    assert.match(message, /didn't match Pod's node affinity\/selector/);
    await Promise.all(['node-1', 'node-2'].map((node) => healAndWait(cluster(), node)));
    await waitFor('the pod to run once a node is back', 30_000, async () => {
      return (await podNow()).status.phase === 'Running';
    });
    await deletePods(cluster(), 'nowhere');
  });
});

describe('the sandbox of a proof, with the cgroupfs driver', () => {
  for (const node of ['node-1', 'node-2'])
    it(`is in the cgroup kubepods with the default CPU share, and the check limits passes: ${node}`, async () => {
      const [share] = await Promise.all([shareOfProbes(cluster().node(node)), provenAgain(cluster(), node)]);
      assert.match(share, /^(cpu\.shares 1024|cpu\.weight 100)$/);
      const { text } = await getFromAgent(cluster(), node, '/report');
      const { findings } = JSON.parse(text) as Report;
      const limits = findings.find(({ check }) => check === 'limits');
      assert.equal(limits?.status, 'pass', limits?.message);
      assert.equal(limits?.message, 'The sandbox lies in /kubepods/gvisor_ready');
    });
});
