import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { breakAndWait, healAndWait } from '../../cluster/faults/break-node.ts';
import type { Prometheus } from '../../cluster/services/prometheus.ts';
import { patient, waitFor } from '../../hack/run.ts';
import { useCluster } from '../e2e/e2e-cluster.ts';
import { readRules } from '../monitoring/alerts.ts';
import { deployOperator, received, removeOperator } from './operator-stack.ts';

const cluster = useCluster();

type Rule = { readonly name: string; readonly health: string; readonly lastError?: string };
type Rules = { readonly data: { readonly groups: readonly { readonly rules: readonly Rule[] }[] } };

describe('the monitoring components, under a real Prometheus operator', () => {
  let prometheus: Prometheus;
  before(
    async () => {
      prometheus = await deployOperator(cluster());
    },
    { timeout: patient(600_000) },
  );
  after(() => removeOperator(cluster()));

  it('make Prometheus scrape every agent, with its node as a label', async () => {
    const up = () => prometheus.query('up{job="gvisor-ready-agent"} == 1');
    await waitFor('three agents to be up', 60_000, async () => (await up()).length === 3);
    const nodes = (await up()).map(({ metric }) => metric.node);
    assert.deepEqual(nodes.sort(), ['node-1', 'node-2', 'node-3']);
  });

  it('load every rule, without evaluation errors', async () => {
    const rules = (await readRules()).groups.flatMap((group) => group.rules);
    const expected = rules.map((rule) => `${'alert' in rule ? rule.alert : rule.record} ok `);
    await waitFor('every rule to be evaluated', 60_000, async () => {
      const { data } = (await (await fetch(`${prometheus.url}/api/v1/rules`)).json()) as Rules;
      const found = data.groups.flatMap(({ rules }) => rules);
      const states = found.map(({ name, health, lastError = '' }) => `${name} ${health} ${lastError}`);
      assert.deepEqual(states.sort(), expected.toSorted());
      return true;
    });
  });

  it('deliver a fault and its repair through Alertmanager to a receiver', async () => {
    const alert = { alertname: 'GVisorNodeNotReady', node: 'node-1' };
    await breakAndWait(cluster(), 'node-1', 'shim-missing');
    const { labels, annotations } = await received(cluster(), 'firing', alert);
    assert.equal(labels.severity, 'warning');
    assert.match(annotations.description ?? '', /^Node node-1 is not ready for gVisor: ShimNotFound\./);
    await healAndWait(cluster(), 'node-1');
    await received(cluster(), 'resolved', alert);
  });
});
