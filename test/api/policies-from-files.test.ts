import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { parse } from 'yaml';
import { Guard } from '../../agent/publish/guard.ts';
import { argumentsOf } from '../../cluster/control-plane/control-plane.ts';
import { ensureTools } from '../../cluster/tools/tools.ts';
import { waitFor } from '../../hack/run.ts';
import { judgeGuards, readGuards } from '../../lib/fleet/guards.ts';
import type { Kube } from '../../lib/kube/client.ts';
import { logOf } from '../agent/publish/publisher-of.ts';
import { markedBlock } from '../docs/marked-blocks.ts';
import { UserDirectory } from '../docs/user-directory.ts';
import { MINOR } from '../kubernetes-minor.ts';
import { INSTALLATION } from '../lib/fleet/manifest-guards.ts';
import { pod, strategicPatch } from './admission-objects.ts';
import { useApiServer } from './api-server.ts';
import { certificateUser } from './api-user.ts';
import { kubeAs } from './publisher-as.ts';

const PAGE = 'docs/fleet.md';
const ADMISSION = '/etc/kubernetes/admission';
const KINDS = ['validatingadmissionpolicybinding', 'validatingadmissionpolicy'] as const;
/** On by default from 1.37 on. */
const GATE = MINOR < 37 ? ['--feature-gates=ManifestBasedAdmissionControlConfig=true'] : [];

type Kubeadm = {
  readonly apiServer: {
    readonly extraArgs: readonly { readonly name: string; readonly value: string }[];
    readonly extraVolumes: readonly { readonly hostPath: string; readonly mountPath: string }[];
  };
};

const cluster = useApiServer(['enforce']);

describe('policies that the API server reads from files, as docs/fleet.md says', () => {
  let kube: Kube;
  before(async () => {
    const { controlPlane } = cluster();
    const directory = await UserDirectory.create();
    await directory.write(markedBlock(PAGE, 'from-files'));
    const policies = await cluster().kubectl(['kustomize', directory.path]);
    await directory.remove();
    const { apiServer } = parse(markedBlock(PAGE, 'kubeadm')) as Kubeadm;
    assert.deepEqual(
      apiServer.extraVolumes.map(({ hostPath, mountPath }) => [hostPath, mountPath]),
      [[ADMISSION, ADMISSION]],
    );
    const files = {
      'validating/gvisor-ready.yaml': policies,
      'configuration.yaml': markedBlock(PAGE, 'admission-configuration'),
    };
    await mkdir(controlPlane.path(`${ADMISSION}/validating`), { recursive: true });
    for (const [name, text] of Object.entries(files))
      await writeFile(controlPlane.path(`${ADMISSION}/${name}`), text);
    const { kubernetes } = await ensureTools(['kubernetes']);
    const extra = apiServer.extraArgs.map(({ name, value }) => `--${name}=${value}`);
    const args = [...argumentsOf('kube-apiserver'), ...extra, ...GATE];
    await controlPlane.stopDaemon('kube-apiserver');
    await controlPlane.daemon('kube-apiserver', [join(kubernetes, 'kube-apiserver'), ...args]);
    await waitFor('the API server', 120_000, async () => (await cluster().get('/readyz')) === 'ok');
    // The copies in the API go; that of classes, which has parameters, is in the API alone.
    for (const kind of KINDS)
      for (const name of (await cluster().kubectl(['get', kind, '-o', 'name'])).trim().split('\n'))
        if (!name.endsWith('/gvisor-ready-enforce-classes')) await cluster().kubectl(['delete', name]);
    await cluster().kubectl(['create', 'namespace', 'evaluations']);
    await cluster().kubectl(['label', 'namespace', 'evaluations', 'gvisor-ready.dev/require=true']);
    await apply({
      apiVersion: 'v1',
      kind: 'ServiceAccount',
      metadata: { name: 'default', namespace: 'evaluations' },
    });
    for (const name of ['node-1', 'node-2'])
      await apply({ apiVersion: 'v1', kind: 'Node', metadata: { name } });
    const rule = ['--verb=get,patch', '--resource=nodes'];
    await cluster().kubectl(['create', 'clusterrole', 'node-editor', ...rule]);
    await cluster().kubectl([
      'create',
      'clusterrolebinding',
      'editor',
      '--clusterrole=node-editor',
      '--user=editor',
    ]);
    await apply(AGENT);
    const account = { namespace: 'gvisor-ready', account: 'gvisor-ready-agent' };
    kube = await kubeAs(cluster(), account, 'agent');
  });
  after(() => kube.close());

  const apply = (object: object, ...flags: readonly string[]) =>
    cluster().kubectl(['create', ...flags, '-f', '-'], JSON.stringify(object));

  it("answer the agents' question", async () => {
    const guard = new Guard({ kube, node: 'node-1', log: logOf().log });
    const never = new AbortController().signal;
    await guard.ask(AbortSignal.timeout(30_000), never);
    assert.equal(guard.answer, true);
  });

  it('refuse pods outside gVisor, and labels of users on nodes', async () => {
    const plain = pod({ spec: { runtimeClassName: null }, metadata: { namespace: 'evaluations' } });
    await assert.rejects(apply(plain, '--dry-run=server'), /requires gVisor/);
    const editor = await certificateUser(cluster(), 'editor');
    const labels = { 'gvisor.node-restriction.kubernetes.io/ready': 'true' };
    const { message } = await editor(strategicPatch('/api/v1/nodes/node-1', { metadata: { labels } }));
    assert.match(message, /needs the verb/);
  });

  it('cannot be deleted or made with the API', async () => {
    const name = 'gvisor-ready-enforce.static.k8s.io';
    await assert.rejects(cluster().kubectl(['delete', KINDS[1], name]), /not found/);
    const decoy = { apiVersion: 'admissionregistration.k8s.io/v1', kind: 'ValidatingAdmissionPolicy' };
    await assert.rejects(
      apply({ ...decoy, metadata: { name }, spec: { validations: [{ expression: 'true' }] } }),
      /reserved for static/,
    );
  });

  it('are no fault with GUARDS_FROM_FILES=on, and those that the API lacks are named without', async () => {
    const guards = await readGuards(async (path) => JSON.parse(await cluster().get(path)), INSTALLATION);
    const missing = (fromFiles: boolean) =>
      judgeGuards(guards, { hasFleet: true, isRequired: true, fromFiles }).missing.map(({ guard }) => guard);
    assert.deepEqual(missing(true), []);
    assert.ok(missing(false).includes('gvisor-ready-enforce'));
    assert.ok(!missing(false).includes('gvisor-ready-enforce-classes'));
  });
});

const AGENT = {
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'agent', namespace: 'gvisor-ready' },
  spec: {
    nodeName: 'node-1',
    serviceAccountName: 'gvisor-ready-agent',
    tolerations: [{ operator: 'Exists' }],
    containers: [{ name: 'agent', image: 'localhost/none' }],
  },
};
