import assert from 'node:assert/strict';
import { it } from 'node:test';
import type { Cluster } from '../../cluster/cluster.ts';
import { patient } from '../../hack/run.ts';
import { RESTORED } from '../agent/publish/publisher-of.ts';
import { reportOf, verdictOf } from '../agent/reports.ts';
import { waitForNode } from '../e2e/agents.ts';
import { applyBase, startApiServer, useStarted } from './api-server.ts';
import { agentPod, publisherAs } from './publisher-as.ts';

const ACCOUNT = { namespace: 'gvisor-ready', account: 'gvisor-ready-agent' };
const DATA = '/var/lib/etcd';
const BACKUP = '/var/lib/etcd-backup';
/** Then the pauses between watches have grown to their longest. */
const FAILED_WATCHES = 5;

const cluster = useStarted('api', async () => {
  const started = await startApiServer();
  await applyBase(started, []);
  for (const name of ['node-1', 'node-2']) {
    const node = { apiVersion: 'v1', kind: 'Node', metadata: { name } };
    await started.kubectl(['create', '-f', '-'], JSON.stringify(node));
  }
  const pod = agentPod(ACCOUNT.namespace, ACCOUNT.account);
  await started.kubectl(['create', '-f', '-'], JSON.stringify(pod));
  return started;
});

it('withdraws a label that came back with an old backup of etcd', {
  timeout: patient(300_000),
}, async (t) => {
  const { tell, logged } = await publisherAs(t, cluster(), ACCOUNT);
  tell(reportOf());
  await waitForNode(cluster(), 'node-1', ({ ready }) => ready === 'true');
  await offline(cluster(), () => copy(cluster(), DATA, BACKUP));
  tell(reportOf({ verdict: verdictOf('False', 'ShimNotFound') }));
  await waitForNode(cluster(), 'node-1', ({ ready }) => ready === 'false');
  await offline(cluster(), async () => {
    for (let watch = 0; watch < FAILED_WATCHES; watch++) await logged('watch ended');
    await copy(cluster(), BACKUP, DATA);
  });
  await logged(RESTORED);
  const { ready, condition } = await waitForNode(cluster(), 'node-1', (node) => node.ready === 'false');
  assert.deepEqual([ready, condition], ['false', 'False ShimNotFound']);
});

/** Runs this while neither etcd nor the API server does. */
async function offline(stopped: Cluster, work: () => Promise<void>): Promise<void> {
  for (const daemon of ['kube-apiserver', 'etcd']) await stopped.controlPlane.stopDaemon(daemon, 'KILL');
  await work();
  await stopped.startApiServer();
}

async function copy({ controlPlane }: Cluster, from: string, to: string): Promise<void> {
  await controlPlane.run(['sh', '-ec', 'rm -rf "$2" && cp -a "$1" "$2"', 'sh', from, to]);
}
