import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import pino from 'pino';
import { Agent } from '../../agent/agent.ts';
import { Announcer } from '../../agent/announcer.ts';
import type { Evaluation } from '../../agent/evaluate.ts';
import { hasTraces } from '../../agent/expected.ts';
import { Metrics } from '../../agent/http/metrics.ts';
import { NodePublisher } from '../../agent/publish/publisher.ts';
import { renderReport } from '../../agent/text/terminal.ts';
import { fleetNodeOf } from '../../lib/fleet/objects.ts';
import { statementOf } from '../../lib/fleet/refutation.ts';
import { viewFleet } from '../../lib/fleet/view.ts';
import type { Installation } from '../../lib/host/installation.ts';
import type { Status } from '../../lib/report/report.ts';
import type { Verdict } from '../../lib/report/verdict.ts';
import { waitUntil } from '../agent/publish/publisher-of.ts';
import { PASSED, PROVEN, PROVEN_VERDICT, unproven, verdictOf } from '../agent/reports.ts';
import { INSTALLATIONS } from '../agent/sample-installations.ts';
import { openFleet, setNode, setReport } from '../kubectl/fleet.ts';
import { nodeObject } from '../kubectl/fleet-objects.ts';
import { EMPTY_FLEET, simulatedAgent } from '../lib/fleet/simulated-fleet.ts';
import { type FakeApiServer, fakeApiServer } from '../lib/kube/fake-api-server.ts';
import { OTHERS } from './causes.ts';
import { agent as agentSeries, always, kube, type Series, WITHDRAWN } from './fleet.ts';
import { assertQueries } from './promtool.ts';

