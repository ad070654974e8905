import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
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
      /^no agent on this node was Ready for 1 s.* What to do: Find out why the agent's pod/,
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
    await start();
    await objects().setAgent('node-1', false);
    await kvmWithdrawn('node-1');
    assert.equal((await stateOf('node-1')).condition, 'False ShimNotFound');
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

  it('pauses withdrawals when half of the agents are lost, except for labels of an earlier boot', async () => {
    const run = await start({ agentTimeoutMs: 5_000 });
    const annotate = (value: string) =>
      cluster().kubectl(['annotate', 'nodes', ...names, '--overwrite', `${DOMAIN}/proven-boot${value}`]);
    try {
      await annotate('=boot-1');
      await Promise.all(['node-1', 'node-2'].map((name) => objects().setAgent(name, false)));
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

  it('withdraws once with two replicas, which share the circuit breaker', async () => {
    const both = [await start({ agentTimeoutMs: 3_000 }), await start({ agentTimeoutMs: 3_000 })];
    await objects().setAgent('node-1', false);
    await withdrawn('node-1');
    await objects().setAgent('node-2', false);
    for (const run of both)
      await until('a paused withdrawal', 30_000, () => run.fleet.view.paused.includes('node-2'));
    await assertStillProven('node-2', 'node-3');
    const bodies = await Promise.all(both.map(({ metrics, fleet }) => metrics.text(fleet.view)));
    const counts = bodies.map(({ body }) =>
      Number(/^gvisor_fleet_withdrawals_total (\d+)$/m.exec(body)?.[1]),
    );
    assert.deepEqual(counts.toSorted(), [0, 1]);
  });

  it('taints a node whose label it withdraws, with the component taint', async () => {
    await applyBase(cluster(), ['taint']);
    const run = await start({ taint: true });
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

  it('withdraws nothing during an outage of the API server or right after it', async () => {
    const run = await start();
    await cluster().controlPlane.stopDaemon('kube-apiserver', 'KILL');
    await until('the watches to be down', 20_000, () => !run.fleet.view.upToDate);
    await until('the circuit breaker to open', 5_000, () => run.breaker.includes('ApiServerAway'));
    await cluster().startApiServer();
    await until('the watches to be up', 60_000, () => run.fleet.view.upToDate);
    await until('the circuit breaker to close', 20_000, () => run.breaker.length === 0);
    await assertStillProven(...names);
    await objects().setAgent('node-1', false);
    await withdrawn('node-1');
  });
});
