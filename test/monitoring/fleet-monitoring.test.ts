import assert from 'node:assert/strict';
import { globSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { before, describe, it } from 'node:test';
import { parse } from 'yaml';
import { ensureTools } from '../../cluster/tools.ts';
import { REPO } from '../../hack/paths.ts';
import { FLEET_RULES, prometheusRule } from '../../hack/prometheus-rules.ts';
import { run } from '../../hack/run.ts';
import type { RuleFile } from './alerts.ts';

const [[FOLDER, NAME]] = Object.entries(FLEET_RULES) as [[string, string]];
const TESTS = globSync('test/monitoring-fleet/*.yaml', { cwd: REPO }).sort();
const read = (file: string) => readFile(join(REPO, file), 'utf8');

let tools: Record<'prometheus' | 'schemas', string>;
before(async () => {
  tools = await ensureTools(['prometheus', 'schemas']);
});
const promtool = (...args: readonly string[]) => run(join(tools.prometheus, 'promtool'), args, { cwd: REPO });

describe('the alerts of the fleet controller', () => {
  it("are rules without anything that promtool's lint finds, and the same for the operator", async () => {
    const path = `${FOLDER}/rules.yaml`;
    assert.match(await promtool('check', 'rules', '--lint=all', '--lint-fatal', path), /SUCCESS/);
    const rule = await read(`${FOLDER}/prometheus-rule.yaml`);
    assert.equal(rule, prometheusRule(NAME, await read(path)), 'run `npm run rules`');
    await run(join(tools.schemas, 'schemas'), ['PrometheusRule'], { input: rule });
    await run(join(tools.schemas, 'schemas'), ['PodMonitor'], {
      input: await read(`${FOLDER}/pod-monitor.yaml`),
    });
  });

  it('have each tests, a runbook of the same severity, and a row in docs/fleet.md', async () => {
    const { groups } = parse(await read(`${FOLDER}/rules.yaml`)) as RuleFile;
    const rules = groups.flatMap((group) => group.rules);
    const names = rules.map(({ alert }) => alert);
    assert.deepEqual(TESTS, names.map((alert) => `test/monitoring-fleet/${alert}.yaml`).sort());
    const runbooks = globSync('docs/runbooks/fleet/*.md', { cwd: REPO }).map((file) => basename(file, '.md'));
    assert.deepEqual(runbooks.sort(), names.toSorted());
    const rows = (await read('docs/fleet.md')).matchAll(/^\| \[(\w+)\]\((\S+)\) \| (\w+) \| (.+) \|$/gm);
    assert.deepEqual(
      [...rows].map(([, ...cells]) => cells),
      rules.map((rule) => [rule.alert, `runbooks/fleet/${rule.alert}.md`, rule.labels.severity, rule.for]),
    );
    for (const { alert, labels } of rules) {
      const text = await read(`docs/runbooks/fleet/${alert}.md`);
      const headings = [...text.matchAll(/^#+ .*$/gm)].map(([line]) => line);
      assert.deepEqual(headings, [`# ${alert}`, '## Cause', '## How to diagnose it', '## How to fix it']);
      assert.equal(/\n\n(\w+), /.exec(text)?.[1]?.toLowerCase(), labels.severity, alert);
    }
  });

  for (const path of TESTS)
    it(`${basename(path, '.yaml')} fires, resolves and stays silent as it should`, async () => {
      assert.match(await promtool('test', 'rules', path), /SUCCESS/);
    });
});
