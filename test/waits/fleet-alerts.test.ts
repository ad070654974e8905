import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { parse } from 'yaml';
import { type Prometheus, startPrometheus } from '../../cluster/control-plane/prometheus.ts';
import { breakNode, healNode } from '../../cluster/faults/break-node.ts';
import { REPO } from '../../hack/paths.ts';
import { GVISOR_NODES, useCluster } from '../e2e/e2e-cluster.ts';
import {
  deployQuickFleet,
  disableAgents,
  enableAgents,
  restoreAgents,
  scaleFleet,
} from '../e2e/fleet-cluster.ts';
import { shortenRules } from '../e2e/monitored-cluster.ts';
import { watchAlerts } from '../e2e/watch-alerts.ts';
import type { RuleFile } from '../monitoring/alerts.ts';

const cluster = useCluster();
const read = (file: string) => readFile(join(REPO, 'manifests/components', file), 'utf8');

describe('the alerts of the fleet controller, with a real Prometheus', () => {
  let prometheus: Prometheus;
  const { fires, resolves } = watchAlerts(() => prometheus);

  before(async () => {
    await deployQuickFleet(cluster());
    await cluster().kubectl(['apply', '-f', join(REPO, 'manifests/components/monitoring/scrape-rbac.yaml')]);
    const rules = shortenRules(parse(await read('monitoring-fleet/rules.yaml')) as RuleFile);
    prometheus = await startPrometheus(cluster(), {
      scrapeConfigs: [
        await read('monitoring/scrape-config.yaml'),
        await read('monitoring-fleet/scrape-config.yaml'),
      ],
      rules: [JSON.stringify(rules)],
    });
  });
  after(async () => {
    await restoreAgents(cluster());
    for (const name of ['prometheus', 'relay-prometheus']) await cluster().controlPlane.stopDaemon(name);
    await cluster().kubectl(['delete', 'namespace', 'monitoring']);
  });

  it('GVisorFleetAgentLost fires for a lost agent, and resolves with its next proof', async () => {
    await disableAgents(cluster(), 'node-1');
    const { annotations } = await fires('GVisorFleetAgentLost');
    assert.match(annotations.summary ?? '', /: 1\.$/);
    await enableAgents(cluster(), 'node-1');
    await resolves('GVisorFleetAgentLost');
  });

  it('GVisorFleetHeld and GVisorFleetLabelWithoutAgent fire while the circuit breaker is open, and resolve', async () => {
    await disableAgents(cluster(), ...GVISOR_NODES);
    const held = await fires('GVisorFleetHeld');
    assert.equal(held.labels.reason, 'TooManyLost');
    const { annotations } = await fires('GVisorFleetLabelWithoutAgent', 'node-2');
    assert.match(annotations.description ?? '', /it is paused by TooManyLost;/);
    await enableAgents(cluster(), ...GVISOR_NODES);
    await resolves('GVisorFleetHeld');
    await resolves('GVisorFleetLabelWithoutAgent');
  });

  it('GVisorFleetLabelOutdated fires when an agent lacks permission to write its Node, and resolves', async () => {
    await cluster().kubectl(['delete', 'clusterrolebinding', 'gvisor-ready-agent']);
    await breakNode(cluster(), cluster().node('node-1'), 'shim-missing');
    const { annotations } = await fires('GVisorFleetLabelOutdated', 'node-1');
    assert.match(
      annotations.description ?? '',
      /its agent says ShimNotFound: the agent cannot write its Node\.$/,
    );
    await cluster().kubectl(['apply', '-k', join(REPO, 'manifests/base')]);
    await resolves('GVisorFleetLabelOutdated', 'node-1');
    await healNode(cluster(), cluster().node('node-1'));
  });

  it('GVisorFleetUnseen fires without a controller, and resolves with one', async () => {
    await scaleFleet(cluster(), 0);
    await fires('GVisorFleetUnseen');
    await scaleFleet(cluster(), 1);
    await resolves('GVisorFleetUnseen');
  });
});
