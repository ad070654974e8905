import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { REASONS, type Reason } from '../../agent/reasons.ts';
import { breakNode, healNode } from '../../cluster/faults/break-node.ts';
import type { FaultName } from '../../cluster/faults/faults.ts';
import { formatTable } from '../../cluster/table.ts';
import { waitFor } from '../../hack/run.ts';
import { touch } from '../integration/outside-agent.ts';
import { faultsWith, type HarmlessFault } from '../reason-of-fault.ts';
import { agentOn, deployWith, readMetrics, waitForNode } from './agents.ts';
import { provenAgain } from './disturb.ts';
import { useCluster } from './e2e-cluster.ts';
import { hidePressure, showPressure } from './quiet.ts';

const cluster = useCluster();
/** A node with containerd 2 and one with 1.7. */
const NODES = ['node-1', 'node-2'] as const;
/** Faults that take long to be seen, and so are tried on this node alone; all others on both. */
const ONLY: Partial<Record<FaultName, (typeof NODES)[number]>> = {
  'runsc-hangs': 'node-1',
  'containerd-stopped': 'node-1',
  'containerd-hung': 'node-2',
  'pause-image-missing': 'node-2',
};
/** The label stays: what to wait for while the fault holds, on which node whose agent had restarted so often before. */
const KEPT: Record<
  HarmlessFault,
  { readonly node: string; readonly until: (restarts: number) => Promise<unknown> }
> = {
  'handler-edited': {
    node: 'node-1',
    until: () => metric('node-1', 'gvisor_check_status{check="handler-current",status="fail"} 1'),
  },
  'kubelet-stopped': { node: 'node-1', until: () => anotherProof('node-1') },
  'agent-killed': { node: 'node-2', until: (restarts) => anotherAgent('node-2', restarts) },
  'api-down': { node: 'node-2', until: () => healNode(cluster(), cluster().node('node-2'), 'api-down') },
};
const rows: string[][] = [];

describe('every fault', () => {
  after(() => {
    const head = ['fault', 'node', 'label', 'condition', 'event', 'metric', 'seen', 'recovered'];
    console.log(formatTable([head, ...rows]));
  });

  describe('of gVisor or of what it needs', { concurrency: 2 }, () => {
    before(async () => {
      for (const node of NODES) await hidePressure(cluster().node(node));
      await deployWith(cluster(), { UNKNOWN_GRACE: '2s' });
      for (const node of NODES) await waitForNode(cluster(), node, ({ ready }) => ready === 'true');
    });
    after(async () => {
      for (const node of NODES) await showPressure(cluster().node(node));
      await deployWith(cluster());
    });
    for (const node of NODES) {
      describe(`on ${node}`, { concurrency: 1 }, () => {
        for (const [fault, reason] of [...faultsWith('False'), ...faultsWith('Unknown')]) {
          if (node === (ONLY[fault] ?? node))
            it(`${fault}: label, condition, event, metric, and recovery`, () => see(fault, node, reason));
        }
      });
    }
  });

  describe('of anything else', () => {
    for (const [fault, { node, until }] of Object.entries(KEPT)) {
      it(`${fault}: the label stays, and no transition is written`, () =>
        keep(fault as FaultName, node, until));
    }
  });
});

/** Breaks and heals a node, and sees the verdict everywhere that it is told. */
async function see(fault: FaultName, node: string, reason: Reason): Promise<void> {
  const { status } = REASONS[reason];
  const condition = `${status} ${reason}`;
  const begunAt = thisSecond();
  const begun = performance.now();
  await breakNode(cluster(), cluster().node(node), fault);
  if (fault === 'pause-image-missing') await touch(cluster().node(node)); // no file tells of an image that went
  const said = await waitForNode(cluster(), node, (now) => now.condition === condition, 90_000);
  const seenS = (performance.now() - begun) / 1000;
  assert.equal(said.ready, 'false');
  assert.equal(said.provenBy, '');
  await eventOn(node, reason, begunAt);
  await metric(node, `gvisor_node_reason{reason="${reason}"} 1`);
  await metric(node, `gvisor_node_status{status="${status}"} 1`);
  const healing = performance.now();
  const healedAt = thisSecond();
  await healNode(cluster(), cluster().node(node), fault);
  const back = await waitForNode(cluster(), node, ({ ready }) => ready === 'true', 90_000);
  const recoveredS = (performance.now() - healing) / 1000;
  await waitForNode(cluster(), node, (now) => now.condition === 'True SandboxProven');
  await eventOn(node, 'SandboxProven', healedAt);
  assert.notEqual(back.provenBy, '');
  const seconds = (value: number) => `${value.toFixed(1)} s`;
  rows.push([fault, node, 'false', condition, reason, reason, seconds(seenS), seconds(recoveredS)]);
}

/** Breaks and heals a node, and sees that nothing was withdrawn in between. */
async function keep(
  fault: FaultName,
  node: string,
  until: (restarts: number) => Promise<unknown>,
): Promise<void> {
  const { restarts } = await agentOn(cluster(), node);
  const before = await waitForNode(cluster(), node, ({ condition }) => condition === 'True SandboxProven');
  await breakNode(cluster(), cluster().node(node), fault);
  await until(restarts);
  if (fault === 'handler-edited' || fault === 'kubelet-stopped')
    assertKept(await waitForNode(cluster(), node, () => true), before);
  await healNode(cluster(), cluster().node(node), fault);
  await waitFor('the API server', 60_000, () => waitForNode(cluster(), node, () => true));
  await cluster().waitForNodes([node]);
  await provenAgain(cluster(), node);
  assertKept(await waitForNode(cluster(), node, () => true), before);
  rows.push([fault, node, 'stays true', 'stays True', '', '', '', '']);
}

type Said = Awaited<ReturnType<typeof waitForNode>>;
function assertKept(now: Said, before: Said): void {
  assert.deepEqual([now.ready, now.condition, now.since], ['true', 'True SandboxProven', before.since]);
}

/** As events tell it: in whole seconds. */
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
    return items.some(({ lastTimestamp }) => new Date(lastTimestamp) >= since) || undefined;
  });
}

async function metric(node: string, line: string): Promise<void> {
  await waitFor(
    `the metric ${line} of ${node}`,
    20_000,
    async () => (await readMetrics(cluster(), node)).split('\n').includes(line) || undefined,
  );
}

async function anotherProof(node: string): Promise<void> {
  const proofs = async () => {
    const text = await readMetrics(cluster(), node);
    return Number(/^gvisor_probes_total\{outcome="proven"\} (\d+)$/m.exec(text)?.[1]);
  };
  const first = await proofs();
  await touch(cluster().node(node));
  await waitFor(`another proof on ${node}`, 40_000, async () => (await proofs()) > first || undefined);
}

async function anotherAgent(node: string, restarts: number): Promise<void> {
  await waitFor(`another agent on ${node}`, 60_000, async () => {
    const next = await agentOn(cluster(), node);
    return (next.restarts > restarts && next.ready) || undefined;
  });
}
