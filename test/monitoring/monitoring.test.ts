import assert from 'node:assert/strict';
import { globSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { before, describe, it } from 'node:test';
import type { V1ConfigMap, V1DaemonSet } from '@kubernetes/client-node';
import { parse, parseAllDocuments } from 'yaml';
import { ensureTools } from '../../cluster/tools/tools.ts';
import { REPO } from '../../hack/paths.ts';
import { MONITORING } from '../../hack/prometheus-rules.ts';
import { run } from '../../hack/run.ts';
import type { Rendered } from '../manifests/chart-objects.ts';
import { alertsOf, readRules } from './alerts.ts';
import { documentedKustomization, writeKustomization } from './documented-kustomization.ts';

const TESTS = globSync('test/monitoring/GVisor*.yaml', { cwd: REPO });

let tools: Record<'prometheus' | 'schemas' | 'kubernetes', string>;
before(async () => {
  tools = await ensureTools(['prometheus', 'schemas', 'kubernetes']);
});

const promtool = (...args: readonly string[]) => run(join(tools.prometheus, 'promtool'), args, { cwd: REPO });

async function validate(kind: string, document: string): Promise<void> {
  await run(join(tools.schemas, 'schemas'), [kind], { input: document });
}

type Item = Rendered & Pick<V1ConfigMap, 'data'> & Pick<V1DaemonSet, 'spec'>;
type UnitTests = {
  readonly tests: readonly {
    readonly alert_rule_test: readonly { readonly exp_alerts: readonly unknown[] }[];
  }[];
};

describe('the alerting rules', () => {
  it('read recording rules that exist, as the dashboard does, and do not read alerts', async () => {
    const { groups } = await readRules();
    assert.equal(groups.length, 1);
    const rules = groups.flatMap((group) => group.rules);
    const recorded = rules.flatMap((rule) => ('record' in rule ? [rule.record] : []));
    const dashboard = await readFile(join(REPO, MONITORING, 'dashboard.json'), 'utf8');
    const read = [...rules.map(({ expr }) => expr), dashboard].flatMap(
      (text) => text.match(/\b\w+:gvisor_\w+:\w+\b/g) ?? [],
    );
    assert.deepEqual([...new Set(read)].sort(), recorded.toSorted());
    for (const { expr } of rules) assert.doesNotMatch(expr, /ALERTS/);
  });

  it("pass promtool's lint", async () => {
    const path = `${MONITORING}/rules.yaml`;
    assert.match(await promtool('check', 'rules', '--lint=all', '--lint-fatal', path), /SUCCESS/);
  });

  it('have one file of tests each', async () => {
    const expected = alertsOf(await readRules()).map(({ alert }) => `test/monitoring/${alert}.yaml`);
    assert.deepEqual(TESTS.toSorted(), expected.toSorted());
  });

  for (const path of TESTS) {
    it(`${basename(path, '.yaml')} fires, resolves and stays silent in promtool's unit tests`, async () => {
      const { tests } = parse(await readFile(join(REPO, path), 'utf8')) as UnitTests;
      const sequences = tests.map(({ alert_rule_test }) =>
        alert_rule_test.map(({ exp_alerts }) => (exp_alerts.length > 0 ? 'fires' : 'silent')).join(' '),
      );
      assert.ok(
        sequences.some((sequence) => sequence.includes('fires silent')),
        `no test in which it resolves: ${sequences}`,
      );
      assert.ok(
        sequences.some((sequence) => !sequence.includes('fires')),
        `no test in which it stays silent: ${sequences}`,
      );
      assert.match(await promtool('test', 'rules', path), /SUCCESS/);
    });
  }
});

describe('the monitoring component', () => {
  it('matches the schemas of the Prometheus operator and of Grafana', async () => {
    const kinds = {
      'pod-monitor.yaml': 'PodMonitor',
      'fleet-pod-monitor.yaml': 'PodMonitor',
      'prometheus-rule.yaml': 'PrometheusRule',
      'dashboard.json': 'dashboard',
    };
    for (const [file, kind] of Object.entries(kinds))
      await validate(kind, await readFile(join(REPO, MONITORING, file), 'utf8'));
  });

  it('does not match the schemas with an unknown field', async () => {
    const monitor = await readFile(join(REPO, MONITORING, 'pod-monitor.yaml'), 'utf8');
    const misspelt = monitor.replace('honorLabels', 'honourLabels');
    await assert.rejects(validate('PodMonitor', misspelt), /unknown field "[^"]*honourLabels"/);
    const dashboard = await readFile(join(REPO, MONITORING, 'dashboard.json'), 'utf8');
    const strange = dashboard.replace('"graphMode"', '"graphMood"');
    await assert.rejects(validate('dashboard', strange), /unexpected field 'graphMood'/);
  });

  it("is added to the base by the documented kustomization, with the label of Grafana's sidecar", async () => {
    const directory = await mkdtemp('/tmp/gvisor-ready-kustomize-');
    try {
      const kustomization = await documentedKustomization();
      assert.deepEqual(kustomization.components, [MONITORING]);
      await writeKustomization(directory, kustomization);
      const text = await run(join(tools.kubernetes, 'kubectl'), ['kustomize', directory]);
      const objects = parseAllDocuments(text).map((document) => document.toJS() as Item);
      const added = objects.filter(({ kind }) => /^(PodMonitor|PrometheusRule|ConfigMap)$/.test(kind));
      assert.deepEqual(
        added.map(({ kind, metadata }) => `${kind} ${metadata.namespace}/${metadata.name}`).sort(),
        [
          'ConfigMap gvisor-ready/gvisor-ready-dashboard',
          'PodMonitor gvisor-ready/gvisor-ready-agent',
          'PodMonitor gvisor-ready/gvisor-ready-fleet',
          'PrometheusRule gvisor-ready/gvisor-ready',
        ],
      );
      const dashboard = added.find(({ kind }) => kind === 'ConfigMap');
      assert.equal(dashboard?.metadata.labels?.grafana_dashboard, '1');
      for (const { kind, metadata } of added.filter((each) => each !== dashboard))
        assert.deepEqual(metadata.labels, { release: 'kube-prometheus-stack' }, kind);
      assert.deepEqual(
        JSON.parse(dashboard?.data?.['gvisor-ready.json'] ?? ''),
        JSON.parse(await readFile(join(REPO, MONITORING, 'dashboard.json'), 'utf8')),
      );
      const monitor = added.find(({ metadata }) => metadata.name === 'gvisor-ready-agent');
      const agent = objects.find(({ kind }) => kind === 'DaemonSet');
      assert.deepEqual(agent?.spec?.template.spec?.nodeSelector, {
        'kubernetes.io/os': 'linux',
        'example.com/pool': 'sandboxes',
      });
      const [container] = agent?.spec?.template.spec?.containers ?? [];
      assert.deepEqual(container?.env?.at(-1), { name: 'EXPECT_GVISOR', value: 'on' });
      const { matchLabels = {} } = monitor?.spec?.selector ?? {};
      const labels = agent?.spec?.template.metadata?.labels ?? {};
      assert.deepEqual({ ...labels, ...matchLabels }, labels, "the PodMonitor selects the agent's pods");
    } finally {
      await rm(directory, { recursive: true });
    }
  });
});
