import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { Cluster } from '../../cluster/cluster.ts';
import { breakAndWait, healAndWait } from '../../cluster/faults/break-node.ts';
import { deployAgent, viewNodes } from '../../cluster/labels.ts';
import { evaluationPod, runPod } from '../../cluster/pods.ts';
import { ensureImage, imageName } from '../../cluster/tools/images.ts';
import { REPO } from '../../hack/paths.ts';
import { runAll, waitFor } from '../../hack/run.ts';
import { markedBlock, substituteSettings } from '../docs/marked-blocks.ts';
import { UserDirectory } from '../docs/user-directory.ts';
import { waitForMetric, waitForNode } from '../e2e/agents.ts';
import { dispatch, FREE, grantDispatcher } from '../e2e/dispatcher-run.ts';
import { useOwnCluster } from '../e2e/e2e-cluster.ts';
import { marksOn, remainingObjects, runWithKubectl } from '../e2e/installation.ts';
import { REASON_OF_FAULT } from '../reason-of-fault.ts';

/** Only current versions, so that a new machine builds as little as possible. */
const NODES = [{ name: 'node-1' }, { name: 'node-2' }] as const;

let cluster: Cluster;
useOwnCluster('smoke', NODES, async (started) => {
  cluster = started;
  await deployAgent(cluster, join(REPO, 'manifests/base'));
});

const kernelIn = async (pod: string) =>
  (await cluster.kubectl(['exec', pod, '--', 'cat', '/proc/version'])).trim();

describe('two nodes with gVisor', () => {
  it("are labelled, and a pod of the RuntimeClass runs on gVisor's kernel", async () => {
    for (const { name } of NODES) {
      const { condition } = await waitForNode(cluster, name, ({ ready }) => ready === 'true');
      assert.equal(condition, 'True SandboxProven');
    }
    await runPod(cluster, 'inside', evaluationPod('inside', { gvisor: true }));
    await runPod(cluster, 'outside', evaluationPod('outside', { gvisor: false }));
    assert.match(await kernelIn('inside'), /^Linux version 4\.4\.0 #1 SMP Sun Jan 10 15:06:54 PST 2016$/);
    assert.notEqual(await kernelIn('outside'), await kernelIn('inside'));
  });

  it('lose the label with the shim: running pods stay, new pods start on the other node', async () => {
    const home = await runPod(cluster, 'first', evaluationPod('first', { gvisor: true }));
    await breakAndWait(cluster, home, 'shim-missing');
    await waitForNode(cluster, home, ({ condition }) => condition === 'False ShimNotFound');
    const phase = await cluster.kubectl(['get', 'pod', 'first', '-o', 'jsonpath={.status.phase}']);
    assert.equal(phase, 'Running');
    const other = await runPod(cluster, 'second', evaluationPod('second', { gvisor: true }));
    assert.notEqual(other, home);
    await healAndWait(cluster, home, 'shim-missing');
  });

  for (const [node, fault] of [
    ['node-1', 'runsc-cannot-boot'],
    ['node-2', 'handler-runs-runc'],
  ] as const) {
    it(`lose and regain the label: ${fault}`, async () => {
      await breakAndWait(cluster, node, fault);
      const lost = await waitForNode(cluster, node, ({ condition }) => condition.startsWith('False'));
      const reason = REASON_OF_FAULT[fault];
      assert.deepEqual([lost.condition, lost.provenBy], [`False ${reason}`, '']);
      await waitForMetric(cluster, node, `gvisor_ready_node_reason{reason="${reason}"} 1`);
      const about = `--field-selector=involvedObject.name=${node},reason=${reason},source=gvisor-ready`;
      await waitFor(`the event ${reason} on ${node}`, 20_000, async () =>
        /^event\//.test(await cluster.kubectl(['get', 'events', about, '-o', 'name'])),
      );
      await healAndWait(cluster, node, fault);
    });
  }

  it("let no dispatcher fall back to the host's kernel without the namespace's consent", async () => {
    await grantDispatcher(cluster);
    await cluster.kubectl(['label', 'namespace', FREE, 'gvisor-ready.dev/allow-host-kernel-']);
    await Promise.all(NODES.map(({ name }) => breakAndWait(cluster, name, 'runsc-missing')));
    const { code, output, stderr } = await dispatch(cluster, { policy: 'prefer', name: 'fallback' });
    assert.deepEqual([code, output.reason], [3, 'GVisorFails'], stderr);
    assert.equal(await cluster.kubectl(['get', 'pods', '-n', FREE]), '');
    await Promise.all(NODES.map(({ name }) => healAndWait(cluster, name, 'runsc-missing')));
  });

  it('get a third, whose gVisor the installer brings, and faults find it there', async () => {
    const images = [await ensureImage('workload'), await ensureImage('agent')];
    await cluster.addNode({ name: 'node-3', gvisor: 'none' }, images);
    await waitForNode(cluster, 'node-3', ({ condition }) => condition === 'False HandlerNotConfigured');
    const install = (release: string) => {
      const words = ['cluster/commands/main.ts', '--name', cluster.name, 'install', 'node-3', release];
      const options = { cwd: REPO, timeoutMs: 120_000 };
      return runAll(process.execPath, [...words], options);
    };
    const refused = await install('broken');
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /pre-prove: gVisor broken does not boot here, so nothing was changed/);
    const { code, stdout, stderr } = await install('current');
    assert.equal(code, 0, stderr);
    assert.match(stdout, /commit +handler "runsc" runs gVisor release-/);
    await waitForNode(cluster, 'node-3', ({ ready }) => ready === 'true');
    await breakAndWait(cluster, 'node-3', 'shim-missing');
    await healAndWait(cluster, 'node-3');
  });

  it('are clean after the uninstall of docs/operations.md', async () => {
    assert.equal((await viewNodes(cluster)).filter(({ ready }) => ready === 'true').length, 3);
    const script = substituteSettings(markedBlock('docs/operations.md', 'kubectl'), {
      AGENT: imageName('agent'),
    });
    const directory = await UserDirectory.create();
    const printed = await runWithKubectl(cluster, `cd '${directory.path}'\n${script}`);
    await directory.remove();
    assert.match(printed, /^3 of 3 nodes to clean$/m);
    for (const { name } of cluster.nodes()) assert.deepEqual(await marksOn(cluster, name), []);
    const remaining = await remainingObjects(cluster);
    assert.deepEqual(
      remaining.filter((name) => !name.includes('gvisor-dispatcher')),
      [],
    );
  });
});
