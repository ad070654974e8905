import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { REPO } from '../../../hack/paths.ts';
import { plugin } from '../run-plugin.ts';

type Json = {
  readonly result: string;
  readonly checks: readonly { readonly id: string; readonly object: string }[];
};

/** The findings of `check -f` in public manifests: rows of the table by object, or "pod" for nothing that differs. */
const PUBLIC: Readonly<Record<string, readonly string[]>> = {
  'SandboxTemplate/agent-sandbox': ['pod'],
  'Sandbox/aio-sandbox': ['pod'],
  'Pool/opensandbox': ['pod'],
  'Pool/opensandbox-windows': ['privileged', 'rawSocket', 'iptables'],
  'SandboxSet/openkruise': ['pod'],
  'Pod/inspect': ['pod'],
  'Pod/buildkit-userns': ['userNamespace', 'privileged'],
  'Job/buildkit-privileged': ['privileged'],
  'Pod/jenkins': ['hostSocket'],
  'RunnerSet/github-runner': ['pod'],
};

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
    /✗ the capability NET_RAW \(c\)[\s\S]*✗ the capability NET_ADMIN \(c\)/,
  ],
  'a request that is ignored': [pod(', hostPID: true'), 0, /^Pod\/a\n! hostPID/],
  'no YAML, beside a pod': [
    `a: [\n---\n${pod()}`,
    2,
    /^document 1\n\? Cannot be judged: .*\n.*\n\nPod\/a\n✓/,
  ],
  'no pod': ['kind: Service\nmetadata: {name: a}\n', 2, /there is no pod and no pod template/],
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

  it('says of public sandboxes, evaluations and builders what differs in gVisor', async () => {
    const file = join(REPO, 'test/fixtures/public-pods.yaml');
    const { code, out } = await plugin(['check', '-f', file, '-o', 'json']);
    const { result, checks } = JSON.parse(out) as Json;
    const said = Object.groupBy(checks, ({ object }) => object);
    const ids = Object.entries(said).map(([object, lines = []]) => [object, lines.map(({ id }) => id)]);
    assert.deepEqual([code, result, Object.fromEntries(ids)], [1, 'fail', PUBLIC]);
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