const DOMAIN = 'gvisor.node-restriction.kubernetes.io';
const BOOT = 'boot-2';
const NODE = 'node="node-1"';

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
    say: (_, seen) => announcer.say(seen),
  });
  const proof = verdict.status === 'True' ? PROVEN : unproven('failed', verdict.reason);
  const evaluation: Evaluation = { verdict, seenMs: 0, findings: [PASSED], proof, facts: {}, watch: [] };
  const announcer = new Announcer({
    expectGvisor: false,
    traces: hasTraces,
    log,
    ...clock,
    count: (report) => metrics.count(report),
    show: (report) => metrics.publish(report),
    write: (report) => publisher.publish(report),
  });
  const agent = new Agent({
    version: '0.1.0',
    facts: {},
    log,
    ...clock,
    announcer,
    config: {
      nodeName: 'node-1',
      handler: 'runsc',
      proofIntervalMs: 600_000,
      confirmMs: 0,
      graceMs: 0,
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
  const { report } = announcer;
  assert.ok(report !== undefined);
  const nodeWrites = { ...publisher.nodeWrites };
  const node = nodeObject('node-1');
  Object.assign(node.metadata, { labels: { ...node.metadata.labels, ...server.node.labels } });
  Object.assign(node.status, {
    conditions: [...node.status.conditions.slice(0, 1), ...server.node.conditions],
  });
  return {
    label: server.node.labels[`${DOMAIN}/ready`],
    condition: `${status} ${reason}`,
    metric: `${/node_status\{status="(\w+)"\} 1/.exec(body)?.[1]} ${/node_reason\{reason="(\w+)"\}/.exec(body)?.[1]}`,
    report: `${report.verdict.status} ${report.verdict.reason}`,
    history: report.history[0] && `${report.history[0].status} ${report.history[0].reason}`,
    terminal: /^ {2}(\w+)(:|$)/m.exec(renderReport(report, { colored: false, width: 200 }))?.[1],
    page: onPage(node, { ...report, nodeWrites }),
    status: await inStatus(t, node, { ...report, nodeWrites }),
    series: seriesOf(body),
  };
}

/** The reason of the node in its row on the fleet's page, and the reasons of the alarms. */
function onPage(node: object, report: Status): string {
  const statement = statementOf(report, 'node-1');
  const { alarms, nodes } = viewFleet({
    ...EMPTY_FLEET,
    nodes: [fleetNodeOf(node)],
    pods: [simulatedAgent('node-1')],
    statusOf: () => ({ version: '0.1.0', ...(statement && { statement }) }),
  });
  return [nodes[0]?.reason, ...alarms.map(({ reason }) => reason)].join(' ');
}

/** The reason of the node among the others of `kubectl gvisor-ready status`; "" if it counts as proven. */
async function inStatus(
  t: TestContext,
  node: ReturnType<typeof nodeObject>,
  report: Status,
): Promise<string> {
  const { api, run } = await openFleet(t);
  setNode(api, node);
  setReport(api, 'node-1', report);
  const { nodes } = JSON.parse((await run('status --output json')).out) as {
    nodes: { notProven: readonly { readonly reason: string; readonly nodes: readonly string[] }[] };
  };
  return nodes.notProven.find((group) => group.nodes.includes('node-1'))?.reason ?? '';
}

/** The verdict in an agent's metrics, as Prometheus reads it for an hour. */
function seriesOf(body: string): Readonly<Record<string, string>> {
  const samples = body.matchAll(/^(gvisor_ready_node_(?:status|reason|expected)\S*) (\S+)$/gm);
  return Object.fromEntries([...samples].map(([, name = '', value]) => [name, always(Number(value))]));
}

const NOT_READY = 'GVisorNodeNotReady';

describe('one verdict is in label, condition, metric, report, terminal, page, status and alert', () => {
  const broken = verdictOf('False', 'ShimNotFound');
  const labelled = ({ node }: FakeApiServer) => Object.assign(node.labels, { [`${DOMAIN}/ready`]: 'true' });
  const unguarded = (server: FakeApiServer) => Object.assign(server, { guarded: false });
  const rebooted = ({ node }: FakeApiServer) => Object.assign(node, { bootID: 'boot-1' });
  // biome-ignore format: one row a line
  for (const [what, verdict, circumstances, expected, alert] of [
    ['a proof', PROVEN_VERDICT, {}, 'True SandboxProven'],
    ['a failure', broken, { prepare: labelled }, 'False ShimNotFound', NOT_READY],
    ['an Unknown', verdictOf('Unknown', 'ContainerdUnreachable'), { prepare: labelled }, 'Unknown ContainerdUnreachable', NOT_READY],
    ['a failure during an installation', broken, { installation: INSTALLATIONS.atWork }, 'False InstallationUnderWay', NOT_READY],
    ['a proof without a policy in force', PROVEN_VERDICT, { prepare: unguarded }, 'Unknown WritesUnguarded', NOT_READY],
    ['a proof while the kubelet reports another boot', PROVEN_VERDICT, { prepare: rebooted }, 'Unknown NodeRebooted', NOT_READY],
  ] as const)
    it(`${what}: ${expected}, ${alert ?? 'no alert'}`, async (t) => {
      const { label, terminal, page, status, series, ...said } = await sayings(t, verdict, circumstances);
      assert.deepEqual(said, { condition: expected, metric: expected, report: expected, history: expected });
      const isProven = expected.startsWith('True');
      assert.equal(label, String(isProven));
      const [, reason = ''] = expected.split(' ');
      assert.deepEqual([terminal, page.split(' ')[0], status], [reason, reason, isProven ? '' : reason]);
      await assertAlerts({ ...agentSeries(NODE, series), ...kube(NODE, isProven ? {} : WITHDRAWN) }, alert);
    });

  it('a failure that the agent cannot write: only the Node still says True, and each screen says so', async (t) => {
    const prepare = (server: FakeApiServer) => {
      labelled(server);
      const proven = { type: 'GVisorReady', status: 'True', reason: 'SandboxProven' };
      server.node.conditions.push({ ...proven, message: '', lastTransitionTime: '2026-03-01T11:55:00Z' });
      server.script.push(...Array.from({ length: 100 }, () => ({ status: 401 })));
    };
    const { series, ...said } = await sayings(t, broken, { prepare });
    const refuted = 'False ShimNotFound';
    assert.deepEqual(said, {
      label: 'true',
      condition: 'True SandboxProven',
      metric: refuted,
      report: refuted,
      history: refuted,
      terminal: 'ShimNotFound',
      page: 'ShimNotFound LabelOutdated NoNodeReady',
      status: 'LabelOutdated',
    });
    await assertAlerts({ ...agentSeries(NODE, series), ...kube(NODE) }, 'GVisorLabelOutdated', NOT_READY);
  });
});

/** Asserts which alerts fire for the node after 45 min. */
async function assertAlerts(ofNode: Series, ...alerts: readonly (string | undefined)[]): Promise<void> {
  const firing = 'count by (alertname) (ALERTS{alertstate="firing", node="node-1"})';
  const expected = alerts.flatMap((alert) => (alert === undefined ? [] : [[`{alertname="${alert}"}`, 1]]));
  await assertQueries({ ...ofNode, ...OTHERS }, { [firing]: Object.fromEntries(expected) });
}
