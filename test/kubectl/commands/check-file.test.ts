import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { REPO } from '../../../hack/paths.ts';
import { askedBy } from '../../../kubectl/pods/features.ts';
import { readManifests } from '../../../kubectl/pods/pods-in-manifests.ts';
import { isRewriting } from '../../runner/rewriting.ts';
import { plugin } from '../run-plugin.ts';

/** Each document begins with a comment that names its source, and then the answers, one a line. */
const PUBLIC = join(REPO, 'test/fixtures/public-pods.yaml');

/** The rows of the table that each pod asks for, and which containers do. */
function answersTo(manifest: string): string {
  return readManifests(manifest)
    .map((part) => {
      if (part.kind !== 'pod') return `# ${part.kind} ${part.place}\n`;
      const rows = askedBy(part.spec).map(({ feature, by }) =>
        by.includes('pod') ? feature.id : `${feature.id}(${by})`,
      );
      return `${[`# ${part.place}:`, ...rows].join(' ')}\n`;
    })
    .join('');
}

const pod = (spec = '') => `kind: Pod\nmetadata: {name: a}\nspec: {containers: []${spec}}\n`;
const bomb = Array.from({ length: 40 }, (_, at) => `a${at + 1}: &a${at + 1} [*a${at}, *a${at}]\n`);
/** Manifests, the exit code, and what is printed. */
const CASES: Readonly<Record<string, readonly [manifest: string, code: number, printed: RegExp]>> = {
  'a list': [
    'kind: List\nitems: [{kind: Pod, metadata: {name: b}, spec: {containers: []}}]\n',
    0,
    /^Pod\/b\n✓/,
  ],
  'documents of comments only': [`# Source: a\n---\n---\n# b\n--- # c\n${pod()}`, 0, /^Pod\/a\n✓/],
  'a request that hangs': [
    pod(', hostUsers: false'),
    1,
    /^Pod\/a\n✗ hostUsers: false: .*\n(?: {2}.*\n)+ {2}see docs/,
  ],
  'all capabilities': [
    pod().replace('[]', '[{name: c, securityContext: {capabilities: {add: [ALL]}}}]'),
    1,
    /✗ the capability NET_RAW \(c\)[\s\S]*! the capability NET_ADMIN \(c\)/,
  ],
  'a request that is ignored': [pod(', hostPID: true'), 0, /^Pod\/a\n! hostPID/],
  'no YAML, beside a pod': [
    `a: [\n---\n${pod()}`,
    2,
    /^document 1\n\? Cannot be judged: [\s\S]*\n\nPod\/a\n✓ Nothing that the table knows/,
  ],
  'no pod': [
    'kind: Service\nmetadata: {name: a}\n',
    2,
    /no pod template, but Service\/a\. Give the file with the containers\n.*\n\nNo pod was judged/,
  ],
  nothing: ['# a comment\n', 2, /there is no pod and no pod template; it is empty/],
  'what is no object': ['\0\u0001', 2, /no pod template, but document 1\./],
  'a workload without a list of containers, beside a pod': [
    `kind: Job\nmetadata: {name: b}\nspec: {template: {spec: {containers: {}}}}\n---\n${pod()}`,
    0,
    /^Pod\/a\n✓/,
  ],
  'a template that is not rendered': [
    pod().replace('[]', '[{name: c, image: {{ .Values.image }}}]'),
    2,
    /^document 1\n\? Cannot be judged: a key is no text; render templates first/,
  ],
  'a key that is there twice': [
    pod(', hostPID: true, hostPID: false'),
    0,
    /^document 1, line 3\n! The key "hostPID"/,
  ],
  'what was not run': [pod(', resourceClaims: [{name: gpu}]'), 0, /! resourceClaims.*: Not run here\./],
  'a resource for which the scheduler makes a claim': [
    pod().replace('[]', '[{name: c, resources: {limits: {deviceclass.resource.kubernetes.io/gpu: 1}}}]'),
    0,
    /! resourceClaims, or a resource of deviceclass.* \(c\): Not run here\./,
  ],
  'fields of wrong types': [
    pod(', initContainers: [1, null, {name: {}}], volumes: {}, securityContext: []'),
    0,
    /✓/,
  ],
  'a name that acts on a terminal': [pod().replace('a}', '"a\\e[2J"}'), 0, /^Pod\/a\ufffd\[2J\n/],
  'aliases that would multiply': [`kind: X\na0: &a0 {containers: []}\n${bomb.join('')}`, 0, /^X\/\?\n✓/],
};

describe('check -f', () => {
  let directory = '';
  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'check-file-'));
  });
  after(() => rm(directory, { recursive: true }));

  it('says of public manifests and charts what the file says', async () => {
    const text = await readFile(PUBLIC, 'utf8');
    const judged = text.replace(/^(--- # .*\n)(?:#.*\n)*(.*\n)/gm, (_, source: string, manifest: string) => {
      return `${source}${answersTo(manifest)}${manifest}`;
    });
    if (isRewriting('SCREENS')) await writeFile(PUBLIC, judged);
    assert.equal(judged, text);
    assert.equal(new Set(text.match(/^--- # .*/gm)).size, 83);
    assert.equal((await plugin(['check', '-f', PUBLIC])).code, 1);
  });

  for (const [what, [manifest, expected, printed]] of Object.entries(CASES))
    it(`reads ${what}`, async () => {
      const file = join(directory, 'pods.yaml');
      await writeFile(file, manifest);
      const { code, out } = await plugin(['check', '-f', file]);
      assert.match(out, printed);
      assert.equal(code, expected);
    });

  it('takes no flag of a check of the cluster', async () => {
    assert.equal((await plugin(['check', '-f', '-', '--pre'])).code, 64);
  });

  it('names a file that it cannot read', async () => {
    const { code, err } = await plugin(['check', '-f', join(directory, 'absent')]);
    assert.deepEqual([code, err], [2, `Cannot read the manifests "${directory}/absent": ENOENT\n`]);
  });
});
