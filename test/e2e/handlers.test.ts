import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { Cluster } from '../../cluster/cluster.ts';
import { breakNode, healNode } from '../../cluster/faults/break-node.ts';
import { deployAgent } from '../../cluster/labels.ts';
import { additionalFiles } from '../../cluster/node/config.ts';
import { evaluationPod, runPod } from '../../cluster/pods.ts';
import { REPO } from '../../hack/paths.ts';
import { waitFor } from '../../hack/run.ts';
import type { Status } from '../../lib/report/report.ts';
import { DOMAIN, readinessOf, readNode, readReport, waitForMetric, waitForNode } from './agents.ts';
import { deletePods, useOwnCluster } from './e2e-cluster.ts';

const HANDLER = 'runsc-debug';
const CLASS = 'gvisor-debug';
const LABEL = `${DOMAIN}/ready-${HANDLER}`;
const PROVEN_BOOT = `${DOMAIN}/proven-boot-${HANDLER}`;
const NODES = [{ name: 'node-1', additional: [HANDLER] }, { name: 'node-2' }] as const;

let cluster: Cluster;
useOwnCluster('handlers', NODES, async (started) => {
  cluster = started;
  await deployAgent(cluster, join(REPO, 'cluster/additional-handler'));
});

/** Waits until the label of the additional handler has this value, and returns the Node. */
async function waitForLabel(node: string, value: string | undefined) {
  return waitFor(`the label ${LABEL} of ${node} to be ${value}`, 60_000, async () => {
    const found = await readNode(cluster, node);
    return found.metadata.labels[LABEL] === value ? found : undefined;
  });
}

const proven = { condition: 'True SandboxProven', ready: 'true' };
const kernelIn = (pod: string) => cluster.kubectl(['exec', pod, '--', 'cat', '/proc/version']);
const ofClass = (name: string, runtimeClass: string, spec: object = {}) =>
  evaluationPod(name, { gvisor: true, runtimeClass, spec });

/** Pins a pod to a node by its hostname, as an affinity does, past no taint and no class. */
const on = (node: string) => ({ nodeSelector: { 'kubernetes.io/hostname': node } });

describe('an additional handler', () => {
  it('has a label of its own, on the node that has it', async () => {
    const { metadata, status } = await waitForLabel('node-1', 'true');
    assert.equal(metadata.annotations[PROVEN_BOOT], status.nodeInfo.bootID);
    await waitForLabel('node-2', 'false');
    for (const { name } of NODES) {
      const { ready, condition } = await waitForNode(cluster, name, ({ ready }) => ready === 'true');
      assert.deepEqual({ ready, condition }, proven);
    }
    // An agent serves a report for a moment after it has written a newer one's label.
    const handlers = await waitFor('the report of the additional handler', 10_000, async () => {
      const report = (await readReport(cluster, 'node-1')) as Status;
      return report.handlers?.map(({ handler, verdict }) => [handler, verdict.reason]);
    });
    assert.deepEqual(handlers, [[HANDLER, 'SandboxProven']]);
    await waitForMetric(
      cluster,
      'node-1',
      `gvisor_ready_handler_status{handler="${HANDLER}",status="True"} 1`,
    );
    await waitForMetric(cluster, 'node-2', `gvisor_ready_handler_expected{handler="${HANDLER}"} 0`);
  });

  it('takes pods while the main handler of its node is broken', async () => {
    const node = cluster.node('node-1');
    await breakNode(cluster, node, 'shim-missing');
    await waitForNode(cluster, 'node-1', ({ condition }) => condition === 'False ShimNotFound');
    assert.equal(await runPod(cluster, 'debug', ofClass('debug', CLASS)), 'node-1');
    assert.match(await kernelIn('debug'), /^Linux version 4\.4\.0 /);
    assert.equal(await runPod(cluster, 'plain', ofClass('plain', 'gvisor')), 'node-2');
    assert.equal((await readNode(cluster, 'node-1')).metadata.labels[LABEL], 'true');
    await healNode(cluster, node, 'shim-missing');
    await waitForNode(cluster, 'node-1', ({ ready }) => ready === 'true');
    await deletePods(cluster, 'debug', 'plain');
  });

  it('that is broken loses its label alone, and its pods wait', async () => {
    const node = cluster.node('node-1');
    const before = readinessOf(await readNode(cluster, 'node-1'));
    const { shim } = additionalFiles(HANDLER);
    await node.remove(shim);
    const { metadata } = await waitForLabel('node-1', 'false');
    assert.ok(PROVEN_BOOT in metadata.annotations);
    await waitForMetric(
      cluster,
      'node-1',
      `gvisor_ready_handler_reason{handler="${HANDLER}",reason="ShimNotFound"} 1`,
    );
    const about = '--field-selector=reason=ShimNotFound,involvedObject.name=node-1';
    const messages = ['get', 'events', about, '-o', 'jsonpath={.items[*].message}'];
    await waitFor('the event', 20_000, async () =>
      /handler "runsc-debug": /.test(await cluster.kubectl(messages)),
    );
    await cluster.kubectl(['apply', '-f', '-'], ofClass('waiting', CLASS));
    assert.equal(await runPod(cluster, 'main', ofClass('main', 'gvisor', on('node-1'))), 'node-1');
    const phase = ['get', 'pod', 'waiting', '-o', 'jsonpath={.status.phase} {.spec.nodeName}'];
    assert.equal(await cluster.kubectl(phase), 'Pending ');
    assert.deepEqual(readinessOf(await readNode(cluster, 'node-1')), before);
    const gvisor = await node.gvisor();
    assert.ok(gvisor);
    await node.installProgram({ ...gvisor, shim }, 'shim');
    await waitForLabel('node-1', 'true');
    await waitFor(
      'the pod that waited',
      60_000,
      async () => (await cluster.kubectl(phase)) === 'Running node-1',
    );
    await deletePods(cluster, 'waiting', 'main');
  });
});
