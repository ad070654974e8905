import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { REPO } from '../../hack/paths.ts';
import { waitFor } from '../../hack/run.ts';
import { DOMAIN, readNode } from '../e2e/agents.ts';
import { applyBase, useApiServer } from './api-server.ts';
import { conditionOf, KVM_KEY, READY_KEY } from './fleet-objects.ts';
import { until, useFleet } from './fleet-run.ts';

const cluster = useApiServer([]);

/** Real writes and watches; decide.test.ts covers when a label is withdrawn, in virtual time. */
describe('the fleet controller on a real API server, with its own token', () => {
  const { names, objects, start, withdrawn, assertStillProven, stateOf } = useFleet(cluster);

  it('withdraws the label of a node that lost its agent, with condition, event and metrics', async () => {
    const run = await start();
    await objects().setAgent('node-1', false);
    await withdrawn('node-1');
    assert.equal((await stateOf('node-1')).condition, 'Unknown AgentLost');
    await assertStillProven('node-2', 'node-3');
    const query = ['get', 'events', '--field-selector', 'reason=AgentLost'];
    const event = await waitFor('the event', 10_000, async () => {
      const message = await cluster().kubectl([...query, '-o', 'jsonpath={.items[0].message}']);
      return message || undefined;
    });
    assert.match(
      event,
      /^no agent on this node was Ready for 10 s.* What to do: Find out why the agent's pod/,
    );
    const { body } = await run.metrics.text(run.fleet.view);
    assert.match(body, /^gvisor_fleet_withdrawals_total 1$/m);
    assert.match(body, /^gvisor_fleet_nodes\{status="Unknown",reason="AgentLost"\} 1$/m);
    assert.match(body, /^gvisor_fleet_api_requests_total\{verb="PATCH",code="200"\} 1$/m);
  });

  const labelsOf = async (name: string) => {
    const { labels = {} } = (await readNode(cluster(), name)).metadata;
    return [labels[READY_KEY], labels[KVM_KEY]];
  };
  const kvmWithdrawn = (name: string) =>
    until('the label of the additional handler', 40_000, async () => (await labelsOf(name))[1] === 'false');

  it('withdraws labels of additional handlers of a node that lost its agent', async () => {
    await objects().writeStatus('node-1', {}, { [KVM_KEY]: 'true' });
    await start();
    await objects().setAgent('node-1', false);
    await withdrawn('node-1');
    assert.deepEqual(await labelsOf('node-1'), ['false', 'false']);
    assert.equal((await stateOf('node-1')).condition, 'Unknown AgentLost');
  });

  it('withdraws them where the main handler is broken, and leaves its condition', async () => {
    const broken = { conditions: [conditionOf('GVisorReady', 'False', 'ShimNotFound')] };
    await objects().writeStatus('node-1', broken, { [READY_KEY]: 'false', [KVM_KEY]: 'true' });
    const run = await start();
    await objects().setAgent('node-1', false);
    await until('the alarm', 20_000, () => run.fleet.view.withoutAgent.includes('node-1'));
    await kvmWithdrawn('node-1');
    assert.equal((await stateOf('node-1')).condition, 'False ShimNotFound');
    await until('the alarm to end', 20_000, () => run.fleet.view.withoutAgent.length === 0);
    await assertStillProven('node-2', 'node-3');
  });

  it('withdraws only the labels of an earlier boot', async () => {
    const annotate = (...values: readonly string[]) =>
      cluster().kubectl(['annotate', 'node', 'node-1', '--overwrite', ...values]);
    const [main, kvm] = [`${DOMAIN}/proven-boot`, `${DOMAIN}/proven-boot-runsc-kvm`];
    try {
      await objects().writeStatus('node-1', { nodeInfo: { bootID: 'boot-1' } }, { [KVM_KEY]: 'true' });
      await annotate(`${main}=boot-1`, `${kvm}=boot-0`);
      const run = await start();
      await kvmWithdrawn('node-1');
      await assertStillProven('node-1');
      await annotate(`${kvm}=boot-1`);
      await objects().writeStatus('node-1', {}, { [KVM_KEY]: 'true' });
      await until('the label', 20_000, () =>
        run.fleet.nodes.some((node) => node.handlers[0]?.label === 'true'),
      );
      await annotate(`${main}=boot-0`);
      await withdrawn('node-1');
      assert.deepEqual(await labelsOf('node-1'), ['false', 'true']);
      assert.equal((await stateOf('node-1')).condition, 'Unknown NodeRebooted');
    } finally {
      await annotate(`${main}-`, `${kvm}-`);
    }
  });

  it('shows on its page that it cannot write a node, until it can', async () => {
    const run = await start();
    await cluster().kubectl(['delete', 'clusterrolebinding', 'gvisor-ready-fleet']);
    try {
      await objects().setAgent('node-1', false);
      const reason = () => run.fleet.view.alarms.find(({ reason }) => reason === 'CannotWriteNodes');
      await until('the alarm', 60_000, () => reason() !== undefined);
      assert.deepEqual(reason()?.nodes, ['node-1']);
      assert.match(reason()?.message ?? '', /node-1: .* 403 /);
      await cluster().kubectl(['apply', '-f', join(REPO, 'manifests/base/fleet/rbac.yaml')]);
      await withdrawn('node-1');
      await until('the alarm to end', 20_000, () => reason() === undefined);
    } finally {
      await cluster().kubectl(['apply', '-f', join(REPO, 'manifests/base/fleet/rbac.yaml')]);
    }
  });

  it('pauses withdrawals when half of the agents are lost, except for labels of an earlier boot', async () => {
    const run = await start();
    const annotate = (value: string) =>
      cluster().kubectl(['annotate', 'nodes', ...names, '--overwrite', `${DOMAIN}/proven-boot${value}`]);
    try {
      await annotate('=boot-1');
      await objects().setAgent('node-1', false);
      await objects().setAgent('node-2', false);
      await until('two paused withdrawals', 30_000, () => run.fleet.view.paused.length === 2);
      assert.deepEqual(run.breaker, ['TooManyLost']);
      await assertStillProven(...names);
      const events = ['get', 'events', '-n', 'gvisor-ready', '--field-selector', 'reason=WithdrawalsPaused'];
      assert.notEqual(await cluster().kubectl([...events, '-o', 'name']), '');
      await objects().writeStatus('node-1', { nodeInfo: { bootID: 'boot-1' } });
      await objects().writeStatus('node-2', {
        nodeInfo: { bootID: 'boot-2' },
        conditions: [conditionOf('Ready', 'False', 'KubeletNotReady')],
      });
      await withdrawn('node-2');
      assert.equal((await stateOf('node-2')).condition, 'Unknown NodeRebooted');
      await assertStillProven('node-1', 'node-3');
    } finally {
      await annotate('-');
    }
  });

  it('taints a node whose label it withdraws, with the component taint', async () => {
    await applyBase(cluster(), ['taint']);
    const run = await start({ TAINT: 'on' });
    await objects().setAgent('node-1', false);
    await withdrawn('node-1');
    // The API server adds the kubelet's own taint to a new Node, which nothing removes here.
    const ownTaints = async (name: string) =>
      ((await readNode(cluster(), name)).spec.taints ?? []).filter(({ key }) => key.startsWith(DOMAIN));
    await until('the taint', 20_000, async () => (await ownTaints('node-1')).length > 0);
    assert.deepEqual(await ownTaints('node-1'), [{ key: `${DOMAIN}/not-ready`, effect: 'NoSchedule' }]);
    assert.deepEqual(await ownTaints('node-2'), []);
    await run.stop();
  });
});
