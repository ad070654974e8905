import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { describe, it } from 'node:test';
import { breakAndWait, breakNode, healNode } from '../../cluster/faults/break-node.ts';
import { evaluationPod } from '../../cluster/pods.ts';
import { waitFor } from '../../hack/run.ts';
import { agentPids, waitForNode } from './agents.ts';
import { useDispatcher } from './dispatcher-cluster.ts';
import { FREE } from './dispatcher-run.ts';
import { GVISOR_NODES, startPod } from './e2e-cluster.ts';

const { cluster, call, kubectl, kernelIn } = useDispatcher();

describe('the dispatcher', () => {
  it('starts a pod in gVisor while nodes are proven', async () => {
    const { code, output, stderr } = await call({ name: 'started' });
    assert.equal(code, 0, stderr);
    assert.equal(output.in_gvisor, true);
    assert.match(String(output.node), /^node-[12]$/);
    assert.match(await kernelIn('started'), /^Linux version 4\.4\.0 /);
    const label = 'jsonpath={.metadata.labels.gvisor-ready\\.dev/dispatch}';
    assert.equal(await kubectl('get', 'pod', 'started', '-n', FREE, '-o', label), 'gvisor');
  });

  it('does not vouch for a pod of the class that started while the handler ran runc', async () => {
    const node = cluster().node('node-1');
    const spec = { nodeSelector: { 'kubernetes.io/hostname': 'node-1' } };
    const pids = agentPids(node.machine);
    await node.machine.kill('STOP', pids); // as slow as an agent can be
    try {
      await breakNode(cluster(), node, 'handler-runs-runc');
      await startPod(cluster(), FREE, 'outside', evaluationPod('outside', { gvisor: true, spec }));
    } finally {
      await node.machine.kill('CONT', pids);
    }
    assert.equal(await kernelIn('outside'), (await readFile('/proc/version', 'utf8')).trim());
    await healNode(cluster(), node);
    await waitForNode(cluster(), 'node-1', ({ condition }) => condition === 'True SandboxProven');
    await waitFor('the pod to be explained', 30_000, async () => {
      const { output, stderr } = await call({ name: 'outside', argv: ['explain', '-n', FREE, 'outside'] });
      if (output.in_gvisor === false && output.reason === 'UnsandboxedPod') return true;
      throw new Error(`${JSON.stringify(output)} ${stderr}`);
    });
  });

  // Who may fall back, when, and what is noted then is in `test/dispatcher`; `test/smoke` has a refusal.
  it('falls back with a warning while gVisor fails, if the namespace allows it', async () => {
    await Promise.all(GVISOR_NODES.map((node) => breakAndWait(cluster(), node, 'runsc-missing')));
    const { code, output, stderr } = await call({ policy: 'prefer', name: 'fallback' });
    assert.deepEqual([code, output.in_gvisor, output.reason], [0, false, 'GVisorFails'], stderr);
    assert.match(
      stderr,
      /^WARNING dispatcher-free\/fallback runs WITHOUT gVisor: GVisorFails: .*RunscNotFound/m,
    );
    assert.equal(await kernelIn('fallback'), (await readFile('/proc/version', 'utf8')).trim());
  });
});
