import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import { onDaemonSet } from '../e2e/agents.ts';
import { applyAgents, POOL, useMonitoredCluster, usePool, watchAlerts } from '../e2e/monitored-cluster.ts';

const monitored = useMonitoredCluster();
const cluster = () => monitored().cluster;
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
