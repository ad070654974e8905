import assert from 'node:assert/strict';
import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { REPO } from '../../hack/paths.ts';
import { run } from '../../hack/run.ts';
import { markedBlocks } from '../docs/marked-blocks.ts';
import { INJECTS } from '../kubernetes-minor.ts';
import { accepted, type Case, refused, warned } from './admission-case.ts';
import { useAdmission, waitForResponse } from './admission-cluster.ts';
import { container, create, createPod, hostPath, pod, privileged } from './admission-objects.ts';
import type { ApiResponse } from './api-user.ts';
import { waitForPolicies } from './wait-for-policies.ts';

/** The cluster starts with the base; everything else comes from the page. */
const admission = useAdmission([]);
const BLOCKS = markedBlocks('docs/admission.md');
const NAMESPACE = 'evaluations';

let directory = '';
/** The text of the block with this mark. */
function block(kind: string, mark: string): string {
  const found = BLOCKS.find((one) => one.kind === kind && one.mark === mark);
  assert.ok(found !== undefined, `docs/admission.md has no block "${kind}: ${mark}"`);
  return found.text;
}

/** Writes the kustomization of a block into the reader's directory. */
const write = (mark: string) => writeFile(join(directory, 'kustomization.yaml'), block('file', mark));

/** Runs commands in the reader's directory, waits until policies are in force, and returns the output. */
async function shell(script: string): Promise<string> {
  const { cluster } = admission();
  const path = `${dirname(cluster.kubectlCommand([]).command)}:${process.env.PATH}`;
  const env = { ...process.env, PATH: path, KUBECONFIG: cluster.kubeconfig };
  const printed = await run('/bin/sh', ['-euc', script], { cwd: directory, env });
  await waitForPolicies(admission());
  return printed;
}
const apply = 'kubectl apply -k .';

const plain = create(NAMESPACE, pod({ spec: { runtimeClassName: undefined } }), 'dryRun=All');
const gvisor = create(NAMESPACE, pod(), 'dryRun=All');
const IS_NOT_SET = /spec\.runtimeClassName is not set: write runtimeClassName: gvisor/;
async function all(...cases: readonly Case[]): Promise<void> {
  for (const { run: check } of cases) await check(admission());
}
const strict = (part: Parameters<typeof pod>[0]) => createPod(part);
const classOf = ({ body }: ApiResponse) =>
  (body as { readonly spec: { readonly runtimeClassName?: string } }).spec.runtimeClassName;

describe('the commands of the page on admission', () => {
  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'admission-'));
    await symlink(REPO, join(directory, 'gvisor-ready'));
    await admission().cluster.kubectl(['create', 'namespace', NAMESPACE]);
    await waitForResponse(
      'a pod in the new namespace',
      () => admission().as('admin', plain),
      ({ code }) => code === 201,
    );
  });
  after(() => rm(directory, { recursive: true, force: true }));

  it('only warn in the first stage', async () => {
    await write('kustomization.yaml');
    await shell(block('run', 'audit'));
    await all(warned('a plain pod', plain, IS_NOT_SET), accepted('a gVisor pod', gvisor));
  });

  it('reject in the second stage', async () => {
    assert.match(await shell(block('run', 'enforce')), /^namespace\/evaluations labeled$/m);
    await all(refused('a plain pod', plain, IS_NOT_SET), accepted('a gVisor pod', gvisor));
  });

  it('list the pods that are older than the label', async () => {
    const printed = await shell(block('run', 'older').replaceAll(NAMESPACE, 'strict'));
    assert.match(printed, /^NAME +CLASS +NODE\n/);
    assert.match(printed, /^old-plain +<none> +node-9$/m);
  });

  it('switch to audit, where no label rejects anything, and back', async () => {
    await write('kustomization.yaml, audit stage');
    await shell(apply);
    await all(warned('a plain pod', plain, IS_NOT_SET));
    await write('kustomization.yaml');
    await shell(apply);
    await all(refused('a plain pod', plain, IS_NOT_SET));
  });

  it('change the settings', async () => {
    await write('kustomization.yaml, settings');
    await shell(apply);
    await all(
      accepted('the second class', strict({ spec: { runtimeClassName: 'gvisor-gpu' } })),
      accepted('a directory of the host', strict({ spec: hostPath })),
      refused('a privileged container', strict({ spec: container(privileged) }), /privileged is not allowed/),
    );
  });

  it('inject another runtime class', async () => {
    await write('kustomization.yaml, inject');
    if (!INJECTS) return assert.rejects(shell(apply), /no matches for kind "MutatingAdmissionPolicy"/);
    await shell(apply);
    await waitForPolicies(admission(), ['mutating']);
    assert.equal(classOf(await admission().as('admin', plain)), 'gvisor-gpu');
    await all(
      refused(
        'the class that was allowed before',
        gvisor,
        /is "gvisor": write runtimeClassName: gvisor-gpu$/,
      ),
    );
  });

  it('uninstall, and take effect after a new installation', async () => {
    await shell(block('run', 'uninstall'));
    if (INJECTS) await shell(block('run', 'uninstall, inject'));
    await waitForPolicies(admission(), [INJECTS ? 'mutating' : 'validating']);
    const response = await admission().as('admin', plain);
    assert.deepEqual([response.code, classOf(response)], [201, undefined]);
    await write('kustomization.yaml');
    await shell(apply);
    await all(refused('a plain pod', plain, IS_NOT_SET), accepted('a gVisor pod', gvisor));
  });
});
