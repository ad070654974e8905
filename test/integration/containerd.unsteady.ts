import assert from 'node:assert/strict';
import { copyFile, rename } from 'node:fs/promises';
import { after, afterEach, beforeEach, describe, it } from 'node:test';
import { RUNSC } from '../../hack/cluster/node.ts';
import { waitFor } from '../../hack/run.ts';
import { connect, NODES, type NodeClient, type NodeName, proveOn, useNodes } from './integration-cluster.ts';
import { OutsideAgent, touch } from './outside-agent.ts';

const RESTARTS = 10;
const UPGRADES = 10;

/** Calls of a proof at each of which containerd is killed: the moments lie between this one and the next. */
const MOMENTS = ['RunPodSandbox', 'CreateContainer', 'StartContainer', 'ExecSync', 'StopPodSandbox'] as const;

const { node } = useNodes();

for (const { name } of NODES) {
  describe(`${name}: containerd that is killed or restarted`, () => {
    const agent = useAgent(name);

    for (const moment of MOMENTS) {
      it(`killed in ${moment} of a proof is no failure, and the next proof leaves no sandbox`, async () => {
        const client = connect(node(name));
        try {
          await agent().stop(); // its sweep would take the sandbox of the proof in hand for a leftover
          const proof = proveOn(node(name), client);
          await calledOf(client, moment);
          await randomPause(150);
          await node(name).machine.stopDaemon('containerd', 'KILL');
          const outcome = await proof;
          assert.ok(
            ['impossible', 'interrupted', 'proven'].includes(outcome.kind),
            `${moment}: ${JSON.stringify(outcome)}`,
          );
          if (moment !== 'StopPodSandbox') assert.notEqual(outcome.kind, 'proven', moment);
          await node(name).startContainerd();
          const fresh = connect(node(name)); // the old connection waits before it tries again
          try {
            const next = await proveOn(node(name), fresh);
            assert.equal(next.kind, 'proven', JSON.stringify(next));
            assert.deepEqual(await fresh.probes(), []);
          } finally {
            fresh.close();
          }
        } finally {
          client.close();
          await node(name).startContainerd();
        }
      });
    }

    it('killed while an agent proves: nothing is withdrawn within the grace', {
      timeout: 120_000,
    }, async () => {
      const client = connect(node(name));
      try {
        for (let kill = 0; kill < 3; kill++) {
          await touch(node(name));
          await waitFor('a sandbox of the agent', 60_000, async () => (await client.probes())[0], 10);
          await randomPause(300);
          await node(name).machine.stopDaemon('containerd', 'KILL');
          await node(name).startContainerd();
          await agent().nextReport(({ look }) => look.verdict.status === 'True');
        }
        assertNoFlap(agent());
      } finally {
        client.close();
        await node(name).startContainerd();
      }
    });

    it(`restarted ${RESTARTS} times, each in less than 3 s: no flap`, { timeout: 240_000 }, async () => {
      const seconds: number[] = [];
      for (let restart = 0; restart < RESTARTS; restart++) {
        const begun = performance.now();
        await node(name).restart('containerd');
        seconds.push((performance.now() - begun) / 1000);
        await agent().nextReport(({ look }) => look.verdict.status === 'True');
      }
      console.log(
        `${name}: ${RESTARTS} restarts of containerd, the longest ${Math.max(...seconds).toFixed(2)} s`,
      );
      assertNoFlap(agent());
    });

    it(`runsc replaced by rename ${UPGRADES} times: no flap`, { timeout: 240_000 }, async () => {
      const runsc = node(name).path(RUNSC);
      for (let upgrade = 0; upgrade < UPGRADES; upgrade++) {
        const looked = agent().nextReport(({ look }) => look.trigger.startsWith('file'));
        await copyFile(runsc, `${runsc}.next`);
        await rename(`${runsc}.next`, runsc);
        await looked;
      }
      assertNoFlap(agent());
    });

    it('an agent killed in the middle of a proof: the next one removes its sandbox', {
      timeout: 120_000,
    }, async () => {
      const client = connect(node(name));
      await node(name).machine.stopDaemon('kubelet'); // it would remove the sandbox as well
      try {
        await touch(node(name));
        const left = await waitFor(
          'a sandbox of the agent',
          60_000,
          async () => (await client.probes())[0],
          10,
        );
        await agent().stop('SIGKILL');
        assert.ok((await client.probes()).includes(left), 'the sandbox outlives the agent');
        const successor = new OutsideAgent(node(name));
        await successor.proven();
        await successor.stop();
        assert.deepEqual(await client.probes(), []);
        assertNoFlap(successor);
      } finally {
        client.close();
        await node(name).startKubelet();
      }
    });
  });
}

/** An agent that has proven the node before each test, and is gone after it. */
function useAgent(name: NodeName): () => OutsideAgent {
  let agent: OutsideAgent | undefined;
  beforeEach(
    async () => {
      agent = new OutsideAgent(node(name));
      await agent.proven();
    },
    { timeout: 60_000 },
  );
  afterEach(() => agent?.stop());
  after(() => agent?.stop());
  return () => {
    if (agent === undefined) throw new Error('The agent has not started yet');
    return agent;
  };
}

function assertNoFlap(agent: OutsideAgent): void {
  assert.deepEqual(
    agent.changes.map(({ reason, message }) =>
      reason === 'SandboxProven' ? reason : `${reason}: ${message}`,
    ),
    ['SandboxProven'],
  );
}

/** Waits until the client has begun a call of this method. */
async function calledOf(client: NodeClient, method: string): Promise<void> {
  await waitFor(method, 20_000, async () => (client.calls.includes(method) ? true : undefined), 1);
}

async function randomPause(mostMs: number): Promise<void> {
  await new Promise((wake) => setTimeout(wake, Math.random() * mostMs));
}
