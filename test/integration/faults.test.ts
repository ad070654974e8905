import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Report } from '../../agent/agent.ts';
import type { Reason } from '../../agent/reasons.ts';
import { breakNode, healNode } from '../../cluster/faults/break-node.ts';
import { FAULTS, type FaultName } from '../../cluster/faults/faults.ts';
import { formatTable } from '../../cluster/table.ts';
import { patient } from '../../hack/run.ts';
import { hidePressure, showPressure } from '../e2e/quiet.ts';
import { faultsWith } from '../reason-of-fault.ts';
import { NODES, type NodeName, useNodes } from './integration-cluster.ts';
import { evaluationStartMs, OutsideAgent, touch } from './outside-agent.ts';

/** Depends on the first request that a hanging containerd does not respond to. */
const HUNG: readonly Reason[] = ['CheckTimedOut', 'ContainerdUnreachable'];

const GRACE_MS = 2_000;

const { cluster, node } = useNodes();
const agents = new Map<NodeName, OutsideAgent>();
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
    useAgents({ UNKNOWN_GRACE: `${GRACE_MS}ms` });
    for (const [fault, reason] of faultsWith('Unknown')) {
      const reasons = fault === 'containerd-hung' ? HUNG : [reason];
      itOnAll(`${fault}: ${reasons.join(' or ')} after the grace period`, (name) =>
        expectUnknown(name, fault, reasons),
      );
    }
  });

  describe('that does not affect gVisor', () => {
    useAgents({});
    itOnAll('handler-edited: proven, with the warning RestartPending', expectWarning);
    itOnAll('kubelet-stopped: proven', async (name) => {
      await breakNode(cluster(), node(name), 'kubelet-stopped');
      await expectProvenEvaluation(name);
      await healNode(cluster(), node(name), 'kubelet-stopped');
      addRow(name, 'kubelet-stopped', 'SandboxProven');
    });
    it('api-down: proven', async () => {
      const [first] = NODES;
      await breakNode(cluster(), node(first.name), 'api-down');
      await onAll(expectProvenEvaluation);
      await healNode(cluster(), node(first.name), 'api-down');
      for (const { name } of NODES) addRow(name, 'api-down', 'SandboxProven');
    });
    itOnAll('agent-killed: the next agent publishes only proven', async (name) => {
      await agentOf(name).stop('SIGKILL');
      const successor = new OutsideAgent(node(name));
      agents.set(name, successor);
      await successor.proven();
      assert.deepEqual(reasonsOf(successor), ['SandboxProven']);
      addRow(name, 'agent-killed', 'SandboxProven');
    });
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
    const published = reasonsOf(agent, 1).filter((each) => each !== transient);
    assert.deepEqual(published, [reason, 'SandboxProven'], `${name}: ${textOf(agent, 1)}`);
    addRow(name, fault, reason, [atMs - begun, back.atMs - healed]);
  } finally {
    await agent.stop();
  }
}

async function expectUnknown(name: NodeName, fault: FaultName, reasons: readonly Reason[]): Promise<void> {
  const agent = agentOf(name);
  await agent.proven();
  const from = agent.changes.length;
  const begun = performance.now();
  await breakNode(cluster(), node(name), fault);
  if (fault === 'pause-image-missing') await touch(node(name)); // no watched file changes
  const { status, reason, message, atMs } = await agent.change(from, () => true);
  assert.equal(status, 'Unknown', message);
  assert.ok(reasons.includes(reason), `${name}: ${reason}: ${message}`);
  assert.ok(atMs - begun >= GRACE_MS, `published after ${atMs - begun} ms`);
  const healed = performance.now();
  await healNode(cluster(), node(name), fault);
  const back = await agent.proven(120_000);
  const statuses = new Set(agent.changes.slice(from, -1).map((change) => change.status));
  assert.deepEqual([...statuses], ['Unknown'], `${name}: ${textOf(agent, from)}`);
  addRow(name, fault, reason, [atMs - begun, back.atMs - healed]);
}

async function expectWarning(name: NodeName): Promise<void> {
  const agent = agentOf(name);
  const from = agent.changes.length;
  const begun = performance.now();
  const warned = agent.nextReport(hasRestartPending);
  await breakNode(cluster(), node(name), 'handler-edited');
  const { verdict } = await warned;
  const detected = performance.now();
  assert.equal(verdict.reason, 'SandboxProven');
  const cleared = agent.nextReport((report) => !hasRestartPending(report));
  await healNode(cluster(), node(name), 'handler-edited');
  await cleared;
  assert.deepEqual(reasonsOf(agent, from), []);
  addRow(name, 'handler-edited', 'SandboxProven, warning RestartPending', [
    detected - begun,
    performance.now() - detected,
  ]);
}

function hasRestartPending({ findings }: Report): boolean {
  return findings.some(
    (finding) =>
      finding.status === 'fail' && finding.severity === 'warning' && finding.reason === 'RestartPending',
  );
}

/** Triggers an evaluation, and expects it and everything published so far to be proven. */
async function expectProvenEvaluation(name: NodeName): Promise<void> {
  const agent = agentOf(name);
  const sinceMs = Date.now();
  const next = agent.nextReport((report) => evaluationStartMs(report) >= sinceMs);
  await touch(node(name));
  const { evaluation, verdict, proof } = await next;
  assert.deepEqual(
    [evaluation.verdict.reason, verdict.reason, proof.kind],
    ['SandboxProven', 'SandboxProven', 'proven'],
  );
  assert.deepEqual(reasonsOf(agent), ['SandboxProven']);
}

function reasonsOf(agent: OutsideAgent, from = 0): readonly Reason[] {
  return agent.changes.slice(from).map(({ reason }) => reason);
}

function textOf(agent: OutsideAgent, from: number): string {
  return agent.changes
    .slice(from)
    .map(({ reason, message }) => `${reason}: ${message}`)
    .join('\n');
}

function addRow(name: NodeName, fault: FaultName, reason: string, times: readonly number[] = []): void {
  const seconds = [0, 1].map((at) => {
    const ms = times[at];
    return ms === undefined ? '' : (ms / 1000).toFixed(2);
  });
  rows.push([fault, node(name).spec.containerd, reason, ...seconds]);
}

function agentOf(name: NodeName): OutsideAgent {
  const agent = agents.get(name);
  assert.ok(agent !== undefined, `No agent evaluates ${name}`);
  return agent;
}

/** Runs an agent for each node during this suite, starting once it has proven the node. */
function useAgents(env: Readonly<Record<string, string>>): void {
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
