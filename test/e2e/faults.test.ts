import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { breakNode, healNode } from '../../cluster/faults/break-node.ts';
import type { FaultName } from '../../cluster/faults/faults.ts';
import { waitFor } from '../../hack/run.ts';
import type { HarmlessFault } from '../reason-of-fault.ts';
import { agentOn, waitForMetric, waitForNode } from './agents.ts';
import { provenAgain } from './disturb.ts';
import { useCluster } from './e2e-cluster.ts';

const cluster = useCluster();

/**
 * Faults that must not change the label, and evidence that the agent has observed them. Those of sandboxes are in
 * test/waits/sandbox-problems.test.ts.
 */
const TOLERATED: Record<
  Exclude<HarmlessFault, 'shims-hung' | 'sentries-hung'>,
  { readonly node: string; readonly until: (restarts: number) => Promise<unknown> }
> = {
  'handler-edited': {
    node: 'node-1',
    until: () =>
      waitForMetric(
        cluster(),
        'node-1',
        'gvisor_ready_check_status{check="handler-current",status="fail"} 1',
      ),
  },
  'kubelet-stopped': { node: 'node-1', until: () => provenAgain(cluster(), 'node-1') },
  'agent-killed': { node: 'node-2', until: (restarts) => anotherAgent('node-2', restarts) },
  'api-down': { node: 'node-2', until: () => healNode(cluster(), cluster().node('node-2'), 'api-down') },
};

describe('a fault of another component', () => {
  for (const [fault, { node, until }] of Object.entries(TOLERATED)) {
    it(`${fault} changes neither label nor condition`, async () => {
      const { restarts } = await agentOn(cluster(), node);
      const before = await waitForNode(
        cluster(),
        node,
        ({ condition }) => condition === 'True SandboxProven',
      );
      const assertUnchanged = async () => {
        const { ready, condition, since } = await waitForNode(cluster(), node, () => true);
        assert.deepEqual([ready, condition, since], ['true', 'True SandboxProven', before.since]);
      };
      await breakNode(cluster(), cluster().node(node), fault as FaultName);
      await until(restarts);
      if (fault === 'handler-edited' || fault === 'kubelet-stopped') await assertUnchanged();
      await healNode(cluster(), cluster().node(node), fault as FaultName);
      await waitFor('the API server', 60_000, () => waitForNode(cluster(), node, () => true));
      await cluster().waitForNodes([node]);
      await provenAgain(cluster(), node);
      await assertUnchanged();
    });
  }
});

async function anotherAgent(node: string, restarts: number): Promise<void> {
  await waitFor(`another agent on ${node}`, 60_000, async () => {
    const next = await agentOn(cluster(), node);
    return next.restarts > restarts && next.ready;
  });
}
