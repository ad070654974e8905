import assert from 'node:assert/strict';
import { globSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { describe, it } from 'node:test';
import { parse } from 'yaml';
import { Metrics } from '../../agent/http/metrics.ts';
import { FleetMetrics } from '../../fleet/metrics.ts';
import { REPO } from '../../hack/paths.ts';
import { FLEET_RULES, prometheusRule, RULES } from '../../hack/prometheus-rules.ts';
import { sampleFleet } from '../fleet/sample-fleet.ts';
import { type AlertRule, alertsOf, ruleFiles } from '../monitoring/alerts.ts';
import { CAUSES } from '../monitoring/causes.ts';
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
  'docs/metrics.md': metricsIn(await new Metrics('0').text()),
  'docs/fleet.md': metricsIn(await new FleetMetrics('0').text(sampleFleet(3))),
};

const COMPONENTS = [
  { name: 'agents', rules: RULES, page: 'docs/monitoring.md', runbooks: 'runbooks' },
  { name: 'the fleet controller', rules: FLEET_RULES, page: 'docs/fleet.md', runbooks: 'runbooks/fleet' },
] as const;

for (const { name, rules, page, runbooks } of COMPONENTS)
  describe(`the alerts of ${name}`, async () => {
    const alerts = alertsOf(await ruleFiles(rules));
    const after = (rule: AlertRule) => rule.for ?? 'at once';

    it('have a severity, a summary, a description and links', () => {
      for (const { alert, labels, annotations } of alerts) {
        assert.match(labels.severity ?? '', /^(critical|warning|info)$/, alert);
        assert.match(annotations.summary ?? '', /\.$/, alert);
        assert.match(annotations.description ?? '', alert === 'GVisorAgentsMissing' ? /\.$/ : /\{\{/, alert);
        assert.equal(annotations.runbook_url, `docs/${runbooks}/${alert}.md`);
        assert.match(
          annotations.dashboard_url ?? '',
          /^\/d\/gvisor-ready\?var-cluster=\{\{ \$labels\.cluster \}\}(&var-node=\{\{ \$labels\.node \}\})?$/,
        );
      }
    });

    it('have a runbook with severity, cause, diagnosis and remedy', async () => {
      assert.deepEqual(
        glob(`docs/${runbooks}/*.md`).map((file) => basename(file, '.md')),
        alerts.map(({ alert }) => alert).sort(),
      );
      for (const { alert, labels } of alerts) {
        const text = await read(`docs/${runbooks}/${alert}.md`);
        const headings = [...text.matchAll(/^#+ .*$/gm)].map(([line]) => line);
        assert.deepEqual(headings, [`# ${alert}`, '## Cause', '## How to diagnose it', '## How to fix it']);
        const [, severity] = /\n\n(\w+), /.exec(text) ?? [];
        assert.equal(severity?.toLowerCase(), labels.severity, alert);
      }
    });

    it(`are in the table of ${page} with severity and wait`, async () => {
      const rows = (await read(page)).matchAll(/^\| \[(\w+)\]\((\S+)\) \| (\w+) \| (.+) \|$/gm);
      assert.deepEqual(
        [...rows].map(([, ...cells]) => cells),
        alerts.map((rule) => [rule.alert, `${runbooks}/${rule.alert}.md`, rule.labels.severity, after(rule)]),
      );
    });

    it('are the same for the operator and for plain Prometheus', async () => {
      for (const [directory, name] of Object.entries(rules)) {
        const plain = await read(`${directory}/rules.yaml`);
        const rule = await read(`${directory}/prometheus-rule.yaml`);
        assert.equal(rule, prometheusRule(name, plain), `${directory}: run \`npm run rules\``);
        assert.deepEqual(parse(rule).spec, parse(plain));
      }
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
      assert.doesNotMatch(commands.join(''), /kubectl (logs|exec|port-forward|attach|cp)/, file);
      for (const [, requested, path = ''] of commands.join('').matchAll(/pods\/POD:(\d+)\/proxy(\/\w*)/g)) {
        assert.equal(requested, port, file);
        assert.ok(paths.split(' ').includes(path), `${file}: ${path}`);
      }
    }
  });
});

describe('docs/monitoring.md', () => {
  it('lists the root causes with the alerts that fire', async () => {
    const rows = (await read('docs/monitoring.md')).matchAll(/^\| (.*) \| (nothing|GVisor.*) \|$/gm);
    assert.deepEqual(
      [...rows].map(([, cause, fires]) => [cause, fires]),
      CAUSES.map(({ cause, fires }) => [cause, fires.join(', ') || 'nothing']),
    );
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
      for (const [selector] of expr.matchAll(/(?:gvisor|up|process)\w*(?:\{[^}]*\})?/g)) {
        const ofFleet = selector.startsWith('gvisor_fleet_');
        const ending = ofFleet ? /\{cluster=~"\$cluster"\}$/ : /cluster=~"\$cluster", node=~"\$node"\}$/;
        assert.match(selector, ending, title);
      }
      for (const [, by = ''] of expr.matchAll(/(?:by|on) \(([^)]*node[^)]*)\)/g))
        assert.match(by, /cluster, /, title);
    }
  });

  it('show at most twenty lines where each node has one', () => {
    const lines = all.filter(({ type, targets }) => /timeline|timeseries/.test(type) && perNode(targets));
    assert.ok(lines.length >= 4);
    for (const { title, targets } of lines)
      for (const { expr } of targets) assert.match(expr, /topk\(20, /, title);
  });

  it('show fleet metrics only of a controller with working watches, except the circuit breaker and withdrawals', () => {
    const ofFleet = exprs.filter(([, expr]) => expr.includes('gvisor_fleet_'));
    assert.deepEqual(
      ofFleet.filter(([, expr]) => !expr.includes('gvisor_fleet_watches_up')).map(([title]) => title),
      ['Labels withdrawn in an hour', 'Circuit breaker'],
    );
    assert.equal(ofFleet.length, 7);
  });
});

/** Whether a legend names the node. */
function perNode(targets: readonly object[]): boolean {
  return JSON.stringify(targets).includes('{{node}}');
}

/** Names that begin like a metric: a program, a cgroup, and prefixes in the scrape configurations. */
const OTHERS = ['gvisor_sentry', 'gvisor_ready', 'gvisor_fleet', 'gvisor_fleet_'];

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
      ...glob('manifests/components/monitoring*/*'),
      ...glob('test/monitoring*/*.yaml'),
      ...glob('docs/**/*.md'),
      'README.md',
    ];
    for (const file of files)
      for (const [name] of (await read(file)).matchAll(/\bgvisor_[a-z_]+/g))
        assert.ok(real.includes(name) || OTHERS.includes(name), `${file}: ${name}`);
  });
});
