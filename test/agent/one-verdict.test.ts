import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import pino from 'pino';
import { Agent } from '../../agent/agent.ts';
import type { Evaluation } from '../../agent/evaluate.ts';
import { hasTraces } from '../../agent/expected.ts';
import type { Installation } from '../../agent/host/installation.ts';
import { Metrics } from '../../agent/http/metrics.ts';
import { NodePublisher } from '../../agent/node/publisher.ts';
import { renderReport } from '../../agent/text/terminal.ts';
import type { Verdict } from '../../agent/verdict.ts';
import { type FakeApiServer, fakeApiServer } from './fake-api-server.ts';
import { waitUntil } from './node/publisher-of.ts';
import { PASSED, PROVEN, PROVEN_VERDICT, unproven, verdictOf } from './reports.ts';
import { INSTALLATIONS } from './sample-installations.ts';

const DOMAIN = 'gvisor.node-restriction.kubernetes.io';
const BOOT = 'boot-2';

/** Everything that says the verdict of an agent whose evaluations all have this one. */
async function sayings(
  t: TestContext,
  verdict: Verdict,
  { installation, prepare }: { installation?: Installation; prepare?: (server: FakeApiServer) => void },
) {
  const { server, kube } = await fakeApiServer(t);
  prepare?.(server);
  const clock = { now: () => performance.now(), date: () => new Date() };
  const log = pino({ level: 'silent' });
  const metrics = new Metrics('0.1.0', 'runsc');
  const publisher = new NodePublisher({
    ...{ kube, log, node: 'node-1', taint: false, handlers: ['runsc'], fingerprint: '0.1.0+a', boot: BOOT },
    ...clock,
    onNode: (_, seen) => agent.noteNode(seen),
  });
  const proof = verdict.status === 'True' ? PROVEN : unproven('failed', verdict.reason);
  const evaluation: Evaluation = { verdict, seenMs: 0, findings: [PASSED], proof, facts: {}, watch: [] };
  const agent = new Agent({
    ...{ version: '0.1.0', facts: {}, traces: hasTraces, log, publishers: [metrics, publisher], ...clock },
    config: {
      ...{ nodeName: 'node-1', handler: 'runsc', expectGvisor: false, proofIntervalMs: 600_000 },
      ...{ confirmMs: 0, graceMs: 0 },
    },
    evaluator: { evaluate: async () => evaluation, markTolerated: async (same) => same },
    installation: async () => installation,
  });
  const stop = new AbortController();
  const done = publisher.run(stop.signal);
  t.after(async () => {
    stop.abort();
    await done;
  });
  for (let turn = 0; turn < 2; turn++) await agent.reconcile([{ kind: 'timer' }], stop.signal);
  const condition = () => server.node.conditions.find(({ type }) => type === 'GVisorReady');
  await waitUntil('the condition', () => condition() !== undefined);
  await new Promise((wake) => setTimeout(wake, 50)); // what is written next would contradict it
  const { status, reason } = condition() ?? {};
  const { body } = await metrics.text();
  const { report } = agent;
  return {
    label: server.node.labels[`${DOMAIN}/ready`],
    condition: `${status} ${reason}`,
    metric: `${/node_status\{status="(\w+)"\} 1/.exec(body)?.[1]} ${/node_reason\{reason="(\w+)"\}/.exec(body)?.[1]}`,
    report: `${report?.verdict.status} ${report?.verdict.reason}`,
    history: report?.history[0] && `${report.history[0].status} ${report.history[0].reason}`,
    terminal: report && / {2}(\w+): /.exec(renderReport(report, { colored: false, width: 200 }))?.[1],
  };
}

describe('one verdict is in the label, the condition, the metric, the report and on the terminal', () => {
  const broken = verdictOf('False', 'ShimNotFound');
  const labelled = ({ node }: FakeApiServer) => Object.assign(node.labels, { [`${DOMAIN}/ready`]: 'true' });
  const unguarded = (server: FakeApiServer) => Object.assign(server, { guarded: false });
  // biome-ignore format: one row a line
  for (const [what, verdict, circumstances, expected] of [
    ['a proof', PROVEN_VERDICT, {}, 'True SandboxProven'],
    ['a failure', broken, { prepare: labelled }, 'False ShimNotFound'],
    ['an Unknown', verdictOf('Unknown', 'ContainerdUnreachable'), { prepare: labelled }, 'Unknown ContainerdUnreachable'],
    ['a failure during an installation', broken, { installation: INSTALLATIONS.atWork }, 'False InstallationUnderWay'],
    ['a proof without a policy in force', PROVEN_VERDICT, { prepare: unguarded }, 'Unknown WritesUnguarded'],
    ['a proof while the kubelet reports another boot', PROVEN_VERDICT, { prepare: ({ node }: FakeApiServer) => Object.assign(node, { bootID: 'boot-1' }) }, 'Unknown NodeRebooted'],
  ] as const)
    it(`${what}: ${expected}`, async (t) => {
      const { label, terminal, ...said } = await sayings(t, verdict, circumstances);
      assert.deepEqual(said, { condition: expected, metric: expected, report: expected, history: expected });
      assert.equal(label, String(expected.startsWith('True')));
      assert.equal(terminal, expected.split(' ')[1]);
    });
});
