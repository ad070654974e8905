import assert from 'node:assert/strict';
import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { CHART, copyManifests } from '../../hack/chart.ts';
import { REPO } from '../../hack/paths.ts';
import { run } from '../../hack/run.ts';
import { VERSION } from '../../lib/base/version.ts';
import { judgeGuards } from '../../lib/fleet/guards.ts';
import { guardsAmong } from '../lib/fleet/manifest-guards.ts';
import {
  differences,
  HELM,
  helm,
  hookOf,
  lintChart,
  renderChart,
  renderComponents,
  renderKustomization,
} from './chart-objects.ts';
import { ALL, PAIRS, type Pair } from './chart-pairs.ts';

/** Objects that Helm installs, and those of kustomize without the Namespace, which must exist before Helm runs. */
async function bothSides({ components, values }: Pair, chart?: string) {
  const rendered = await renderChart(values, chart);
  const expected = await renderComponents(components);
  const isInstalled = (object: (typeof rendered)[number]) => hookOf(object) === '';
  return [rendered.filter(isInstalled), expected.filter(({ kind }) => kind !== 'Namespace')] as const;
}

/**
 * The objects in the namespace "elsewhere". kustomize also sets the namespace of cluster-wide objects of kinds that it does not
 * know, which the API server ignores.
 */
async function renderElsewhere(components: readonly string[]) {
  const usual = await renderComponents(components);
  return (await renderComponents(components, 'elsewhere')).map((object) => {
    const { kind, metadata } = object;
    const same = usual.find((one) => one.kind === kind && one.metadata.name === metadata.name);
    if (same === undefined || same.metadata.namespace !== undefined) return object;
    const { namespace: _, ...rest } = metadata;
    return { ...object, metadata: rest };
  });
}

/** A chart with this one as a dependency. */
async function umbrellaChart(t: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'umbrella-'));
  t.after(() => rm(directory, { recursive: true }));
  await copyManifests();
  await cp(join(REPO, CHART), join(directory, 'charts/gvisor-ready'), { recursive: true });
  const dependency = { name: 'gvisor-ready', version: VERSION, condition: 'gvisor-ready.enabled' };
  const chart = { apiVersion: 'v2', name: 'platform', version: '1.0.0', dependencies: [dependency] };
  await writeFile(join(directory, 'Chart.yaml'), JSON.stringify(chart));
  return directory;
}

/** Copies the chart with a text replaced in a file. */
async function changedChart(t: TestContext, file: string, was: string, is: string): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'chart-'));
  t.after(() => rm(directory, { recursive: true }));
  await copyManifests();
  await cp(join(REPO, CHART), directory, { recursive: true });
  const text = await readFile(join(directory, file), 'utf8');
  assert.ok(text.includes(was), `${file} has ${was}`);
  await writeFile(join(directory, file), text.replace(was, is));
  return directory;
}

describe(`the chart, rendered by ${HELM}`, () => {
  for (const pair of [...PAIRS, ALL]) {
    it(`has the objects of the base with ${pair.components.join(', ') || 'no component'}`, async () => {
      assert.deepEqual(differences(...(await bothSides(pair))), []);
    });
  }

  it('has the objects of the uninstall as post-delete hooks', async () => {
    const hooks = (await renderChart({})).filter((object) => hookOf(object) === 'post-delete');
    const expected = await renderKustomization(join(REPO, 'manifests/uninstall'));
    assert.deepEqual(differences(hooks, expected), []);
    assert.equal(hooks.length, 5);
  });

  it('renders the same from its archive, which contains no test suites', async (t) => {
    const directory = await mkdtemp(join(tmpdir(), 'chart-'));
    t.after(() => rm(directory, { recursive: true }));
    await helm(['package', CHART, '--destination', directory]);
    const [archive = ''] = await readdir(directory);
    assert.match(archive, /^gvisor-ready-\d+\.\d+\.\d+\.tgz$/);
    const packed = await renderChart(ALL.values, join(directory, archive));
    assert.deepEqual(packed, await renderChart(ALL.values));
    const names = await run('tar', ['--list', '--file', join(directory, archive)]);
    assert.deepEqual(names.match(/tests\/.+/g), ['tests/gvisor.yaml']);
  });

  it('has the objects of kustomize in another namespace, whatever the release is called', async () => {
    const names = { release: 'sandboxing', namespace: 'elsewhere' };
    const values = { ...ALL.values, uninstall: { enabled: false } };
    const rendered = await renderChart(values, CHART, names);
    const expected = await renderElsewhere(ALL.components);
    const isInstalled = (object: (typeof rendered)[number]) => hookOf(object) === '';
    const ofHelm = rendered.filter(isInstalled);
    const ofKustomize = expected.filter(({ kind }) => kind !== 'Namespace');
    assert.deepEqual(differences(ofHelm, ofKustomize), []);
    for (const object of [...rendered, ...expected])
      assert.doesNotMatch(
        JSON.stringify(object),
        /amespace\W{1,5}gvisor-ready\b(?!-)|!= 'gvisor-ready'|name == 'gvisor-ready'/,
      );
  });

  it('has the guards of this version with any settings, accounts and namespace', async () => {
    const account = (name: string) => ({ serviceAccount: { name } });
    const settings = {
      runtimeClassNames: ['a', 'b'],
      allow: ['hostPath'],
      hostPorts: [1],
      poolLabels: ['c'],
    };
    const enforce = { enabled: true, bindings: true, inject: true, ...settings };
    const [agent, fleet, taint] = [account('a'), account('b'), { enabled: true }];
    const values = { agent, fleet, taint, settings: { HANDLERS: 'runsc-a' }, enforce };
    const objects = await renderChart(values, CHART, { release: 'sandboxing', namespace: 'elsewhere' });
    const installation = {
      namespace: 'elsewhere',
      accounts: { agent: 'a', fleet: 'b' },
      mainHandler: 'runsc-a',
    };
    const guards = guardsAmong(objects, installation);
    assert.deepEqual(judgeGuards(guards, { hasFleet: true, isRequired: true }).missing, []);
  });

  it('is part of an umbrella chart, which switches it with a condition', async (t) => {
    const umbrella = await umbrellaChart(t);
    const enabled = { global: { a: 'b' }, 'gvisor-ready': { enabled: true, taint: { enabled: true } } };
    const rendered = await renderChart(enabled, umbrella);
    assert.deepEqual(differences(rendered, await renderChart({ taint: { enabled: true } })), []);
    assert.deepEqual(await renderChart({ 'gvisor-ready': { enabled: false } }, umbrella), []);
  });

  it('passes helm lint --strict with defaults and with all components', async () => {
    for (const values of [{}, ALL.values])
      assert.match(await lintChart(values), /1 chart\(s\) linted, 0 chart\(s\) failed/);
  });
});

describe('the comparison of chart and kustomize', () => {
  it('covers every component', async () => {
    const compared = new Set(PAIRS.flatMap(({ components }) => components));
    assert.deepEqual([...compared].sort(), (await readdir(join(REPO, 'manifests/components'))).sort());
  });

  it('detects a change in a template', async (t) => {
    const chart = await changedChart(t, 'templates/agent.yaml', '"event-writes" ', '');
    assert.deepEqual(differences(...(await bothSides(ALL, chart))), [
      'ValidatingAdmissionPolicy /gvisor-ready-agent-events: missing in the first',
      'ValidatingAdmissionPolicyBinding /gvisor-ready-agent-events: missing in the first',
    ]);
  });
});
