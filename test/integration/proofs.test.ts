import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { OutsideAgent } from '../../cluster/node/outside-agent.ts';
import { patient, waitFor } from '../../hack/run.ts';
import {
  assertNoneStoppable,
  connect,
  NODES,
  type NodeName,
  PROOF_CALLS,
  proveOn,
  randomPause,
  useNodes,
} from './integration-cluster.ts';

const PROOFS = 10;

const { node } = useNodes();

it('an agent with the memory limit of its pod proves gVisor beside sixteen pods with 60,000 labels each', async () => {
  const one = node('containerd-2');
  const client = connect(one);
  const command = [process.execPath, '--max-old-space-size=96', 'agent/main.ts'];
  await one.machine.stopDaemon('kubelet'); // it would remove unknown pods
  const timeoutMs = patient(60_000);
  const ids: string[] = [];
  let agent: OutsideAgent | undefined;
  try {
    for (let n = 0; n < 16; n++) ids.push(await client.runSandbox(labelledPod(n), '', { timeoutMs }));
    agent = new OutsideAgent(one, {}, { command, env: {} });
    await agent.proven();
  } finally {
    await agent?.stop();
    for (const id of ids) await client.removeSandbox(id, { timeoutMs });
    client.close();
    await one.startKubelet();
  }
});

describe('two provers beside a kubelet, which removes unknown sandboxes', {
  concurrency: true,
}, () => {
  for (const { name } of NODES)
    it(`do not remove each other's probes and never fail on ${name}`, {
      timeout: patient(300_000),
    }, async () => {
      assert.notEqual(node(name).machine.daemonPid('kubelet'), undefined, 'the kubelet runs');
      const client = connect(node(name));
      try {
        const prove = async (owner: string) => {
          const kinds: string[] = [];
          for (let proof = 0; proof < PROOFS; proof++) {
            const outcome = await proveOn(node(name), client, owner);
            const found = 'reason' in outcome ? outcome.reason : outcome.kind;
            // A machine that other tests load may be too slow for an answer.
            assert.match(found, /^(proven|ProbeInterrupted|CheckTimedOut)$/, JSON.stringify(outcome));
            kinds.push(outcome.kind);
          }
          return kinds;
        };
        const kinds = (await Promise.all([prove('one'), prove('other')])).flat();
        const proven = kinds.filter((kind) => kind === 'proven').length;
        const attempts = client.calls.filter((call) => call === 'RunPodSandbox').length;
        console.log(`${name}: ${proven} of ${kinds.length} proofs proven, with ${attempts} attempts`);
        assert.ok(proven > 0);
        assert.deepEqual(await client.readyProbes(), []);
        const remaining = await client.deadProbes();
        assert.ok(remaining.length <= 2, `sandboxes remain: ${remaining.join(', ')}`);
      } finally {
        client.close();
      }
    });
});

describe('containerd killed during a proof', { concurrency: true }, () => {
  for (const { name } of NODES)
    describe(`on ${name}`, { concurrency: false }, () => {
      // containerd is killed between each call and the next.
      for (const call of PROOF_CALLS)
        it(`after ${call}: the proof does not fail, and the next succeeds`, () => killedIn(name, call));
    });
});

async function killedIn(name: NodeName, call: string): Promise<void> {
  const client = connect(node(name));
  try {
    const proof = proveOn(node(name), client);
    await waitFor(call, 20_000, async () => client.calls.includes(call), 1);
    await randomPause(150);
    await node(name).machine.stopDaemon('containerd', 'KILL');
    const outcome = await proof;
    const allowed =
      call === 'RunPodSandbox' ? /^(inconclusive|interrupted)$/ : /^(inconclusive|interrupted|proven)$/;
    assert.match(outcome.kind, allowed, JSON.stringify(outcome));
    await node(name).startContainerd();
    // The socket exists before the CRI responds.
    await waitFor('the CRI', 30_000, () => client.status());
    const next = await proveOn(node(name), client);
    assert.equal(next.kind, 'proven', JSON.stringify(next));
    await assertNoneStoppable(client);
  } finally {
    client.close();
    await node(name).startContainerd();
  }
}

/** A kubelet's sandbox for a pod with as many labels as the API server accepts. */
function labelledPod(n: number) {
  const uid = `labelled-${n}`;
  const labels = Array.from({ length: 60_000 }, (_, label) => [`l${label.toString(36)}`, '']);
  return {
    metadata: { name: uid, namespace: 'eval', uid, attempt: 0 },
    labels: Object.fromEntries([...labels, ['io.kubernetes.pod.uid', uid]]),
    linux: {
      cgroupParent: `/kubepods/besteffort/pod${uid}`,
      securityContext: { namespaceOptions: { network: 'NODE', pid: 'CONTAINER', ipc: 'POD' } },
    },
  };
}
