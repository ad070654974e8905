import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import type { Cluster } from '../../cluster/cluster.ts';
import { evaluationPod } from '../../cluster/story.ts';
import { patient, waitFor } from '../../hack/run.ts';
import { markedBlock } from '../docs/marked-blocks.ts';
import { GUIDE_IMAGE, nameImageAsInGuides, UserDirectory } from '../docs/user-directory.ts';
import { onDaemonSet, waitForNode } from '../e2e/agents.ts';
import { tryCreate, useOwnCluster } from '../e2e/e2e-cluster.ts';
import { marksOn, runWithKubectl } from '../e2e/installation.ts';
import { operatorModule } from './operator-objects.ts';

const APPLY = 'kubectl apply -k .';
const NAMESPACE = 'evaluations';

let cluster: Cluster;
let directory: UserDirectory;
useOwnCluster('pages', [{ name: 'node-1' }], async (started) => {
  cluster = started;
  await nameImageAsInGuides(cluster);
  directory = await UserDirectory.create();
});
after(() => directory?.remove());

/** Runs commands in the reader's directory. */
const shell = (script: string) => runWithKubectl(cluster, `cd '${directory.path}'\n${script}`);

/** Asserts that agent and fleet controller run the reader's image, and that the node is proven. */
async function assertInstalled(): Promise<void> {
  const agents = ['-n', 'gvisor-ready', 'rollout', 'status', 'daemonset/gvisor-ready-agent'];
  await cluster.kubectl([...agents, '--timeout=120s'], undefined, 130_000);
  const path = 'jsonpath={.spec.template.spec.containers[0].image}';
  assert.equal(await onDaemonSet(cluster, ['get'], ['-o', path]), GUIDE_IMAGE);
  const fleet = ['-n', 'gvisor-ready', 'get', 'deployment', 'gvisor-ready-fleet', '-o', path];
  assert.equal(await cluster.kubectl(fleet), GUIDE_IMAGE);
  await waitForNode(cluster, 'node-1', ({ condition }) => condition === 'True SandboxProven');
}

/** Creates a pod outside gVisor until the output matches. */
async function waitForOutput(expected: RegExp): Promise<void> {
  const pod = evaluationPod('outside', { gvisor: false });
  await waitFor(`the creation of a pod to print ${expected}`, 60_000, async () => {
    const { output } = await tryCreate(cluster, NAMESPACE, pod, '--dry-run=server');
    return expected.test(output) || undefined;
  });
}

describe('the pages, followed in order with one kustomization', () => {
  it('install the agents (docs/install.md)', { timeout: patient(300_000) }, async () => {
    const install = markedBlock('docs/install.md', 'kubectl');
    assert.ok(install.includes(APPLY));
    await shell(install);
    await assertInstalled();
  });

  it('warn, then refuse pods outside gVisor (docs/admission.md)', { timeout: patient(300_000) }, async () => {
    await cluster.kubectl(['create', 'namespace', NAMESPACE]);
    await directory.addBlock('docs/admission.md', 'enforce');
    await shell(markedBlock('docs/admission.md', 'audit', 'run'));
    await waitForOutput(/Warning: .*requires gVisor/);
    await shell(markedBlock('docs/admission.md', 'enforce', 'run'));
    await waitForOutput(/Forbidden.*requires gVisor/);
    await assertInstalled();
  });

  it('monitor (docs/monitoring.md)', { timeout: patient(300_000) }, async () => {
    const crds = join(await operatorModule(), 'example/prometheus-operator-crd');
    for (const name of ['podmonitors', 'prometheusrules']) {
      const file = join(crds, `monitoring.coreos.com_${name}.yaml`);
      await cluster.kubectl(['apply', '--server-side', '-f', file]);
      await cluster.kubectl(['wait', '--for=condition=Established', '-f', file, '--timeout=60s']);
    }
    await directory.addBlock('docs/monitoring.md', 'monitoring');
    assert.match(await shell(APPLY), /^podmonitor\S* created$/m);
    await assertInstalled();
    await waitForOutput(/Forbidden.*requires gVisor/);
  });

  it('taint nodes that are not proven (docs/operations.md)', { timeout: patient(300_000) }, async () => {
    await directory.addBlock('docs/operations.md', 'taint');
    await shell(APPLY);
    await assertInstalled();
    assert.equal(
      (await marksOn(cluster, 'node-1')).some((mark) => mark.endsWith('/not-ready')),
      false,
    );
  });

  it('change nothing when they are applied again', async () => {
    const changed = (await shell(APPLY))
      .split('\n')
      .filter((line) => line !== '' && !/ unchanged$/.test(line));
    assert.deepEqual(changed, []);
  });
});
