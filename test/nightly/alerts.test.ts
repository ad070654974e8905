import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import { breakNode, healNode } from '../../cluster/faults/break-node.ts';
import { breakAndWait, healAndWait } from '../../cluster/story.ts';
import { waitFor } from '../../hack/run.ts';
import type { Report } from '../../lib/report/report.ts';
import { agentOn, agentPids, onDaemonSet } from '../e2e/agents.ts';
import {
  applyAgents,
  POOL,
  removeOutside,
  runOutside,
  useMonitoredCluster,
  usePool,
  watchAlerts,
} from '../e2e/monitored-cluster.ts';

const monitored = useMonitoredCluster();
const cluster = () => monitored().cluster;
const node = (name: string) => cluster().node(name);
const { find, fires, resolves } = watchAlerts(() => monitored().prometheus);

const ONE_BY_ONE = { op: 'replace', path: '/spec/updateStrategy/rollingUpdate/maxUnavailable', value: 1 };
/** The kubelet waits only for volumes that a container mounts. */
const MISSING = [
  { path: 'volumes', value: { name: 'missing', configMap: { name: 'no-such-config-map' } } },
  { path: 'containers/0/volumeMounts', value: { name: 'missing', mountPath: '/missing' } },
];
/** The base has four volumes, each mounted. */
const ADD_MISSING = MISSING.map(({ path, value }) => ({
  op: 'add',
  path: `/spec/template/spec/${path}/4`,
  value,
}));
const REMOVE_MISSING = ADD_MISSING.map(({ path }) => ({ op: 'remove', path }));

/** The expressions are tested in `test/monitoring`; here real agents and kube-state-metrics provide the series. */
describe('the alerts, on a real Prometheus that scrapes real agents', () => {
  before(() => usePool(cluster()));

  it('have every agent with its node as a label', async () => {
    const up = () => monitored().prometheus.query('up{job="gvisor-ready-agent"} == 1');
    await waitFor('two agents to be up', 60_000, async () => (await up()).length === 2);
    const nodes = (await up()).map(({ metric }) => metric.node);
    assert.deepEqual(nodes.sort(), ['node-1', 'node-2']);
  });

  it('GVisorNodeNotReady fires with the reason, and resolves when the node recovers', async () => {
    await breakAndWait(cluster(), 'node-1', 'shim-missing');
    const { labels, annotations } = await fires('GVisorNodeNotReady', 'node-1');
    assert.equal(labels.severity, 'warning');
    assert.match(annotations.description ?? '', /^Node node-1 is not ready for gVisor: ShimNotFound\./);
    await healAndWait(cluster(), 'node-1');
    await resolves('GVisorNodeNotReady', 'node-1');
  });

  it('GVisorUnsandboxedPods fires for a plain pod where gVisor is required, and resolves when it is gone', async () => {
    await runOutside(cluster());
    const { labels, annotations } = await fires('GVisorUnsandboxedPods', 'node-1');
    assert.equal(labels.severity, 'critical');
    assert.match(annotations.description ?? '', /node-1: 1 of the pods of namespaces labelled /);
  });

  it('GVisorAgentDown fires for an agent that does not respond, while GVisorUnsandboxedPods keeps firing', async () => {
    await fires('GVisorUnsandboxedPods', 'node-1');
    const { machine } = node('node-1');
    const pids = agentPids(machine);
    await machine.kill('STOP', pids);
    await fires('GVisorAgentDown', 'node-1');
    const { annotations } = await fires('GVisorUnsandboxedPods', 'node-1');
    assert.match(
      annotations.description ?? '',
      /node-1: 1 of the pods .*, as reported before its agent stopped responding\./,
    );
    await machine.kill('CONT', pids);
    await resolves('GVisorAgentDown', 'node-1');
    await removeOutside(cluster());
    await resolves('GVisorUnsandboxedPods', 'node-1');
  });

  it('GVisorVerificationStale and GVisorPodsUnseen fire while containerd hangs and the node is still ready', async () => {
    await breakNode(cluster(), node('node-1'), 'containerd-hung');
    const { annotations } = await fires('GVisorVerificationStale', 'node-1');
    assert.match(annotations.description ?? '', /every 10s\.$/);
    const podsUnseen = await fires('GVisorPodsUnseen', 'node-1');
    assert.match(
      podsUnseen.annotations.description ?? '',
      /^The agent on node node-1 last read its pods 1m /,
    );
    // As in the runbooks, because `kubectl logs` needs containerd.
    const { name } = await agentOn(cluster(), 'node-1');
    const path = `/api/v1/namespaces/gvisor-ready/pods/${name}:9477/proxy/report`;
    const report = JSON.parse(await cluster().kubectl(['get', '--raw', path])) as Report;
    assert.equal(report.evaluation.verdict.reason, 'CheckTimedOut');
    await healNode(cluster(), node('node-1'));
    await resolves('GVisorVerificationStale', 'node-1');
    await resolves('GVisorPodsUnseen', 'node-1');
  });

  it('GVisorAgentDown fires for an agent that stays in ContainerCreating', async () => {
    await onDaemonSet(
      cluster(),
      ['patch'],
      ['--type=json', `-p=${JSON.stringify([...ADD_MISSING, ONE_BY_ONE])}`],
    );
    const { labels } = await fires('GVisorAgentDown');
    assert.match(labels.node ?? '', /^node-[12]$/);
    assert.equal(await find('GVisorLabelWithoutAgent'), undefined);
    assert.equal(await find('GVisorAgentsMissing'), undefined);
    await onDaemonSet(cluster(), ['patch'], ['--type=json', `-p=${JSON.stringify(REMOVE_MISSING)}`]);
    await applyAgents(cluster(), POOL);
    await resolves('GVisorAgentDown');
  });
});
