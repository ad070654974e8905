import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { describe, it } from 'node:test';
import type { Report } from '../../agent/report.ts';
import { breakAndWait, evaluationPod, healAndWait, runPod, viewNodes } from '../../cluster/story.ts';
import { waitFor } from '../../hack/run.ts';
import { askAgent } from './agents.ts';
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

describe('the label', () => {
  it('is true where gVisor works, and false with the reason where it does not', async () => {
    const nodes = await waitFor('two proven nodes', 60_000, async () => {
      const seen = await viewNodes(cluster());
      return seen.filter(({ ready }) => ready === 'true').length === 2 ? seen : undefined;
    });
    assert.deepEqual(
      nodes.map(({ name, ready, reason }) => [name, ready, reason]),
      [
        ['node-1', 'true', 'SandboxProven'],
        ['node-2', 'true', 'SandboxProven'],
        ['node-3', 'false', 'HandlerNotConfigured'],
      ],
    );
  });

  it('goes when the shim goes, kills nothing, steers the next pod away, and comes back', async () => {
    const home = await runPod(cluster(), 'story-1', evaluationPod('story-1', { gvisor: true }));
    assert.match(home, /^node-[12]$/);
    await breakAndWait(cluster(), home, 'shim-missing');
    const reason = await waitFor('the condition of the broken node', 10_000, async () => {
      const view = (await viewNodes(cluster())).find(({ name }) => name === home);
      return view?.reason === 'SandboxProven' ? undefined : view?.reason;
    });
    assert.equal(reason, 'ShimNotFound');
    const phase = await cluster().kubectl(['get', 'pod', 'story-1', '-o', 'jsonpath={.status.phase}']);
    assert.equal(phase, 'Running');
    const other = await runPod(cluster(), 'story-2', evaluationPod('story-2', { gvisor: true }));
    assert.match(other, /^node-[12]$/);
    assert.notEqual(other, home);
    await healAndWait(cluster(), home);
    await deletePods(cluster(), 'story-1', 'story-2');
  });

  it("keeps a gVisor pod Pending, with the scheduler's reason, when no node has it", async () => {
    await Promise.all(['node-1', 'node-2'].map((node) => breakAndWait(cluster(), node, 'runsc-missing')));
    await cluster().kubectl(['apply', '-f', '-'], evaluationPod('nowhere', { gvisor: true }));
    const podNow = async () =>
      JSON.parse(await cluster().get('/api/v1/namespaces/default/pods/nowhere')) as Pod;
    const message = await waitFor("the scheduler's word", 30_000, async () => {
      const { conditions } = (await podNow()).status;
      return conditions?.find(({ type }) => type === 'PodScheduled')?.message;
    });
    assert.match(message, /didn't match Pod's node affinity\/selector/);
    await Promise.all(['node-1', 'node-2'].map((node) => healAndWait(cluster(), node)));
    await waitFor('the pod to run once a node is back', 30_000, async () => {
      return (await podNow()).status.phase === 'Running' ? true : undefined;
    });
    await deletePods(cluster(), 'nowhere');
  });
});

describe('kernels', () => {
  it("shows gVisor's to a pod with the runtime class, and the host's to the same pod without", async () => {
    const host = (await readFile('/proc/version', 'utf8')).trim();
    await runPod(cluster(), 'with', evaluationPod('with', { gvisor: true }));
    await runPod(cluster(), 'without', evaluationPod('without', { gvisor: false }));
    const kernel = async (pod: string) =>
      (await cluster().kubectl(['exec', pod, '--', 'cat', '/proc/version'])).trim();
    assert.match(await kernel('with'), /^Linux version 4\.4\.0 #1 SMP Sun Jan 10 15:06:54 PST 2016$/);
    assert.equal(await kernel('without'), host);
    await deletePods(cluster(), 'with', 'without');
  });
});

describe("a proof where the kubelet makes the pods' cgroups itself", () => {
  for (const node of ['node-1', 'node-2'])
    it(`${node}: lies among the pods, with the default share of the CPU, and the check of limits passes`, async () => {
      const [share] = await Promise.all([shareOfProbes(cluster().node(node)), provenAgain(cluster(), node)]);
      assert.match(share, /^(cpu\.shares 1024|cpu\.weight 100)$/);
      const { text } = await askAgent(cluster(), node, '/report');
      const { findings } = JSON.parse(text) as Report;
      const limits = findings.find(({ check }) => check === 'limits');
      assert.equal(limits?.status, 'pass', limits?.message);
      assert.equal(limits?.message, 'The sandbox lies in /kubepods/gvisor_ready');
    });
});
