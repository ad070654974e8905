import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Cluster } from '../../cluster/cluster.ts';
import { breakNode, healNode } from '../../cluster/faults/break-node.ts';
import { FAULTS } from '../../cluster/faults/faults.ts';
import { patient } from '../../hack/run.ts';
import { useOwnCluster } from '../e2e/e2e-cluster.ts';
import { REASON_OF_FAULT } from '../reason-of-fault.ts';
import { NODES as CHOSEN, connect, proveOn } from './integration-cluster.ts';
import { type Change, OutsideAgent } from './outside-agent.ts';

const OTHER = 'runsc-debug';
/** Faults of "runsc", one for each part; integration/faults has all. */
const BROKEN = ['shim-missing', 'runsc-cannot-boot', 'handler-removed'] as const;
const NODES = CHOSEN.slice(0, 2).map((node) => ({ ...node, additional: [OTHER] }));

let cluster: Cluster;
useOwnCluster('two-handlers', NODES, async (started) => (cluster = started), ['workload']);

const isProven = ({ reason }: Change) => reason === 'SandboxProven';

describe('two handlers on a node', () => {
  for (const fault of BROKEN)
    it(`${fault} changes nothing of the other handler, whichever is the main one`, {
      timeout: patient(240_000),
    }, async () => {
      await Promise.all(NODES.map(({ name }) => breakOne(name, fault, REASON_OF_FAULT[fault])));
    });
});

/** Breaks "runsc" under an agent for which it is the additional handler, and under one for which it is the main one. */
async function breakOne(name: string, fault: keyof typeof FAULTS, reason: string): Promise<void> {
  const node = cluster.node(name);
  const additional = new OutsideAgent(node, { HANDLERS: `${OTHER},runsc` });
  const main = new OutsideAgent(node, { HANDLERS: `runsc,${OTHER}` });
  const agents = [additional, main];
  try {
    for (const agent of agents) await agent.change(0, isProven, 60_000, agent.additional);
    await breakNode(cluster, node, fault);
    await additional.change(1, () => true, 120_000, additional.additional);
    await main.change(1, () => true, 120_000);
    using client = connect(node);
    const other = await proveOn(node, client, 'other', OTHER);
    assert.equal(other.kind, 'proven', other.message);
    await healNode(cluster, node, fault);
    await additional.change(2, isProven, 120_000, additional.additional);
    await main.change(2, isProven, 120_000);
    const transient = FAULTS[fault].part === 'handler' ? 'RestartPending' : undefined;
    const reasonsOf = (changes: readonly Change[]) =>
      changes.map((each) => each.reason).filter((each) => each !== transient);
    for (const broken of [additional.additional, main.changes])
      assert.deepEqual(
        reasonsOf(broken),
        ['SandboxProven', reason, 'SandboxProven'],
        `${name}: ${broken.at(1)?.message}`,
      );
    for (const untouched of [additional.changes, main.additional])
      assert.deepEqual(reasonsOf(untouched), ['SandboxProven'], `${name}: ${untouched.at(1)?.message}`);
  } finally {
    await healNode(cluster, node);
    await Promise.all(agents.map((agent) => agent.stop()));
  }
}
