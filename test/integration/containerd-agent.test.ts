import assert from 'node:assert/strict';
import { copyFile, readFile, rename } from 'node:fs/promises';
import { after, afterEach, beforeEach, describe, it } from 'node:test';
import type { Finding } from '../../agent/finding.ts';
import { POD_UID, PROBE_LABELS } from '../../agent/proof/sandbox.ts';
import { MACHINE_PATH, processesIn } from '../../cluster/machine/machine.ts';
import { CONTAINERD_CONFIG, containerdConfig, RUNSC_CONFIG, RUNSC_TOML } from '../../cluster/node/config.ts';
import { type ClusterNode, RUNSC, SHIM } from '../../cluster/node/node.ts';
import { patient, waitFor } from '../../hack/run.ts';
import { assertNoneToStop, randomPause } from './containerd-kills.ts';
import { connect, NODES, type NodeClient, type NodeName, useNodes } from './integration-cluster.ts';
import { lookBeganMs, OutsideAgent, touch } from './outside-agent.ts';

const RESTARTS = 10;
const UPGRADES = 10;
const DROP_IN = '/etc/containerd/conf.d/gvisor.toml';

const { node } = useNodes();

describe('containerd that is killed, restarted or configured under an agent', { concurrency: true }, () => {
  for (const { name } of NODES) describe(`on ${name}`, { concurrency: false }, () => testsOn(name));
});

function testsOn(name: NodeName): void {
  const agent = useAgent(name);
  const provenAnew = async () => {
    const sinceMs = Date.now();
    const proven = agent().nextReport(
      (report) => lookBeganMs(report) >= sinceMs && report.evaluation.verdict.status === 'True',
    );
    await touch(node(name));
    await proven;
  };

  it('killed while an agent proves: nothing is withdrawn within the grace', {
    timeout: patient(120_000),
  }, async () => {
    const client = connect(node(name));
    try {
      for (let kill = 0; kill < 3; kill++) {
        await touchedProbe(node(name), client);
        await randomPause(300);
        await node(name).machine.stopDaemon('containerd', 'KILL');
        // Asked for before it starts: the look may have ended once its start is known here.
        const proven = agent().nextReport(({ evaluation }) => evaluation.verdict.status === 'True');
        await Promise.all([proven, node(name).startContainerd()]);
      }
      assertNoFlap(agent());
    } finally {
      client.close();
      await node(name).startContainerd();
    }
  });

  it(`restarted ${RESTARTS} times: no flap`, {
    timeout: patient(240_000),
  }, async () => {
    const seconds: number[] = [];
    for (let restart = 0; restart < RESTARTS; restart++) {
      const begun = performance.now();
      await node(name).restart('containerd');
      seconds.push((performance.now() - begun) / 1000);
      await randomPause(2_000);
      // One that lets no look end for as long as the grace serves no pods either: a slow machine comes near to that.
      if (restart % 3 === 0) await provenAnew();
    }
    console.log(
      `${name}: ${RESTARTS} restarts of containerd, the longest ${Math.max(...seconds).toFixed(2)} s`,
    );
    assertNoFlap(agent());
  });

  it('restarted where only itself knows its PATH and merges a drop-in of version 2: no flap', {
    timeout: patient(240_000),
  }, async () => {
    await agent().stop();
    const { spec } = node(name);
    const { machine } = node(name);
    const start = () => machine.daemon('containerd', ['containerd'], { PATH: `/opt/gvisor:${MACHINE_PATH}` });
    let seen: OutsideAgent | undefined;
    try {
      await machine.stopDaemon('containerd');
      await node(name).system.run(['mkdir', '-p', '/opt/gvisor']);
      await node(name).system.run(['mv', RUNSC, SHIM, '/opt/gvisor/']);
      await node(name).write(CONTAINERD_CONFIG, 'version = 2\nimports = ["/etc/containerd/conf.d/*.toml"]\n');
      await node(name).write(DROP_IN, containerdConfig({ ...spec, containerd: '1.7' }));
      await start();
      seen = new OutsideAgent(node(name));
      await seen.proven();
      for (let restart = 0; restart < 5; restart++) {
        await machine.stopDaemon('containerd');
        await randomPause(1_000);
        await start();
        await seen.nextReport(({ evaluation }) => evaluation.verdict.status === 'True');
      }
      assertNoFlap(seen);
    } finally {
      await seen?.stop();
      await machine.stopDaemon('containerd');
      await node(name).remove(DROP_IN);
      await node(name).write(CONTAINERD_CONFIG, containerdConfig(spec));
      await node(name).installGvisor();
      await node(name).startContainerd();
    }
  });

  it('its configuration edited: looked at without a sandbox that a restart could cut short', {
    timeout: patient(120_000),
  }, async () => {
    const config = await readFile(node(name).path(CONTAINERD_CONFIG), 'utf8');
    try {
      const begun = await agent().report();
      const edited = agent().nextReport(({ findings }) => findings.some(isRestartPending));
      await node(name).write(CONTAINERD_CONFIG, config.replaceAll('ConfigPath', 'NoConfigPath'));
      const { verdict, provenAt, evaluation } = await edited;
      assert.deepEqual([verdict.status, provenAt], ['True', begun?.provenAt], evaluation.trigger);
      const mended = agent().nextReport(({ findings }) => !findings.some(isRestartPending));
      await node(name).write(CONTAINERD_CONFIG, config);
      assert.equal((await mended).provenAt, begun?.provenAt);
      const anew = agent().nextReport(({ provenAt }) => provenAt !== begun?.provenAt);
      const [restarted] = await Promise.all([anew, node(name).restart('containerd')]);
      assert.equal(restarted.verdict.status, 'True');
      assertNoFlap(agent());
    } finally {
      await node(name).write(CONTAINERD_CONFIG, config);
      await node(name).startContainerd();
    }
  });

  it(`runsc replaced by rename ${UPGRADES} times, whatever is being proven: no flap`, {
    timeout: patient(240_000),
  }, async () => {
    const runsc = node(name).path(RUNSC);
    for (let upgrade = 0; upgrade < UPGRADES; upgrade++) {
      await copyFile(runsc, `${runsc}.next`);
      await rename(`${runsc}.next`, runsc);
      await randomPause(1_000);
    }
    await provenAnew();
    assertNoFlap(agent());
  });

  it('an agent killed in the middle of a proof: the next one removes its sandbox after a minute', {
    timeout: patient(240_000),
  }, async () => {
    const client = connect(node(name));
    await node(name).machine.stopDaemon('kubelet'); // it would remove the sandbox as well
    try {
      const killAtProbe = async (doomed: OutsideAgent) => {
        const probe = await touchedProbe(node(name), client);
        await doomed.stop('SIGKILL');
        return probe;
      };
      let left = await killAtProbe(agent());
      // It may have been quicker.
      while (!(await client.readyProbes()).includes(left)) {
        const another = new OutsideAgent(node(name));
        await another.proven();
        left = await killAtProbe(another);
      }
      const successor = new OutsideAgent(node(name), { PROOF_INTERVAL: '10s' });
      const isGone = async () => !(await client.readyProbes()).includes(left) || undefined;
      await waitFor('the successor to remove the sandbox', 120_000, isGone);
      await successor.stop();
      await assertNoneToStop(client);
      assertNoFlap(successor);
    } finally {
      client.close();
      await node(name).startKubelet();
    }
  });

  it('an agent killed while a slow sandbox boots: the next one removes what the CRI does not list', {
    timeout: patient(180_000),
  }, async () => {
    const client = connect(node(name));
    await node(name).machine.stopDaemon('kubelet');
    try {
      await node(name).write(SLOW_RUNSC, SLOW_SCRIPT, 0o755);
      await node(name).write(RUNSC_CONFIG, `binary_name = "${SLOW_RUNSC}"\n${RUNSC_TOML}`);
      await waitFor('a sandbox that boots', 30_000, async () => isBooting(node(name)) || undefined, 50);
      await agent().stop('SIGKILL');
      const forgotten = await waitFor('what the CRI does not list', 30_000, async () => {
        const listed = (await client.listSandboxes('all')).map(({ id }) => id);
        const lost = (await recordsOfProbes(client)).filter((id) => !listed.includes(id));
        return lost.length > 0 ? lost : undefined;
      });
      const successor = new OutsideAgent(node(name), { PROOF_INTERVAL: '10s' });
      await waitFor('the successor to remove the records', 120_000, async () => {
        const left = await recordsOfProbes(client);
        return !left.some((id) => forgotten.includes(id)) || undefined;
      });
      await successor.stop();
      assert.deepEqual(
        processesIn(node(name).machine).filter(({ argv }) => argv.some((word) => forgotten.includes(word))),
        [],
      );
    } finally {
      client.close();
      await touch(node(name));
      await node(name).startKubelet();
    }
  });
}

