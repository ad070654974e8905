import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import { breakNode, healNode } from '../../cluster/faults/break-node.ts';
import { type ClusterNode, RUNSC } from '../../cluster/node/node.ts';
import { OutsideAgent } from '../../cluster/node/outside-agent.ts';
import { evaluationPod } from '../../cluster/pods.ts';
import { patient } from '../../hack/run.ts';
import type { Status } from '../../lib/report/report.ts';
import { NODES, useNodes } from '../integration/integration-cluster.ts';

const { cluster, node } = useNodes();
const LIMIT = { timeout: patient(300_000) };
const CLASS = {
  apiVersion: 'node.k8s.io/v1',
  kind: 'RuntimeClass',
  metadata: { name: 'gvisor' },
  handler: 'runsc',
};

describe('a fault that no file event shows', () => {
  before(() => cluster().kubectl(['apply', '-f', '-'], JSON.stringify(CLASS)));
  for (const { name } of NODES) {
    it(`on ${name}: a pod that cannot start shows it, beside handlers that are not ready`, LIMIT, () =>
      hideRunsc(node(name)),
    );
    it(`on ${name}: a pod that ran outside gVisor is told after the repair`, LIMIT, () =>
      missTheFault(node(name)),
    );
  }
});

/** Runs this beside an agent, and a pod of gVisor's class with this name that it creates. */
async function withAgent(
  on: ClusterNode,
  pod: string,
  work: (agent: OutsideAgent, create: () => Promise<string>) => Promise<void>,
): Promise<void> {
  const agent = new OutsideAgent(on, { HANDLERS: 'runsc,absent-1,absent-2', PROOF_INTERVAL: '1h' });
  const manifest = evaluationPod(pod, { gvisor: true, spec: { nodeName: on.name } });
  try {
    await agent.proven();
    await work(agent, () => cluster().kubectl(['create', '-f', '-'], manifest));
  } finally {
    await agent.stop('SIGKILL');
    await cluster().kubectl(['delete', 'pod', pod, '--force', '--grace-period=0', '--ignore-not-found']);
  }
}

function hideRunsc(on: ClusterNode): Promise<void> {
  return withAgent(on, 'fails', async (agent, create) => {
    await on.machine.run(['mount', '--bind', '/etc/hostname', RUNSC]);
    try {
      const begun = performance.now();
      await create();
      const { atMs, reason, message } = await agent.change(1, ({ status }) => status === 'False', 120_000);
      console.log(`${on.name}: ${reason} ${((atMs - begun) / 1_000).toFixed(1)} s after the pod was created`);
      assert.equal(reason, 'RunscNotExecutable', message);
    } finally {
      await on.machine.run(['umount', RUNSC]);
    }
  });
}

/** The agent is stopped while its handler runs runc, as it would miss a fault that is over. */
function missTheFault(on: ClusterNode): Promise<void> {
  return withAgent(on, 'outside', async (agent, create) => {
    process.kill(agent.pid, 'SIGSTOP');
    try {
      await breakNode(cluster(), on, 'handler-runs-runc');
      await create();
      await cluster().kubectl(['wait', 'pod', 'outside', '--for=condition=Ready', '--timeout=120s']);
    } finally {
      await healNode(cluster(), on, 'handler-runs-runc');
      process.kill(agent.pid, 'SIGCONT');
    }
    const seen = await agent.nextReport((report) => (report as Status).pods?.violating.length === 1);
    assert.equal((seen as Status).pods?.violating[0]?.name, 'outside');
  });
}
