import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { breakNode, healNode } from '../../cluster/faults/break-node.ts';
import type { FaultName } from '../../cluster/faults/faults.ts';
import { waitFor } from '../../hack/run.ts';
import { type HarmlessFault, REASON_OF_FAULT } from '../reason-of-fault.ts';
import { agentOn, deployWith, waitForMetric, waitForNode } from './agents.ts';
import { hidePressure, provenAgain, showPressure } from './disturb.ts';
import { useCluster } from './e2e-cluster.ts';

const cluster = useCluster();
/** One fault per verdict and containerd version. `test/integration/faults.test.ts` covers every fault. */
const VISIBLE = [
  ['node-1', 'runsc-missing', 'False'],
  ['node-1', 'containerd-stopped', 'Unknown'],
  ['node-2', 'handler-removed', 'False'],
  ['node-2', 'containerd-hung', 'Unknown'],
] as const;
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
      waitForMetric(cluster(), 'node-1', 'gvisor_check_status{check="handler-current",status="fail"} 1'),
  },
  'kubelet-stopped': { node: 'node-1', until: () => provenAgain(cluster(), 'node-1') },
  'agent-killed': { node: 'node-2', until: (restarts) => anotherAgent('node-2', restarts) },
  'api-down': { node: 'node-2', until: () => healNode(cluster(), cluster().node('node-2'), 'api-down') },
};

describe('a fault of gVisor or containerd', () => {
  before(async () => {
    for (const node of ['node-1', 'node-2']) await hidePressure(cluster().node(node));
    await deployWith(cluster(), { UNKNOWN_GRACE: '2s' });
    for (const node of ['node-1', 'node-2'])
      await waitForNode(cluster(), node, ({ ready }) => ready === 'true');
  });
  after(async () => {
    for (const node of ['node-1', 'node-2']) await showPressure(cluster().node(node));
    await deployWith(cluster());
  });
  for (const [node, fault, status] of VISIBLE) {
    it(`${fault} and its recovery update label, condition, event and metrics`, async () => {
      const reason = REASON_OF_FAULT[fault];
      const condition = `${status} ${reason}`;
      const begun = thisSecond();
      await breakNode(cluster(), cluster().node(node), fault);
      const lost = await waitForNode(cluster(), node, (now) => now.condition === condition, 90_000);
      assert.deepEqual([lost.ready, lost.provenBy], ['false', '']);
      await eventOn(node, reason, begun);
      await waitForMetric(cluster(), node, `gvisor_node_reason{reason="${reason}"} 1`);
      await waitForMetric(cluster(), node, `gvisor_node_status{status="${status}"} 1`);
      const healed = thisSecond();
      await healNode(cluster(), cluster().node(node), fault);
      const proven = ({ ready, condition }: Readiness) =>
        `${ready} ${condition}` === 'true True SandboxProven';
      assert.notEqual((await waitForNode(cluster(), node, proven, 90_000)).provenBy, '');
      await eventOn(node, 'SandboxProven', healed);
    });
  }
});

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

type Readiness = Awaited<ReturnType<typeof waitForNode>>;

/** The current time in whole seconds, the resolution of events. */
function thisSecond(): Date {
  return new Date(Math.floor(Date.now() / 1000) * 1000);
}

async function eventOn(node: string, reason: string, since: Date): Promise<void> {
  await waitFor(`the event ${reason} on ${node}`, 20_000, async () => {
    const fields = ['involvedObject.kind=Node', `involvedObject.name=${node}`, `reason=${reason}`];
    const query = new URLSearchParams({ fieldSelector: [...fields, 'source=gvisor-ready'].join(',') });
    const { items } = JSON.parse(await cluster().get(`/api/v1/namespaces/default/events?${query}`)) as {
      items: readonly { lastTimestamp: string }[];
    };
    return items.some(({ lastTimestamp }) => new Date(lastTimestamp) >= since);
  });
}

async function anotherAgent(node: string, restarts: number): Promise<void> {
  await waitFor(`another agent on ${node}`, 60_000, async () => {
    const next = await agentOn(cluster(), node);
    return next.restarts > restarts && next.ready;
  });
}