/** A runsc that takes two seconds more to create a sandbox. */
const SLOW_RUNSC = '/opt/gvisor/slow/runsc';
const SLOW_SCRIPT = `#!/bin/sh
for word in "$@"; do [ "$word" != create ] || sleep 2; done
exec ${RUNSC} "$@"
`;

function isBooting(where: ClusterNode): boolean {
  return processesIn(where.machine).some(({ argv }) => argv[1] === SLOW_RUNSC && argv.includes('create'));
}

/** The ids of the containers that containerd itself records for probes. */
async function recordsOfProbes(client: NodeClient): Promise<readonly string[]> {
  return (await client.listContainers({ labels: PROBE_LABELS, without: POD_UID })).map(({ id }) => id);
}

/** An agent that has proven the node before each test, and is gone after it. */
function useAgent(name: NodeName): () => OutsideAgent {
  let agent: OutsideAgent | undefined;
  beforeEach(
    async () => {
      agent = new OutsideAgent(node(name), { UNKNOWN_GRACE: `${patient(60)}s` });
      await agent.proven();
    },
    { timeout: patient(60_000) },
  );
  afterEach(() => agent?.stop());
  after(() => agent?.stop());
  return () => {
    if (agent === undefined) throw new Error('The agent has not started yet');
    return agent;
  };
}

function isRestartPending(finding: Finding): boolean {
  return finding.status === 'fail' && finding.reason === 'RestartPending';
}

function assertNoFlap(agent: OutsideAgent): void {
  assert.deepEqual(
    agent.changes.map(({ reason, message }) =>
      reason === 'SandboxProven' ? reason : `${reason}: ${message}`,
    ),
    ['SandboxProven'],
  );
}

/** The sandbox of a proof that an agent begins because of a touch; touches again when one was over before it was seen. */
async function touchedProbe(node: ClusterNode, client: NodeClient): Promise<string> {
  const before = await client.readyProbes();
  let touchedMs = Number.NEGATIVE_INFINITY;
  return waitFor(
    'a sandbox of the agent',
    60_000,
    async () => {
      if (performance.now() - touchedMs > 15_000) {
        touchedMs = performance.now();
        await touch(node);
      }
      return (await client.readyProbes()).find((id) => !before.includes(id));
    },
    10,
  );
}
