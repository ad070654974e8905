import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { ensureTools } from '../../cluster/tools/tools.ts';
import { patient, runAll } from '../../hack/run.ts';
import { RARE } from '../rare.ts';
import { kustomizeComponents, templateChart } from './chart-objects.ts';
import { ALL, PAIRS } from './chart-pairs.ts';
import { KUBERNETES, SCHEMA_PATH, writeSchemas } from './kubernetes-schemas.ts';

type Version = (typeof KUBERNETES)[number];
/** Output of kubeconform: invalid objects, and counts. */
type Report = {
  readonly resources: readonly { readonly kind: string; readonly msg: string }[];
  readonly summary: Readonly<Record<'valid' | 'invalid' | 'errors' | 'skipped', number>>;
};

const [OLDEST, NEWEST] = ['1.30.14', '1.37.2'] as const;
/** Those between are a rare story. */
const VERSIONS = RARE ? KUBERNETES : [OLDEST, NEWEST];

/** The kinds of the component `inject`, which exist in this API version since Kubernetes 1.36. */
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
      texts.push(await templateChart(values), await kustomizeComponents(components));
    all = texts.at(-1) ?? '';
    objects = texts.join('\n').match(/^kind: /gm)?.length ?? 0;
    files = await Promise.all(texts.map((text, index) => write(text, String(index))));
    for (const version of VERSIONS) await writeSchemas(directory, version);
  },
  { timeout: patient(20 * 60_000) },
);
after(() => rm(directory, { recursive: true }));

async function write(text: string, name: string): Promise<string> {
  const file = join(directory, `${name}.yaml`);
  await writeFile(file, text);
  return file;
}

/** Validates files strictly against the schemas of a Kubernetes version. A missing schema is an error. */
async function conform(version: Version, paths: readonly string[]): Promise<Report> {
  const { kubeconform } = await ensureTools(['kubeconform']);
  const schemas = ['-schema-location', join(directory, SCHEMA_PATH), '-kubernetes-version', version];
  const one = ['-n', '1']; // each worker would read the same schemas
  const args = ['-strict', ...one, ...schemas, '-output', 'json', '-summary', ...paths];
  const { stdout, stderr } = await runAll(join(kubeconform, 'kubeconform'), args);
  assert.equal(stderr, '');
  return JSON.parse(stdout) as Report;
}

/** Unique errors as "KIND: problem". */
function findings({ resources }: Report): readonly string[] {
  return [...new Set(resources.map(({ kind, msg }) => `${kind}: ${msg}`))].sort();
}

/** Errors of kubeconform for kinds without a schema. */
function missing(kinds: readonly string[]): readonly string[] {
  return kinds.map((kind) => `${kind}: could not find schema for ${kind}`);
}

describe('the output of Helm and kustomize', () => {
  for (const version of VERSIONS) {
    const lacks = Number(version.split('.')[1]) < 36 ? INJECT : [];
    it(`matches the schemas of Kubernetes ${version}${lacks.length > 0 ? ', except for inject' : ''}`, async () => {
      const report = await conform(version, files);
      assert.deepEqual(findings(report), missing(lacks));
      const { valid, errors, skipped } = report.summary;
      assert.deepEqual([valid + errors, skipped], [objects, 0]);
    });
  }
});

it('kubeconform rejects a misspelt field of a custom resource', async () => {
  const [from, to] = ['podMetricsEndpoints:', 'podMetricEndpoints:'];
  assert.ok(all.includes(from));
  const changed = await write(all.replace(from, to), 'changed');
  assert.match(findings(await conform(NEWEST, [changed])).join(), /^PodMonitor: .*'podMetric/);
});
