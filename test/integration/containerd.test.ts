import assert from 'node:assert/strict';
import { copyFile, rename } from 'node:fs/promises';
import { after, afterEach, beforeEach, describe, it } from 'node:test';
import { Housekeeping } from '../../agent/proof/housekeeping.ts';
import { type ClusterNode, RUNSC, SHIM } from '../../hack/cluster/node.ts';
import { killIn } from '../../hack/cluster/processes.ts';
import { waitFor } from '../../hack/run.ts';
import { connect, NODES, type NodeClient, type NodeName, proveOn, useNodes } from './integration-cluster.ts';
import { OutsideAgent, touch } from './outside-agent.ts';

const RESTARTS = 10;
const UPGRADES = 10;

/** Calls of a proof at each of which containerd is killed: the moments lie between this one and the next. */
const MOMENTS = ['RunPodSandbox', 'CreateContainer', 'StartContainer', 'ExecSync', 'StopPodSandbox'] as const;

const { node } = useNodes();

describe('containerd that is killed or restarted', { concurrency: true }, () => {
  for (const { name } of NODES) {
    describe(`on ${name}`, { concurrency: false }, () => {
      describe('in the middle of a proof', () => testsOfProofs(name));
      describe('under an agent', () => testsOfAgents(name));
    });
  }
});

function testsOfProofs(name: NodeName): void {
  // The kubelet is not what these tests are about, so that it is kept out of them as an agent keeps it.
  const housekeeping = new Housekeeping(() => performance.now());
  for (const moment of MOMENTS) {
    it(`killed in ${moment} is no failure, and the next proof leaves none that could be stopped`, async () => {
      const client = connect(node(name));
      try {
        const proof = proveOn(node(name), client, housekeeping);
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
        await answers(client);
        const next = await proveOn(node(name), client, housekeeping);
        assert.equal(next.kind, 'proven', JSON.stringify(next));
        await assertNoneToStop(client);
      } finally {
        client.close();
        await node(name).startContainerd();
        await endShims(node(name));
      }
    });
  }
}

function testsOfAgents(name: NodeName): void {
  const agent = useAgent(name);

  it('killed while an agent proves: nothing is withdrawn within the grace', {
    timeout: 120_000,
  }, async () => {
    const client = connect(node(name));
    try {
      for (let kill = 0; kill < 3; kill++) {
        await probeAfter(client, () => touch(node(name)));
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
      await randomPause(2_000);
    }
    await agent().nextReport(({ look }) => look.verdict.status === 'True');
    console.log(
      `${name}: ${RESTARTS} restarts of containerd, the longest ${Math.max(...seconds).toFixed(2)} s`,
    );
    assertNoFlap(agent());
  });

  it(`runsc replaced by rename ${UPGRADES} times, whatever is being proven: no flap`, {
    timeout: 240_000,
  }, async () => {
    const runsc = node(name).path(RUNSC);
    for (let upgrade = 0; upgrade < UPGRADES; upgrade++) {
      await copyFile(runsc, `${runsc}.next`);
      await rename(`${runsc}.next`, runsc);
      await randomPause(1_000);
    }
    await agent().nextReport(({ look }) => look.verdict.status === 'True');
    assertNoFlap(agent());
  });

  it('an agent killed in the middle of a proof: the next one removes its sandbox', {
    timeout: 120_000,
  }, async () => {
    const client = connect(node(name));
    await node(name).machine.stopDaemon('kubelet'); // it would remove the sandbox as well
    try {
      const left = await probeAfter(client, () => touch(node(name)));
      await agent().stop('SIGKILL');
      assert.ok((await client.readyProbes()).includes(left), 'the sandbox outlives the agent');
      const successor = new OutsideAgent(node(name));
      await successor.proven();
      await successor.stop();
      assert.ok(!(await client.readyProbes()).includes(left), 'the successor removes the sandbox');
      await assertNoneToStop(client);
      assertNoFlap(successor);
    } finally {
      client.close();
      await node(name).startKubelet();
    }
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

/**
 * What is left is at most what a containerd killed in the middle of a proof finds again and refuses to stop, for good:
 * a sandbox whose container was created and not yet started takes no signal.
 */
async function assertNoneToStop(client: NodeClient): Promise<void> {
  for (const podSandboxId of await client.readyProbes()) {
    const stopping = client.call('StopPodSandbox', { podSandboxId }, { timeoutMs: 10_000 });
    await assert.rejects(stopping, { name: 'CriError', kind: 'refused' }, podSandboxId);
  }
}

/** The sandbox of a proof that an agent begins because of what is done. */
async function probeAfter(client: NodeClient, act: () => Promise<void>): Promise<string> {
  const before = await client.readyProbes();
  await act();
  return waitFor(
    'a sandbox of the agent',
    60_000,
    async () => (await client.readyProbes()).find((id) => !before.includes(id)),
    10,
  );
}

/** Waits until the client has begun a call of this method. */
async function calledOf(client: NodeClient, method: string): Promise<void> {
  await waitFor(method, 20_000, async () => (client.calls.includes(method) ? true : undefined), 1);
}

/**
 * Ends the shims of gVisor, which only probes have here: what containerd refuses to stop, or shims that deadlocked in
 * a proof that was cut short, would delay every later start of containerd by seconds.
 */
async function endShims({ machine }: ClusterNode): Promise<void> {
  await killIn(machine, ([program]) => program === SHIM);
}

/** Waits until the CRI answers: containerd has its socket a little earlier. */
async function answers(client: NodeClient): Promise<void> {
  await waitFor('the CRI to answer', 30_000, () => client.status());
}

async function randomPause(mostMs: number): Promise<void> {
  await new Promise((wake) => setTimeout(wake, Math.random() * mostMs));
}
