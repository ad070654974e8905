import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { describe, it } from 'node:test';
import { evaluationPod, runPod } from '../../cluster/story.ts';
import { waitFor } from '../../hack/run.ts';
import { deletePods, useCluster } from './e2e-cluster.ts';

const cluster = useCluster();
const NAMESPACE = ['--namespace', 'gvisor-ready'];

/** The agent's pod on a node, and its address. */
async function agentOn(node: string): Promise<{ name: string; address: string }> {
  const path = 'jsonpath={.items[0].metadata.name} {.items[0].status.podIP}';
  const args = ['get', 'pods', ...NAMESPACE, '--field-selector', `spec.nodeName=${node}`, '-o', path];
  const [name = '', address = ''] = (await cluster().kubectl(args)).split(' ');
  return { name, address };
}

describe('the cluster', () => {
  it('returns the logs of a pod', async () => {
    const { name } = await agentOn('node-1');
    const lines = (await cluster().kubectl(['logs', ...NAMESPACE, name])).trim().split('\n');
    const first = JSON.parse(lines[0] ?? '{}') as { msg?: string; node?: string };
    assert.deepEqual([first.msg, first.node], ['agent started', 'node-1']);
  });

  it('routes traffic between pods of different nodes', async () => {
    const from = await agentOn('node-1');
    const to = await agentOn('node-3');
    const script = `fetch('http://${to.address}:9477/livez').then(r => r.text()).then(console.log)`;
    const args = ['exec', ...NAMESPACE, from.name, '--', '/usr/local/bin/node', '-e', script];
    assert.equal(await cluster().kubectl(args), 'ok\n\n');
  });

  it('forwards a port to a pod', async () => {
    const { name } = await agentOn('node-1');
    const { command, args } = cluster().kubectlCommand(['port-forward', ...NAMESPACE, name, ':9477']);
    const forward = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    try {
      const [line] = (await once(createInterface({ input: forward.stdout }), 'line')) as [string];
      const port = /127\.0\.0\.1:(\d+)/.exec(line)?.[1];
      const report = await (await fetch(`http://127.0.0.1:${port}/`)).text();
      assert.match(report, /gVisor works here/);
    } finally {
      forward.kill();
      await once(forward, 'exit');
    }
  });

  it('restarts a kubelet without restarting a gVisor pod', async () => {
    const home = await runPod(cluster(), 'resident', evaluationPod('resident', { gvisor: true }));
    const started = await cluster().kubectl(['get', 'pod', 'resident', '-o', 'jsonpath={.status.startTime}']);
    await cluster().node(home).restart('kubelet');
    await cluster().waitForNodes([home]);
    // A kubelet that runs an exec in the pod has synced it.
    await waitFor(
      'the kubelet to exec in the pod',
      30_000,
      async () => (await cluster().kubectl(['exec', 'resident', '--', 'echo', 'here'])) === 'here\n',
    );
    const path = 'jsonpath={.status.phase} {.status.startTime} {.status.containerStatuses[0].restartCount}';
    assert.equal(await cluster().kubectl(['get', 'pod', 'resident', '-o', path]), `Running ${started} 0`);
    await deletePods(cluster(), 'resident');
  });
});
