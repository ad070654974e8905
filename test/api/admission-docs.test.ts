import assert from 'node:assert/strict';
import { dirname } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { run } from '../../hack/run.ts';
import { markedBlock } from '../docs/marked-blocks.ts';
import { UserDirectory } from '../docs/user-directory.ts';
import { INJECTS } from '../kubernetes-minor.ts';
import { type Answer, assertAnswer, dryRun } from './admission-case.ts';
import { useAdmission, waitForResponse } from './admission-cluster.ts';
import { container, create, PLAIN, pod } from './admission-objects.ts';
import type { ApiCall, ApiResponse } from './api-user.ts';
import { waitForPolicies } from './wait-for-policies.ts';

/** The cluster starts with the base; everything else comes from the page. */
const admission = useAdmission([]);
const PAGE = 'docs/admission.md';
const NAMESPACE = 'evaluations';

let directory: UserDirectory;
/** The text of the block with this mark. */
const block = (mark: string) => markedBlock(PAGE, mark, 'run');
/** Sets the reader's kustomization to that of docs/install.md with what these blocks add. */
const write = (...marks: readonly string[]) => directory.reset(PAGE, ...marks);

/** Runs commands in the reader's directory, waits until policies are in force, and returns the output. */
async function shell(script: string): Promise<string> {
  const { cluster } = admission();
  const path = `${dirname(cluster.kubectlCommand([]).command)}:${process.env.PATH}`;
  const env = { ...process.env, PATH: path, KUBECONFIG: cluster.kubeconfig };
  const printed = await run('/bin/sh', ['-euc', script], { cwd: directory.path, env });
  await waitForPolicies(admission());
  return printed;
}
const apply = 'kubectl apply -k .';

const plain = create(NAMESPACE, pod(PLAIN));
const IS_NOT_SET = 'spec.runtimeClassName is not set: write runtimeClassName: gvisor';
const answers = (call: ApiCall, answer: Answer) => assertAnswer(admission(), 'admin', call, answer);
const warnOnly = () => answers(plain, { warned: IS_NOT_SET });
const reject = async () => {
  await answers(plain, { refused: IS_NOT_SET });
  await answers(create(NAMESPACE, pod()), { accepted: true });
};
const createPlain = () => admission().as('admin', dryRun(plain));
const classOf = ({ body }: ApiResponse) =>
  (body as { readonly spec: { readonly runtimeClassName?: string } }).spec.runtimeClassName;

describe('the commands of the page on admission', () => {
  before(async () => {
    directory = await UserDirectory.create();
    await admission().cluster.kubectl(['create', 'namespace', NAMESPACE]);
    await waitForResponse('a pod in the new namespace', createPlain, ({ code }) => code === 201);
  });
  after(() => directory.remove());

  it('only warn in the first stage', async () => {
    await write('enforce');
    await shell(block('audit'));
    await warnOnly();
  });

  it('reject in the second stage', async () => {
    assert.match(await shell(block('enforce')), /^namespace\/evaluations labeled$/m);
    await reject();
  });

  it('list the pods that are older than the label', async () => {
    const printed = await shell(block('older').replaceAll(NAMESPACE, 'strict'));
    assert.match(printed, /^NAME +CLASS +NODE\n/);
    assert.match(printed, /^old-plain +<none> +node-9$/m);
  });

  it('switch to audit, where no label rejects anything, and back', async () => {
    await write('enforce', 'audit stage');
    await shell(apply);
    await warnOnly();
    await write('enforce');
    await shell(apply);
    await reject();
  });

  it('change the settings', async () => {
    await write('enforce', 'settings');
    await shell(apply);
    const accepts = (spec: object) => answers(create('strict', pod({ spec })), { accepted: true });
    await accepts({ runtimeClassName: 'gvisor-gpu' });
    await accepts({ volumes: [{ name: 'host', hostPath: { path: '/' } }] });
    // A class that selects nothing, with a label of a pool.
    await accepts({ runtimeClassName: 'gvisor-gpu', nodeSelector: { 'example.org/gvisor': 'true' } });
    const spec = container({ securityContext: { privileged: true } });
    await answers(create('strict', pod({ spec })), { refused: 'privileged is not allowed' });
  });

  it('inject another runtime class', async () => {
    await write('enforce', 'inject');
    if (!INJECTS) return assert.rejects(shell(apply), /no matches for kind "MutatingAdmissionPolicy"/);
    await shell(apply);
    await waitForPolicies(admission(), ['mutating']);
    assert.equal(classOf(await createPlain()), 'gvisor-gpu');
    const before = create(NAMESPACE, pod());
    await answers(before, { refused: 'is "gvisor": write runtimeClassName: gvisor-gpu$' });
  });

  it('uninstall, and take effect after a new installation', async () => {
    await shell(block('uninstall'));
    if (INJECTS) await shell(block('uninstall, inject'));
    await waitForPolicies(admission(), [INJECTS ? 'mutating' : 'validating']);
    const response = await createPlain();
    assert.deepEqual([response.code, classOf(response)], [201, undefined]);
    await write('enforce');
    await shell(apply);
    await reject();
  });
});
