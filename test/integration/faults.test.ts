import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { breakNode, healNode } from '../../cluster/faults/break-node.ts';
import type { FaultName } from '../../cluster/faults/fault-texts.ts';
import { FAULTS } from '../../cluster/faults/faults.ts';
import { OutsideAgent, touch } from '../../cluster/node/outside-agent.ts';
import { patient } from '../../hack/run.ts';
import { formatTable } from '../../hack/table.ts';
import type { Reason } from '../../lib/base/reasons.ts';
import { hidePressure, showPressure } from '../e2e/disturb.ts';
import { faultsWith } from '../reason-of-fault.ts';
import { NODES, type NodeName, useNodes } from './integration-cluster.ts';

/** Depends on the first request that a hanging containerd does not respond to. */
const HUNG: readonly Reason[] = ['CheckTimedOut', 'ContainerdUnreachable'];

const GRACE_MS = 2_000;

const { cluster, node } = useNodes();
const rows: string[][] = [];

describe("the agent's verdict on each fault", () => {
  describe('that breaks gVisor', () => {
    for (const [fault, reason] of faultsWith('False')) {
      itOnAll(`${fault}: ${reason}, without another verdict before`, (name) =>
        expectFailure(name, fault, reason),
      );
    }
  });

  describe('that makes a verdict impossible', () => {
    before(() => onAll((name) => hidePressure(node(name))));
    after(() => onAll((name) => showPressure(node(name))));
    const agents = useAgents({ UNKNOWN_GRACE: `${GRACE_MS}ms` });
    for (const [fault, reason] of faultsWith('Unknown')) {
      const reasons = fault === 'containerd-hung' ? HUNG : [reason];
      itOnAll(`${fault}: ${reasons.join(' or ')} after the grace period`, (name) =>
        expectUnknown(name, agents.get(name), fault, reasons),
      );
    }
  });

  after(() => {
    const order = Object.keys(FAULTS);
    rows.sort((a, b) => order.indexOf(a[0] ?? '') - order.indexOf(b[0] ?? ''));
    const head = ['fault', 'containerd', 'reason', 'seconds to detection', 'seconds to recovery'];
    console.log(`\n${formatTable([head, ...rows])}\n`);
  });
});

/** Starts a new agent, so that no probe or evaluation is running when the fault is injected. */
async function expectFailure(name: NodeName, fault: FaultName, reason: Reason): Promise<void> {
  const agent = new OutsideAgent(node(name));
  try {
    await agent.proven();
    const begun = performance.now();
    await breakNode(cluster(), node(name), fault);
    const { atMs } = await agent.change(1, ({ status }) => status !== 'True', 120_000);
    const healed = performance.now();
    await healNode(cluster(), node(name), fault);
    const back = await agent.proven(120_000);
    // During a repair a handler is on disk before it is loaded.
    const transient: Reason | undefined = FAULTS[fault].part === 'handler' ? 'RestartPending' : undefined;
    const published = agent.changes.slice(1).map((change) => change.reason);
    const lasting = published.filter((each) => each !== transient);
    assert.deepEqual(lasting, [reason, 'SandboxProven'], `${name}: ${textOf(agent, 1)}`);
    addRow(name, fault, reason, [atMs - begun, back.atMs - healed]);
  } finally {
    await agent.stop();
  }
}

async function expectUnknown(
  name: NodeName,
  agent: OutsideAgent | undefined,
  fault: FaultName,
  reasons: readonly Reason[],
): Promise<void> {
  assert.ok(agent !== undefined, `No agent evaluates ${name}`);
  await agent.proven();
  const from = agent.changes.length;
  const begun = performance.now();
  await breakNode(cluster(), node(name), fault);
  if (fault === 'pause-image-missing') await touch(node(name)); // no watched file changes
  const { status, reason, message, atMs } = await agent.change(from, () => true);
  assert.equal(status, 'Unknown', message);
  assert.ok(reasons.includes(reason), `${name}: ${reason}: ${message}`);
  const healed = performance.now();
  await healNode(cluster(), node(name), fault);
  const back = await agent.proven(120_000);
  const statuses = new Set(agent.changes.slice(from, -1).map((change) => change.status));
  assert.deepEqual([...statuses], ['Unknown'], `${name}: ${textOf(agent, from)}`);
  addRow(name, fault, reason, [atMs - begun, back.atMs - healed]);
}

function textOf(agent: OutsideAgent, from: number): string {
  return agent.changes
    .slice(from)
    .map(({ reason, message }) => `${reason}: ${message}`)
    .join('\n');
}

function addRow(name: NodeName, fault: FaultName, reason: string, times: readonly number[]): void {
  const seconds = times.map((ms) => (ms / 1000).toFixed(2));
  rows.push([fault, node(name).spec.containerd, reason, ...seconds]);
}

/** Runs an agent for each node during this suite, starting once it has proven the node. */
function useAgents(env: Readonly<Record<string, string>>): ReadonlyMap<NodeName, OutsideAgent> {
  const agents = new Map<NodeName, OutsideAgent>();
  before(
    () =>
      onAll(async (name) => {
        const agent = new OutsideAgent(node(name), env);
        agents.set(name, agent);
        await agent.proven();
      }),
    { timeout: patient(120_000) },
  );
  after(() => Promise.all([...agents.values()].map((agent) => agent.stop())));
  return agents;
}

/** A test on all nodes at once, which heals them even if it fails. */
function itOnAll(what: string, act: (name: NodeName) => Promise<void>): void {
  it(what, { timeout: patient(240_000) }, async () => {
    try {
      await onAll(act);
    } finally {
      await onAll((name) => healNode(cluster(), node(name)));
    }
  });
}

/** Waits for all nodes, even if one fails. */
async function onAll(act: (name: NodeName) => Promise<void>): Promise<void> {
  const ends = await Promise.allSettled(NODES.map(({ name }) => act(name)));
  const errors = ends.flatMap((end) => (end.status === 'rejected' ? [end.reason as Error] : []));
  if (errors.length > 0) throw new AggregateError(errors, errors.map(({ message }) => message).join('\n'));
}
