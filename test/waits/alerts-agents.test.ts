import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import type { Report } from '../../agent/report.ts';
import { breakNode, healNode } from '../../cluster/faults/break-node.ts';
import { healAndWait } from '../../cluster/story.ts';
import { waitFor } from '../../hack/run.ts';
import { agentOn, agentPids, onDaemonSet } from '../e2e/agents.ts';
import {
  applyAgents,
  POOL,
  removeOutside,
  runOutside,
  useMonitoredCluster,
  usePool,
} from '../e2e/monitored-cluster.ts';
import { watchAlerts } from '../e2e/watch-alerts.ts';

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
const WITH_IT = MISSING.map(({ path, value }) => ({
  op: 'add',
  path: `/spec/template/spec/${path}/4`,
  value,
}));
const WITHOUT_IT = WITH_IT.map(({ path }) => ({ op: 'remove', path }));

describe('the alerts on what cannot be seen, on real agents that a real Prometheus scrapes', () => {
  before(() => usePool(cluster()));

  it('GVisorVerificationStale and GVisorPodsUnseen fire while containerd hangs and the node counts as ready', async () => {
    await breakNode(cluster(), node('node-1'), 'containerd-hung');
    const { annotations } = await fires('GVisorVerificationStale', 'node-1');
    assert.match(annotations.description ?? '', /every 10s\.$/);
    const unseen = await fires('GVisorPodsUnseen', 'node-1');
    assert.match(unseen.annotations.description ?? '', /^The agent on node node-1 last read its pods 1m /);
    // What the runbooks say, since the kubelet answers no `kubectl logs` now.
    const { name } = await agentOn(cluster(), 'node-1');
    const path = `/api/v1/namespaces/gvisor-ready/pods/${name}:9477/proxy/report`;
    const report = JSON.parse(await cluster().kubectl(['get', '--raw', path])) as Report;
    assert.equal(report.evaluation.verdict.reason, 'CheckTimedOut');
    await healNode(cluster(), node('node-1'));
    await resolves('GVisorVerificationStale', 'node-1');
    await resolves('GVisorPodsUnseen', 'node-1');
  });

  it('GVisorPodsUnseen fires for an agent that may not list namespaces, and resolves when it may', async () => {
    await runOutside(cluster());
    const rules = await cluster().kubectl(['get', 'clusterrole', 'gvisor-ready-agent', '-o', 'json']);
    const role = JSON.parse(rules) as { rules: { resources: readonly string[] }[] };
    role.rules = role.rules.filter(({ resources }) => !resources.includes('namespaces'));
    await cluster().kubectl(['replace', '-f', '-'], JSON.stringify(role));
    await cluster().kubectl(['delete', 'pod', '-n', 'gvisor-ready', '--all']);
    // Until a new agent has read its pods for the first time, the alert fires for these as well.
    const { annotations } = await waitFor('GVisorPodsUnseen to fire for namespaces', 120_000, async () => {
      const alert = await find('GVisorPodsUnseen', 'node-1');
      return alert?.labels.unseen === 'namespaces' ? alert : undefined;
    });
    assert.match(annotations.description ?? '', /^The agent on node node-1 has never heard which namespaces/);
    await applyAgents(cluster(), POOL);
    await resolves('GVisorPodsUnseen', 'node-1');
  });

  it('GVisorAgentDown fires for an agent that does not answer, and GVisorUnsandboxedPods goes on meanwhile', async () => {
    await fires('GVisorUnsandboxedPods', 'node-1');
    const { machine } = node('node-1');
    const pids = agentPids(machine);
    await machine.kill('STOP', pids);
    await fires('GVisorAgentDown', 'node-1');
    const { annotations } = await fires('GVisorUnsandboxedPods', 'node-1');
    assert.match(annotations.description ?? '', /as reported before its agent stopped responding/);
    await machine.kill('CONT', pids);
    await resolves('GVisorAgentDown', 'node-1');
    await removeOutside(cluster());
    await resolves('GVisorUnsandboxedPods', 'node-1');
  });

  it('GVisorAgentNotStarted fires for an agent that stays in ContainerCreating', async () => {
    await onDaemonSet(
      cluster(),
      ['patch'],
      ['--type=json', `-p=${JSON.stringify([...WITH_IT, ONE_BY_ONE])}`],
    );
    const { labels } = await fires('GVisorAgentNotStarted');
    assert.match(labels.node ?? '', /^node-[12]$/);
    assert.equal(await find('GVisorLabelWithoutAgent'), undefined);
    assert.equal(await find('GVisorAgentsMissing'), undefined);
    await onDaemonSet(cluster(), ['patch'], ['--type=json', `-p=${JSON.stringify(WITHOUT_IT)}`]);
    await applyAgents(cluster(), POOL);
    await resolves('GVisorAgentNotStarted');
  });

  it('GVisorLabelOutdated fires when the agent may not write its Node', async () => {
    await cluster().kubectl(['delete', 'clusterrolebinding', 'gvisor-ready-agent']);
    await breakNode(cluster(), node('node-1'), 'shim-missing');
    const { annotations } = await fires('GVisorLabelOutdated', 'node-1');
    assert.match(
      annotations.description ?? '',
      /its agent says ShimNotFound: the agent cannot write its Node\.$/,
    );
    await applyAgents(cluster(), POOL);
    await resolves('GVisorLabelOutdated', 'node-1');
    await healAndWait(cluster(), 'node-1');
  });

  it('GVisorAgentsMissing and GVisorLabelWithoutAgent fire when the agents are deleted', async () => {
    await cluster().kubectl(['delete', 'daemonset', 'gvisor-ready-agent', '-n', 'gvisor-ready']);
    await fires('GVisorAgentsMissing');
    await fires('GVisorLabelWithoutAgent', 'node-1');
    for (const alert of ['GVisorNoNodeReady', 'GVisorAgentDown', 'GVisorAgentNotStarted'])
      assert.equal(await find(alert), undefined);
    await applyAgents(cluster(), POOL);
    await resolves('GVisorAgentsMissing');
    await resolves('GVisorLabelWithoutAgent', 'node-1');
  });
});
