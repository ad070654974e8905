import assert from 'node:assert/strict';
import { globSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { before, describe, it } from 'node:test';
import { parse, parseAllDocuments } from 'yaml';
import { ensureTools } from '../../cluster/tools.ts';
import { REPO } from '../../hack/paths.ts';
import { RULES } from '../../hack/prometheus-rules.ts';
import { run } from '../../hack/run.ts';
import { alertsOf, ruleFiles } from './alerts.ts';
import { documentedKustomization, writeKustomization } from './documented-kustomization.ts';

const COMPONENT = 'manifests/components/monitoring';
const TESTS = globSync('test/monitoring/*.yaml', { cwd: REPO }).sort();

let tools: Record<'prometheus' | 'schemas' | 'kubernetes', string>;
before(async () => {
  tools = await ensureTools(['prometheus', 'schemas', 'kubernetes']);
});

const promtool = (...args: readonly string[]) => run(join(tools.prometheus, 'promtool'), args, { cwd: REPO });

async function holdToSchema(kind: string, document: string): Promise<void> {
  await run(join(tools.schemas, 'schemas'), [kind], { input: document });
}

/** A file of promtool's unit tests. */
type UnitTests = {
  readonly tests: readonly {
    readonly alert_rule_test: readonly { readonly exp_alerts: readonly unknown[] }[];
  }[];
};

describe('the rules of the alerts', () => {
  it("are rules, without anything that promtool's lint finds", async () => {
    for (const path of (await ruleFiles()).keys())
      assert.match(await promtool('check', 'rules', '--lint=all', '--lint-fatal', path), /SUCCESS/);
  });

  it('have each a file of tests', async () => {
    const named = alertsOf(await ruleFiles()).map(({ alert }) => `test/monitoring/${alert}.yaml`);
    assert.deepEqual(TESTS, named.sort());
  });

  for (const path of TESTS) {
    it(`${basename(path, '.yaml')} fires, resolves and stays silent as it should`, async () => {
      const { tests } = parse(await readFile(join(REPO, path), 'utf8')) as UnitTests;
      const courses = tests.map(({ alert_rule_test }) =>
        alert_rule_test.map(({ exp_alerts }) => (exp_alerts.length > 0 ? 'fires' : 'silent')).join(' '),
      );
      assert.ok(
        courses.some((course) => course.includes('fires silent')),
        `one that resolves: ${courses}`,
      );
      assert.ok(
        courses.some((course) => !course.includes('fires')),
        `one that stays silent: ${courses}`,
      );
      assert.match(await promtool('test', 'rules', path), /SUCCESS/);
    });
  }
});

describe('the monitoring components', () => {
  it('hold to the schemas of the Prometheus operator and of Grafana', async () => {
    await holdToSchema('PodMonitor', await readFile(join(REPO, COMPONENT, 'pod-monitor.yaml'), 'utf8'));
    for (const folder of Object.keys(RULES))
      await holdToSchema(
        'PrometheusRule',
        await readFile(join(REPO, folder, 'prometheus-rule.yaml'), 'utf8'),
      );
    await holdToSchema('dashboard', await readFile(join(REPO, COMPONENT, 'dashboard.json'), 'utf8'));
  });

  it('would be refused with a field that the schema lacks', async () => {
    const monitor = await readFile(join(REPO, COMPONENT, 'pod-monitor.yaml'), 'utf8');
    const misspelt = monitor.replace('honorLabels', 'honourLabels');
    await assert.rejects(holdToSchema('PodMonitor', misspelt), /unknown field "[^"]*honourLabels"/);
    const dashboard = await readFile(join(REPO, COMPONENT, 'dashboard.json'), 'utf8');
    const strange = dashboard.replace('"graphMode"', '"graphMood"');
    await assert.rejects(holdToSchema('dashboard', strange), /unexpected field 'graphMood'/);
  });

  it("are added to the base by the kustomization of the documents, with the dashboard labelled for Grafana's sidecar", async () => {
    const folder = await mkdtemp('/tmp/gvisor-ready-kustomize-');
    try {
      const kustomization = await documentedKustomization();
      assert.deepEqual(kustomization.components, Object.keys(RULES));
      await writeKustomization(folder, kustomization);
      const text = await run(join(tools.kubernetes, 'kubectl'), ['kustomize', folder]);
      const objects = parseAllDocuments(text).map((document) => document.toJS() as Rendered);
      const added = objects.filter(({ kind }) => /^(PodMonitor|PrometheusRule|ConfigMap)$/.test(kind));
      assert.deepEqual(
        added.map(({ kind, metadata }) => `${kind} ${metadata.namespace}/${metadata.name}`).sort(),
        [
          'ConfigMap gvisor-ready/gvisor-ready-dashboard',
          'PodMonitor gvisor-ready/gvisor-ready-agent',
          'PrometheusRule gvisor-ready/gvisor-ready',
          'PrometheusRule gvisor-ready/gvisor-ready-kube-state-metrics',
        ],
      );
      const dashboard = added.find(({ kind }) => kind === 'ConfigMap');
      assert.equal(dashboard?.metadata.labels?.grafana_dashboard, '1');
      for (const { kind, metadata } of added.filter((each) => each !== dashboard))
        assert.deepEqual(metadata.labels, { release: 'kube-prometheus-stack' }, kind);
      assert.deepEqual(
        JSON.parse(dashboard?.data?.['gvisor-ready.json'] ?? ''),
        JSON.parse(await readFile(join(REPO, COMPONENT, 'dashboard.json'), 'utf8')),
      );
      const monitor = added.find(({ kind }) => kind === 'PodMonitor');
      const agent = objects.find(({ kind }) => kind === 'DaemonSet');
      assert.deepEqual(agent?.spec?.template?.spec?.nodeSelector, {
        'kubernetes.io/os': 'linux',
        'example.com/pool': 'sandboxes',
      });
      const [container] = agent?.spec?.template?.spec?.containers ?? [];
      assert.deepEqual(container?.env.at(-1), { name: 'EXPECT_GVISOR', value: 'on' });
      const { matchLabels = {} } = monitor?.spec?.selector ?? {};
      const labels = agent?.spec?.template?.metadata.labels ?? {};
      assert.deepEqual({ ...labels, ...matchLabels }, labels, "the PodMonitor selects the agent's pods");
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});

type Metadata = {
  readonly name: string;
  readonly namespace?: string;
  readonly labels?: Readonly<Record<string, string>>;
};
type PodSpec = {
  readonly nodeSelector?: object;
  readonly containers: readonly { readonly env: readonly object[] }[];
};
type Rendered = {
  readonly kind: string;
  readonly metadata: Metadata;
  readonly data?: Readonly<Record<string, string>>;
  readonly spec?: {
    readonly selector?: { readonly matchLabels?: Readonly<Record<string, string>> };
    readonly template?: { readonly metadata: Metadata; readonly spec?: PodSpec };
  };
};
