import assert from 'node:assert/strict';
import { globSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { describe, it } from 'node:test';
import { parse } from 'yaml';
import { Metrics } from '../../agent/http/metrics.ts';
import { FleetMetrics } from '../../controller/metrics.ts';
import { REPO } from '../../hack/paths.ts';
import { MONITORING, prometheusRule } from '../../hack/prometheus-rules.ts';
import { REPOSITORY_PAGES } from '../../hack/repository.ts';
import { PAGES as PAGES_OF_PLUGIN } from '../../kubectl/text/pages.ts';
import { ALARM_CODES } from '../../lib/fleet/alarms.ts';
import { sampleFleet } from '../lib/fleet/sample-fleet.ts';
import { type AlertRule, alertsOf, readRules } from '../monitoring/alerts.ts';
import { panels } from '../monitoring/dashboard.ts';

const read = (file: string) => readFile(join(REPO, file), 'utf8');
const glob = (pattern: string) => globSync(pattern, { cwd: REPO }).sort();

/** Metrics in a response: name, type and help of each. */
const metricsIn = ({ body }: { readonly body: string }) =>
  [...body.matchAll(/^# HELP (gvisor_\w+) (.*)\n# TYPE \w+ (\w+)$/gm)].map(
    ([, name = '', help, type]) => [name, type, help] as const,
  );
/** The metrics of each program, and the page that documents them. */
const METRICS = {
  'docs/metrics.md': metricsIn(await new Metrics('0', 'runsc').text()),
  'docs/fleet.md': metricsIn(await new FleetMetrics().text(sampleFleet(3))),
};

describe('the alerts', async () => {
  const alerts = alertsOf(await readRules());
  const after = (rule: AlertRule) => rule.for ?? 'at once';

  it('have a severity, a summary, a description and links', () => {
    for (const { alert, labels, annotations } of alerts) {
      assert.match(labels.severity ?? '', /^(critical|warning|info)$/, alert);
      assert.match(annotations.summary ?? '', /\.$/, alert);
      assert.match(annotations.description ?? '', /\{\{/, alert);
      assert.equal(annotations.runbook_url, `${REPOSITORY_PAGES}docs/runbooks/${alert}.md`);
      assert.match(
        annotations.dashboard_url ?? '',
        /^\/d\/gvisor-ready\?var-cluster=\{\{ \$labels\.cluster \}\}(&var-node=\{\{ \$labels\.node \}\})?$/,
      );
    }
  });

  it('have the code that controller and plugin give the same cause, and the plugin names their runbook', () => {
    const pages: Readonly<Record<string, string>> = PAGES_OF_PLUGIN;
    const named = new Set(alerts.map(({ alert }) => alert));
    const others = ALARM_CODES.filter((code) => !named.has(`GVisor${code}`));
    assert.deepEqual(others, [
      'AgentFlaps',
      'ControllerStarved',
      'EgressUnknown',
      'FleetTooLarge',
      'ReportsUnread',
      'WatchesDown',
      'WeakenedPods',
    ]);
    for (const code of Object.keys(pages).filter((each) => named.has(`GVisor${each}`)))
      assert.equal(pages[code], `docs/runbooks/GVisor${code}.md`);
  });

  it('have a runbook with meaning, impact, diagnosis and mitigation', async () => {
    assert.deepEqual(
      glob('docs/runbooks/**/*.md').map((file) => basename(file, '.md')),
      alerts.map(({ alert }) => alert).sort(),
    );
    for (const { alert, labels } of alerts) {
      const text = await read(`docs/runbooks/${alert}.md`);
      const headings = [...text.matchAll(/^#+ .*$/gm)].map(([line]) => line);
      const expected = ['## Meaning', '## Impact', '## Diagnosis', '## Mitigation'];
      assert.deepEqual(headings, [`# ${alert}`, ...expected]);
      const [, severity] = /\n\n(\w+), /.exec(text) ?? [];
      assert.equal(severity?.toLowerCase(), labels.severity, alert);
    }
  });

  it('are in the table of docs/monitoring.md with severity, wait and threshold', async () => {
    const schema = JSON.parse(await read('charts/gvisor-ready/values.schema.json')) as {
      definitions: { alerts: { properties: Record<string, unknown> } };
    };
    const settable = Object.keys(schema.definitions.alerts.properties);
    const expected = alerts.map((rule) => {
      const { alert, labels, expr } = rule;
      const [, threshold = ''] = settable.includes(alert)
        ? (/ [<>] ([\d.]+)$/.exec(expr) ?? assert.fail(alert))
        : [];
      return `| [${alert}](runbooks/${alert}.md) | ${labels.severity} | ${after(rule)} | ${threshold} |`;
    });
    const rows = (await read('docs/monitoring.md')).match(/^\| \[GVisor.*$/gm);
    assert.deepEqual(rows, expected);
    for (const name of settable)
      assert.ok(
        alerts.some(({ alert }) => alert === name),
        name,
      );
  });

  it('are in docs/on-call.md, the critical ones apart', async () => {
    const [, critical = '', others = ''] = (await read('docs/on-call.md')).split(
      /^## (?:Critical|Warnings).*$/m,
    );
    const linked = (text: string) =>
      [...text.matchAll(/\(runbooks\/(\w+)\.md\)/g)].map(([, name]) => name).sort();
    const named = (isCritical: boolean) =>
      alerts
        .filter(({ labels }) => (labels.severity === 'critical') === isCritical)
        .map(({ alert }) => alert)
        .sort();
    assert.deepEqual(linked(critical), named(true));
    assert.deepEqual(linked(others), named(false));
  });

  it('are the same for the operator and for plain Prometheus', async () => {
    const plain = await read(`${MONITORING}/rules.yaml`);
    const rule = await read(`${MONITORING}/prometheus-rule.yaml`);
    assert.equal(rule, prometheusRule(plain), 'run `npm run rules`');
    assert.deepEqual(parse(rule).spec, parse(plain));
  });
});

describe('the runbooks', () => {
  it('work while containerd hangs, with the port and paths of agents', async () => {
    const [, port] = /containerPort: (\d+)/.exec(await read('manifests/base/daemonset.yaml')) ?? [];
    const [, paths = ''] = /known paths: (.*)\\n/.exec(await read('agent/http/server.ts')) ?? [];
    for (const file of glob('docs/runbooks/*.md')) {
      const commands = [...(await read(file)).matchAll(/^```sh\n(.*?)^```$/gms)].map(
        ([, text]) => text ?? '',
      );
      // These need containerd.
      if (!file.includes('Fleet'))
        assert.doesNotMatch(commands.join(''), /kubectl (logs|exec|port-forward|attach|cp)/, file);
      for (const [, requested, path = ''] of commands.join('').matchAll(/pods\/AGENT:(\d+)\/proxy(\/\w*)/g)) {
        assert.equal(requested, port, file);
        assert.ok(paths.split(' ').includes(path), `${file}: ${path}`);
      }
    }
  });
});

describe('the panels of the dashboard', async () => {
  const all = await panels();
  const exprs = all.flatMap(({ title, targets }) => targets.map(({ expr }) => [title, expr] as const));

  it('do not default to zero', () => {
    for (const [title, expr] of exprs) assert.doesNotMatch(expr, /vector\(/, title);
  });

  it('use the variables cluster and node, and distinguish equal node names of two clusters', () => {
    for (const [title, expr] of exprs) {
      for (const [selector] of expr.matchAll(
        /\b(?:gvisor_|cluster_node:|cluster:|ALERTS)[\w:]*(?:\{[^}]*\})?/g,
      )) {
        const ofCluster = /^(gvisor_ready_fleet_|cluster:)/.test(selector);
        const ending = ofCluster ? /\{cluster=~"\$cluster"\}$/ : /cluster=~"\$cluster", node=~"\$node\|?"\}$/;
        assert.match(selector, ending, title);
      }
      for (const [, by = ''] of expr.matchAll(/(?:by|on) \(([^)]*node[^)]*)\)/g))
        assert.match(by, /cluster, /, title);
    }
  });

  it('have no colour without data', async () => {
    const text = await read(`${MONITORING}/dashboard.json`);
    const { panels: whole } = JSON.parse(text) as {
      panels: { type: string; title: string; fieldConfig: { defaults: { mappings?: unknown[] } } }[];
    };
    for (const { type, title, fieldConfig } of whole.filter((panel) => panel.type === 'stat'))
      assert.match(
        JSON.stringify(fieldConfig.defaults.mappings),
        /"match":"null\+nan".*"color":"text"/,
        type + title,
      );
  });

  it('show at most twenty lines where each node has one', () => {
    const lines = all.filter(({ type, targets }) => /timeline|timeseries/.test(type) && perNode(targets));
    assert.equal(lines.length, 2);
    for (const { title, targets } of lines)
      for (const { expr } of targets) assert.match(expr, /topk\(20, /, title);
  });
});

/** Whether a legend names the node. */
function perNode(targets: readonly object[]): boolean {
  return JSON.stringify(targets).includes('{{node}}');
}

/** Names that begin like a metric: a setting of Kubespray, a program, a cgroup, and prefixes in the scrape configurations. */
const OTHERS = [
  'gvisor_enabled',
  'gvisor_sentry',
  'gvisor_ready',
  'gvisor_ready_fleet',
  'gvisor_ready_fleet_',
];

describe('metrics in the documentation', () => {
  for (const [page, metrics] of Object.entries(METRICS))
    it(`have a row with type and meaning in ${page}`, async () => {
      const rows = (await read(page)).matchAll(/^\| `(gvisor_\w+)` \| (\w+) \| (?:.*) \| (.*) \|$/gm);
      assert.notEqual(metrics.length, 0);
      assert.deepEqual([...rows].map(([, ...cells]) => cells).sort(), metrics.toSorted());
    });

  it("in rules, their tests, dashboard and documents are the agent's or the fleet controller's", async () => {
    const real = Object.values(METRICS)
      .flat()
      .flatMap(([name, type]) =>
        type === 'histogram' ? ['', '_bucket', '_sum', '_count'].map((end) => `${name}${end}`) : [name],
      );
    const files = [
      ...glob('manifests/components/monitoring/*'),
      ...glob('test/monitoring/*.yaml'),
      ...glob('docs/**/*.md'),
      'README.md',
    ];
    for (const file of files)
      for (const [name] of (await read(file)).matchAll(/(?<!:)\bgvisor_[a-z_]+/g))
        assert.ok(real.includes(name) || OTHERS.includes(name), `${file}: ${name}`);
  });
});
