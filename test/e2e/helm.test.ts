import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Cluster } from '../../cluster/cluster.ts';
import { READY_PATH, watchLabels } from '../../cluster/labels.ts';
import { evaluationPod, runPod } from '../../cluster/pods.ts';
import { ensureTools } from '../../cluster/tools/tools.ts';
import { patient, waitFor } from '../../hack/run.ts';
import { markedBlocks, substituteSettings } from '../docs/marked-blocks.ts';
import { onDaemonSet, readinessOf, readNode, waitForNode } from './agents.ts';
import { deletePods, tryCreate, useOwnCluster } from './e2e-cluster.ts';
import { marksOn, remainingObjects, runWithKubectl, TEST_PASSED, UNINSTALLED } from './installation.ts';

const NODES = [{ name: 'node-1' }, { name: 'node-2', gvisor: 'none' }] as const;
/** The repository of the local image. */
const REPOSITORY = 'localhost/gvisor-ready';
const NAMESPACE = 'evaluations';

let cluster: Cluster;
useOwnCluster('helm', NODES, async (started) => (cluster = started));

const PAGES = ['docs/install.md', 'docs/admission.md', 'docs/operations.md'];

/** The commands of the pages for one step. */
function commandsTo(step: string): string {
  const block = PAGES.flatMap(markedBlocks).find(({ mark }) => mark === `helm, ${step}`);
  assert.ok(block !== undefined, step);
  return substituteSettings(block.text, { REPOSITORY, NAMESPACE });
}

/** Runs the commands for one step with Helm 4; returns standard output and standard error. */
async function runStep(step: string): Promise<string> {
  const { helm } = await ensureTools(['helm']);
  return runWithKubectl(cluster, `exec 2>&1\n${commandsTo(step)}`, [helm]);
}

async function waitForVerdicts(): Promise<void> {
  await waitForNode(cluster, 'node-1', ({ condition }) => condition === 'True SandboxProven');
  await waitForNode(cluster, 'node-2', ({ condition }) => condition === 'False HandlerNotConfigured');
}

/** Asserts that label and condition of node-1 stay during an action, and a gVisor pod keeps running. */
async function assertStaysReady(act: () => Promise<unknown>): Promise<void> {
  const path = 'jsonpath={.metadata.uid}{.status.containerStatuses}';
  const pod = () => cluster.kubectl(['get', 'pod', 'evaluation', '-o', path]);
  const labels: string[] = [];
  const watch = watchLabels(cluster, ['node-1'], [READY_PATH], ([label = '']) => labels.push(label));
  const [podBefore, { since }] = [await pod(), readinessOf(await readNode(cluster, 'node-1'))];
  try {
    await act();
    await waitFor('the watch to report node-1', 30_000, async () => labels.length > 0);
  } finally {
    watch.close();
  }
  assert.deepEqual([...new Set(labels)], ['true']);
  const readiness = readinessOf(await readNode(cluster, 'node-1'));
  assert.deepEqual([readiness.condition, readiness.since], ['True SandboxProven', since]);
  assert.equal(await pod(), podBefore);
}

const settingNames = () =>
  onDaemonSet(cluster, ['get'], ['-o', 'jsonpath={.spec.template.spec.containers[0].env[*].name}']);

describe('the Helm steps of the guides', () => {
  it('make the node ready with Helm 4, and pass its test', { timeout: patient(300_000) }, async () => {
    assert.match(await runStep('install'), TEST_PASSED);
    await waitForVerdicts();
  });

  it('require gVisor in a namespace', { timeout: patient(120_000) }, async () => {
    await runStep('enforce');
    const create = async (gvisor: boolean) =>
      (await tryCreate(cluster, NAMESPACE, evaluationPod('tried', { gvisor }), '--dry-run=server')).output;
    await waitFor('the policy to be in force', 60_000, async () =>
      (await create(false)).includes(`the namespace "${NAMESPACE}" requires gVisor`),
    );
    assert.match(await create(true), /created/);
  });

  it('upgrade and roll back under a running gVisor pod without losing the label', {
    timeout: patient(300_000),
  }, async () => {
    await runPod(cluster, 'evaluation', evaluationPod('evaluation', { gvisor: true }));
    await assertStaysReady(() => runStep('upgrade'));
    assert.match(await settingNames(), /PROOF_INTERVAL/);
    await assertStaysReady(() => runStep('rollback'));
    assert.doesNotMatch(await settingNames(), /PROOF_INTERVAL/);
    await deletePods(cluster, 'evaluation');
  });

  it('uninstall without leaving anything', { timeout: patient(300_000) }, async () => {
    assert.ok((await marksOn(cluster, 'node-1')).length > 0);
    await cluster.kubectl(['delete', 'namespace', NAMESPACE]);
    assert.match(await runStep('uninstall'), UNINSTALLED);
    for (const { name } of NODES) assert.deepEqual(await marksOn(cluster, name), [], name);
    assert.deepEqual(await remainingObjects(cluster), []);
  });
});
