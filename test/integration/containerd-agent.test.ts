import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, afterEach, beforeEach, describe, it } from 'node:test';
import { MACHINE_PATH, processesIn } from '../../cluster/machine/machine.ts';
import { CONTAINERD_CONFIG, containerdConfig, RUNSC_CONFIG, RUNSC_TOML } from '../../cluster/node/config.ts';
import { type ClusterNode, RUNSC, SHIM } from '../../cluster/node/node.ts';
import { OutsideAgent, touch } from '../../cluster/node/outside-agent.ts';
import { patient, waitFor } from '../../hack/run.ts';
import type { Finding } from '../../lib/checks/finding.ts';
import { POD_UID, PROBE_LABELS } from '../../lib/proof/sandbox.ts';
import {
  assertNoneStoppable,
  connect,
  NODES,
  type NodeClient,
  type NodeName,
  randomPause,
  useNodes,
} from './integration-cluster.ts';

const LIMIT = { timeout: patient(240_000) };
const TIMES = 3;
const DROP_IN = '/etc/containerd/conf.d/gvisor.toml';

const { node } = useNodes();

describe('an agent while containerd is killed, restarted or reconfigured', {
  concurrency: true,
}, () => {
  for (const { name } of NODES) describe(`on ${name}`, { concurrency: false }, () => testsOn(name));
});

