import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { healNode } from '../../cluster/faults/break-node.ts';
import { waitFor } from '../../hack/run.ts';
import { RARE } from '../rare.ts';
import { DOMAIN, deployWith, readNode, waitForNode } from './agents.ts';
import { useCluster } from './e2e-cluster.ts';
import { deployFleet, disableAgents, enableAgents, removeFleet, scaleFleet } from './fleet-cluster.ts';
import { createPods, losePower, NodeHistory, podsNow, restorePower } from './power-loss.ts';

const cluster = useCluster();
const NODE = 'node-1';
const WAITING = ['waits-1', 'waits-2', 'waits-3'] as const;

const proven = () =>
  waitForNode(
    cluster(),
    NODE,
    ({ ready, condition }) => `${ready} ${condition}` === 'true True SandboxProven',
    120_000,
  );

/** Deploys the base again, and removes the taints, which its agents do not manage. */
async function restore(): Promise<void> {
  await removeFleet(cluster());
  await deployWith(cluster());
  await cluster()
    .kubectl(['taint', 'nodes', '--all', `${DOMAIN}/not-ready:NoSchedule-`])
    .catch(() => '');
}

/** The source components of the events NodeRebooted. */
const withdrawnBy = async () =>
  (
    await cluster().kubectl([
      ...['get', 'events', '--field-selector', 'reason=NodeRebooted'],
      ...['-o', 'jsonpath={range .items[*]}{.source.component}{"\\n"}{end}'],
    ])
  )
    .split('\n')
    .filter((line) => line !== '');

const waitForPods = (...names: readonly string[]) =>
  cluster().kubectl(['wait', '--for=condition=Ready', 'pod', ...names, '--timeout=60s'], undefined, 70_000);

/** /proc/version in each pod, "" if it does not run. */
const kernelOf = (pod: string) =>
  cluster()
    .kubectl(['exec', pod, '--', 'cat', '/proc/version'])
    .catch(() => '');

describe('a node that comes back from a power loss with a handler that runs runc', () => {
  let history: NodeHistory;

  before(() => deployFleet(cluster()));
  beforeEach(async () => {
    await proven();
    await cluster().kubectl(['delete', 'events', '-n', 'default', '--all']);
    history = new NodeHistory(cluster(), NODE);
    await history.first('the label', ({ label }) => label === 'true');
  });
  afterEach(async () => {
    history.close();
    await healNode(cluster(), cluster().node(NODE));
    await enableAgents(cluster(), NODE);
    const pods = ['delete', 'pods', '-l', 'app=evaluation', '--grace-period=0', '--force'];
    await cluster().kubectl(pods);
  });
  after(restore);

  /** "LABEL REASON" of each version of the Node with this boot ID. */
  const statesIn = (boot: string) =>
    history.versions
      .filter((version) => version.boot === boot)
      .map(({ label, reason }) => `${label} ${reason}`);

  if (RARE)
    it('has its label withdrawn by the fleet controller if no agent can start', async () => {
      await disableAgents(cluster(), NODE);
      await losePower(cluster(), NODE);
      const boot = await restorePower(cluster(), NODE, 'handler-runs-runc');
      const up = await history.first(
        'a new boot',
        (version) => version.boot === boot && version.ready === 'True',
      );
      const gone = await history.first('no label', ({ label }) => label === 'false');
      console.log(`label withdrawn ${Math.round(gone.atMs - up.atMs)} ms after the node was Ready`);
      assert.equal(gone.reason, 'NodeRebooted');
      await waitFor('the event', 10_000, async () => (await withdrawnBy()).length > 0);
      assert.deepEqual(await withdrawnBy(), ['gvisor-ready-fleet']);
      await createPods(cluster(), NODE, ...WAITING);
      const { metadata } = await readNode(cluster(), NODE);
      assert.notEqual(metadata.annotations[`${DOMAIN}/proven-boot`], boot);
      assert.deepEqual(
        Object.values(await podsNow(cluster())),
        WAITING.map(() => 'Pending'),
      );
    });

  it('loses its label before the first evaluation without a controller, and regains it only with a proof', async () => {
    await scaleFleet(cluster(), 0);
    try {
      await losePower(cluster(), NODE);
      const boot = await restorePower(cluster(), NODE, 'handler-runs-runc');
      await history.first('the cause', ({ reason }) => reason === 'HandlerRunsRunc');
      assert.deepEqual(await withdrawnBy(), ['gvisor-ready']);
      assert.deepEqual(
        [...new Set(statesIn(boot))],
        ['true SandboxProven', 'false NodeRebooted', 'false HandlerRunsRunc'],
      );
      await healNode(cluster(), cluster().node(NODE), 'handler-runs-runc');
      await proven();
      const { metadata, status } = await readNode(cluster(), NODE);
      const boots = [metadata.annotations[`${DOMAIN}/proven-boot`], status.nodeInfo.bootID];
      assert.deepEqual(boots, [boot, boot]);
    } finally {
      await scaleFleet(cluster(), 1);
    }
  });

  if (RARE)
    it('receives no pending pod before its next proof, with the component taint', async () => {
      await deployFleet(cluster(), {}, ['taint']);
      await losePower(cluster(), NODE);
      await history.first('the taint', ({ ready, tainted }) => ready === 'Unknown' && tainted);
      await createPods(cluster(), NODE, ...WAITING);
      const boot = await restorePower(cluster(), NODE, 'handler-runs-runc');
      await history.first('the cause', ({ reason }) => reason === 'HandlerRunsRunc');
      const versions = history.versions.filter((each) => each.boot === boot);
      assert.deepEqual([...new Set(versions.map(({ tainted }) => tainted))], [true]);
      assert.deepEqual(
        Object.values(await podsNow(cluster())),
        WAITING.map(() => 'Pending'),
      );
      await healNode(cluster(), cluster().node(NODE), 'handler-runs-runc');
      await proven();
      await waitForPods(...WAITING);
      for (const pod of WAITING) assert.match(await kernelOf(pod), /^Linux version 4\.4\.0 /);
    });
});

if (RARE)
  describe('a proven node whose kubelet is away for a while, with the component taint', () => {
    before(() => deployFleet(cluster(), {}, ['taint']));
    after(restore);

    it('is tainted while the kubelet is away, and keeps its label and pods', async () => {
      await proven();
      const history = new NodeHistory(cluster(), NODE);
      try {
        await createPods(cluster(), NODE, 'stays');
        await waitForPods('stays');
        await cluster().node(NODE).system.stopDaemon('kubelet');
        const away = await history.first('the taint', ({ ready, tainted }) => ready === 'Unknown' && tainted);
        await cluster().node(NODE).startKubelet();
        await history.first('Ready without the taint', ({ atMs, ready, tainted }) => {
          return atMs > away.atMs && ready === 'True' && !tainted;
        });
        assert.deepEqual([...new Set(history.versions.map(({ label }) => label))], ['true']);
        assert.deepEqual(await podsNow(cluster()), { stays: `Running ${NODE}` });
      } finally {
        history.close();
        await cluster().node(NODE).startKubelet();
        await cluster().kubectl(['delete', 'pod', 'stays', '--grace-period=0', '--force']);
      }
    });
  });
