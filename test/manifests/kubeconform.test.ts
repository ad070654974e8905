import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { ensureTools } from '../../cluster/tools.ts';
import { patient, runAll } from '../../hack/run.ts';
import { kustomizeComponents, templateChart } from './chart-objects.ts';
import { ALL, PAIRS } from './chart-pairs.ts';
import { KUBERNETES, SCHEMA_PATH, writeSchemas } from './kubernetes-schemas.ts';

type Version = (typeof KUBERNETES)[number];
/** What kubeconform prints: every object that is not valid, and how many there were of which sort. */
type Report = {
  readonly resources: readonly { readonly kind: string; readonly msg: string }[];
  readonly summary: Readonly<Record<'valid' | 'invalid' | 'errors' | 'skipped', number>>;
};

/** The kinds of the component `inject`, which Kubernetes has in this version from 1.36. */
const INJECT = ['MutatingAdmissionPolicy', 'MutatingAdmissionPolicyBinding'];

let directory: string;
let files: readonly string[];
let objects: number;
let all: string;
before(
  async () => {
    directory = await mkdtemp(join(tmpdir(), 'kubeconform-'));
    const texts = [];
    for (const { components, values } of [...PAIRS, ALL])
      texts.push(await templateChart('helm', values), await kustomizeComponents(components));
    all = texts.at(-1) ?? '';
    objects = texts.join('\n').match(/^kind: /gm)?.length ?? 0;
    files = await Promise.all(texts.map((text, index) => write(text, String(index))));
    for (const version of KUBERNETES) await writeSchemas(directory, version);
  },
  { timeout: patient(20 * 60_000) },
);
after(() => rm(directory, { recursive: true }));

async function write(text: string, name: string): Promise<string> {
  const file = join(directory, `${name}.yaml`);
  await writeFile(file, text);
  return file;
}

/** Holds files strictly to the schemas of a Kubernetes. No schema is a finding too. */
async function conform(version: Version, paths: readonly string[]): Promise<Report> {
  const { kubeconform } = await ensureTools(['kubeconform']);
  const schemas = ['-schema-location', join(directory, SCHEMA_PATH), '-kubernetes-version', version];
  const one = ['-n', '1']; // workers beside it would read the same schemas once more each
  const args = ['-strict', ...one, ...schemas, '-output', 'json', '-summary', ...paths];
  const { stdout, stderr } = await runAll(join(kubeconform, 'kubeconform'), args);
  assert.equal(stderr, '');
  return JSON.parse(stdout) as Report;
}

/** What kubeconform finds, each once: "KIND: what is wrong". */
function findings({ resources }: Report): readonly string[] {
  return [...new Set(resources.map(({ kind, msg }) => `${kind}: ${msg}`))].sort();
}

/** What kubeconform says of objects of kinds that a Kubernetes has not in their version. */
function missing(kinds: readonly string[]): readonly string[] {
  return kinds.map((kind) => `${kind}: could not find schema for ${kind}`);
}

describe('what Helm and kustomize render', () => {
  for (const version of KUBERNETES) {
    const lacks = Number(version.split('.')[1]) < 36 ? INJECT : [];
    it(`fits the schemas of Kubernetes ${version}${lacks.length > 0 ? ', but for inject' : ''}`, async () => {
      const report = await conform(version, files);
      assert.deepEqual(findings(report), missing(lacks));
      const { valid, errors, skipped } = report.summary;
      assert.deepEqual([valid + errors, skipped], [objects, 0]);
    });
  }
});

describe('kubeconform', () => {
  const broken: readonly (readonly [what: string, from: string, to: string, finding: RegExp])[] = [
    [
      'a misspelt field',
      'readOnlyRootFilesystem: true',
      'readOnlyRootFileSystem: true',
      /^Deployment: .*'readOnlyRootFileSystem' not allowed/,
    ],
    [
      'a misspelt field of a custom resource',
      'podMetricsEndpoints:',
      'podMetricEndpoints:',
      /^PodMonitor: .*'podMetricEndpoints' not allowed/,
    ],
    ['a word that YAML reads as true', 'value: "on"', 'value: on', /^Deployment: .*got boolean, want string/],
    ['a version of the API that does not exist', 'apps/v1', 'apps/v2', /^D.*: could not find schema for/],
  ];
  for (const [what, from, to, finding] of broken) {
    it(`refuses ${what}`, async () => {
      const [found = '', ...more] = findings(await conform('1.37.2', [await changed(from, to)]));
      assert.match(found, finding);
      assert.deepEqual(more, []);
    });
  }

  it('refuses a version of the API from the Kubernetes on that lacks it', async () => {
    const file = await changed('flowcontrol.apiserver.k8s.io/v1', 'flowcontrol.apiserver.k8s.io/v1beta3');
    assert.deepEqual(findings(await conform('1.31.14', [file])), missing(INJECT));
    assert.deepEqual(findings(await conform('1.32.13', [file])), missing(['FlowSchema', ...INJECT]));
  });
});

/** A file with all components in which a text is another. */
function changed(from: string, to: string): Promise<string> {
  assert.ok(all.includes(from), from);
  return write(all.replace(from, to), 'changed');
}