function testsOn(name: NodeName): void {
  const agent = useAgent(name);

  it('keeps its verdict while containerd is killed during proofs', LIMIT, async () => {
    const client = connect(node(name));
    try {
      for (let kill = 0; kill < TIMES; kill++) {
        await touchedProbe(node(name), client);
        await randomPause(300);
        await node(name).machine.stopDaemon('containerd', 'KILL');
        // Subscribed before the start, because the evaluation may end before startContainerd returns.
        const proven = agent().nextReport(({ evaluation }) => evaluation.verdict.status === 'True');
        await Promise.all([proven, node(name).startContainerd()]);
      }
      assertNoFlap(agent());
    } finally {
      client.close();
      await node(name).startContainerd();
    }
  });

  it('keeps its verdict over restarts of containerd with another PATH and a v2 drop-in', LIMIT, async () => {
    await agent().stop();
    const { spec, machine } = node(name);
    const start = () => machine.daemon('containerd', ['containerd'], { PATH: `/opt/gvisor:${MACHINE_PATH}` });
    let pathAgent: OutsideAgent | undefined;
    try {
      await machine.stopDaemon('containerd');
      await node(name).system.run(['mkdir', '-p', '/opt/gvisor']);
      await node(name).system.run(['mv', RUNSC, SHIM, '/opt/gvisor/']);
      await node(name).write(CONTAINERD_CONFIG, 'version = 2\nimports = ["/etc/containerd/conf.d/*.toml"]\n');
      await node(name).write(DROP_IN, containerdConfig({ ...spec, containerd: '1.7' }));
      await start();
      pathAgent = new OutsideAgent(node(name));
      await pathAgent.proven();
      for (let restart = 0; restart < TIMES; restart++) {
        await machine.stopDaemon('containerd');
        await randomPause(1_000);
        await start();
        await pathAgent.nextReport(({ evaluation }) => evaluation.verdict.status === 'True');
      }
      assertNoFlap(pathAgent);
    } finally {
      await pathAgent?.stop();
      await machine.stopDaemon('containerd');
      await node(name).remove(DROP_IN);
      await node(name).write(CONTAINERD_CONFIG, containerdConfig(spec));
      await node(name).installGvisor();
      await node(name).startContainerd();
    }
  });

  it('starts no sandbox between an edit of the config and the restart of containerd', LIMIT, async () => {
    const config = await readFile(node(name).path(CONTAINERD_CONFIG), 'utf8');
    try {
      const begun = await agent().report();
      const edited = agent().nextReport(({ findings }) => findings.some(isRestartPending));
      await node(name).write(CONTAINERD_CONFIG, config.replaceAll('ConfigPath', 'NoConfigPath'));
      const { verdict, provenAt, evaluation } = await edited;
      assert.deepEqual([verdict.status, provenAt], ['True', begun?.provenAt], evaluation.trigger);
      const fixed = agent().nextReport(({ findings }) => !findings.some(isRestartPending));
      await node(name).write(CONTAINERD_CONFIG, config);
      assert.equal((await fixed).provenAt, begun?.provenAt);
      const reproven = agent().nextReport(({ provenAt }) => provenAt !== begun?.provenAt);
      const [restarted] = await Promise.all([reproven, node(name).restart('containerd')]);
      assert.equal(restarted.verdict.status, 'True');
      assertNoFlap(agent());
    } finally {
      await node(name).write(CONTAINERD_CONFIG, config);
      await node(name).startContainerd();
    }
  });

  it('removes the orphaned sandbox of a killed agent after a minute', LIMIT, async () => {
    const client = connect(node(name));
    await node(name).machine.stopDaemon('kubelet'); // it would remove the sandbox too
    try {
      const killAtProbe = async (victim: OutsideAgent) => {
        const probe = await touchedProbe(node(name), client);
        await victim.stop('SIGKILL');
        return probe;
      };
      let orphan = await killAtProbe(agent());
      // The agent may have removed it before it was killed.
      while (!(await client.readyProbes()).includes(orphan)) {
        const another = new OutsideAgent(node(name));
        await another.proven();
        orphan = await killAtProbe(another);
      }
      const successor = new OutsideAgent(node(name), { PROOF_INTERVAL: '10s' });
      const isGone = async () => !(await client.readyProbes()).includes(orphan);
      await waitFor('the successor to remove the sandbox', 120_000, isGone);
      // A removal that the victim began may end first.
      await successor.proven();
      await successor.stop();
      await assertNoneStoppable(client);
      assertNoFlap(successor);
    } finally {
      client.close();
      await node(name).startKubelet();
    }
  });

  it('removes orphaned containers of a killed agent that the CRI does not list', LIMIT, async () => {
    const client = connect(node(name));
    await node(name).machine.stopDaemon('kubelet');
    try {
      await node(name).write(SLOW_RUNSC, SLOW_SCRIPT, 0o755);
      await node(name).write(RUNSC_CONFIG, `binary_name = "${SLOW_RUNSC}"\n${RUNSC_TOML}`);
      const isStarting = async () =>
        processesIn(node(name).machine).some(({ argv }) => argv[1] === SLOW_RUNSC && argv.includes('create'));
      await waitFor('a sandbox to start', 30_000, isStarting, 50);
      await agent().stop('SIGKILL');
      const unlisted = await waitFor('a container that the CRI does not list', 30_000, async () => {
        const listed = (await client.listSandboxes('all')).map(({ id }) => id);
        const lost = (await recordsOfProbes(client)).filter((id) => !listed.includes(id));
        return lost.length > 0 ? lost : undefined;
      });
      const successor = new OutsideAgent(node(name), { PROOF_INTERVAL: '10s' });
      await waitFor('the successor to remove the records', 120_000, async () => {
        const remaining = await recordsOfProbes(client);
        return !remaining.some((id) => unlisted.includes(id));
      });
      await successor.stop();
      assert.deepEqual(
        processesIn(node(name).machine).filter(({ argv }) => argv.some((arg) => unlisted.includes(arg))),
        [],
      );
    } finally {
      client.close();
      await touch(node(name));
      await node(name).startKubelet();
    }
  });
}

/** A runsc that delays the creation of a sandbox by two seconds. */
const SLOW_RUNSC = '/opt/gvisor/slow/runsc';
const SLOW_SCRIPT = `#!/bin/sh
for arg in "$@"; do [ "$arg" != create ] || sleep 2; done
exec ${RUNSC} "$@"
`;

/** IDs of all containers that containerd records for probes. */
async function recordsOfProbes(client: NodeClient): Promise<readonly string[]> {
  return (await client.listContainers({ labels: PROBE_LABELS, without: POD_UID })).map(({ id }) => id);
}

/** Runs an agent for each test, starting once it has proven the node. */
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

/** Triggers a proof and returns the ID of its sandbox; repeats if the sandbox was missed. */
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
