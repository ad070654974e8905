import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { waitFor } from '../../hack/run.ts';
import { assertNoneToStop, randomPause } from './containerd-kills.ts';
import {
  connect,
  NODES,
  type NodeClient,
  type NodeName,
  type ProofCall,
  proveOn,
  useNodes,
} from './integration-cluster.ts';
import { OutsideAgent } from './outside-agent.ts';

/** Calls of a proof at each of which containerd is killed: the moments lie between this one and the next. */
const MOMENTS = [
  'RunPodSandbox',
  'ListPids',
  'StopPodSandbox',
  'RemovePodSandbox',
] as const satisfies readonly ProofCall[];

const { node } = useNodes();

it('an agent with as much memory as in its pod proves beside sixteen pods of 60,000 labels each', async () => {
  const one = node('containerd-2');
  const client = connect(one);
  const own = [process.execPath, '--max-old-space-size=96', '--import', 'tsx', 'agent/main.ts'];
  await one.machine.stopDaemon('kubelet'); // it would remove what it does not know
  const ids: string[] = [];
  let agent: OutsideAgent | undefined;
  try {
    for (let n = 0; n < 16; n++) ids.push(await client.runSandbox(labelledPod(n), ''));
    agent = new OutsideAgent(one, {}, own);
    await agent.proven();
  } finally {
    await agent?.stop();
    for (const id of ids) await client.removeSandbox(id, { timeoutMs: 60_000 });
    client.close();
    await one.startKubelet();
  }
});

describe('two agents on a node, such as one look beside the agent', { concurrency: true }, () => {
  for (const { name } of NODES)
    it(`leave each other's probes alone on ${name}`, { timeout: 300_000 }, async () => {
      const clients = [connect(node(name)), connect(node(name))] as const;
      const prove = async (owner: string, client: NodeClient) => {
        const kinds: string[] = [];
        for (let proof = 0; proof < 10; proof++) {
          const outcome = await proveOn(node(name), client, owner);
          // The kubelet may stop one now and then, which says so.
          if (outcome.kind !== 'interrupted') kinds.push(outcome.message.replace(/ in [\d.]+ s$/, ''));
        }
        return kinds;
      };
      const seen = await Promise.all([prove('one', clients[0]), prove('other', clients[1])]);
      for (const client of clients) client.close();
      assert.deepEqual([...new Set(seen.flat())], ['a sandbox of handler "runsc" booted in gVisor']);
    });
});

describe('containerd that is killed in the middle of a proof', { concurrency: true }, () => {
  for (const { name } of NODES) describe(`on ${name}`, { concurrency: false }, () => testsOn(name));
});

function testsOn(name: NodeName): void {
  for (const moment of MOMENTS) {
    it(`killed in ${moment} is no failure, and the next proof leaves none that could be stopped`, async () => {
      const client = connect(node(name));
      try {
        const proof = proveOn(node(name), client);
        await calledOf(client, moment);
        await randomPause(150);
        await node(name).machine.stopDaemon('containerd', 'KILL');
        const outcome = await proof;
        assert.ok(
          ['inconclusive', 'interrupted', 'proven'].includes(outcome.kind),
          `${moment}: ${JSON.stringify(outcome)}`,
        );
        if (moment === 'RunPodSandbox') assert.notEqual(outcome.kind, 'proven', moment);
        await node(name).startContainerd();
        await answers(client);
        const next = await proveOn(node(name), client);
        assert.equal(next.kind, 'proven', JSON.stringify(next));
        await assertNoneToStop(client);
      } finally {
        client.close();
        await node(name).startContainerd();
      }
    });
  }
}

/** A sandbox as the kubelet asks for one, of a pod with as many labels as the API server takes. */
function labelledPod(n: number) {
  const uid = `labelled-${n}`;
  const labels = Array.from({ length: 60_000 }, (_, label) => [`l${label.toString(36)}`, '']);
  return {
    metadata: { name: uid, namespace: 'eval', uid, attempt: 0 },
    labels: Object.fromEntries([...labels, ['io.kubernetes.pod.uid', uid]]),
    linux: { securityContext: { namespaceOptions: { network: 'NODE', pid: 'CONTAINER', ipc: 'POD' } } },
  };
}

/** Waits until the client has begun a call of this method. */
async function calledOf(client: NodeClient, method: ProofCall): Promise<void> {
  await waitFor(method, 20_000, async () => (client.calls.includes(method) ? true : undefined), 1);
}

/** Waits until the CRI answers: containerd has its socket a little earlier. */
async function answers(client: NodeClient): Promise<void> {
  await waitFor('the CRI to answer', 30_000, () => client.status());
}
