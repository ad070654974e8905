import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { AGAIN, BROKEN, settled, WRITE } from './publisher-of.ts';

describe('a Node that somebody else changes', () => {
  const changes: readonly [string, (node: Awaited<ReturnType<typeof settled>>['server']['node']) => void][] =
    [
      [
        'a label that was removed',
        ({ labels }) => delete labels['gvisor.node-restriction.kubernetes.io/ready'],
      ],
      [
        'a label that was changed',
        ({ labels }) => {
          labels['gvisor.node-restriction.kubernetes.io/ready'] = 'false';
        },
      ],
      [
        'an annotation that was removed',
        ({ annotations }) => delete annotations['gvisor.node-restriction.kubernetes.io/proven-by'],
      ],
    ];
  for (const [what, act] of changes) {
    it(`gets back ${what}, with one request`, async (t) => {
      const { server, logged } = await settled(t);
      const was = structuredClone([server.node.labels, server.node.annotations]);
      server.node.change(act);
      await logged(AGAIN);
      assert.deepEqual([server.node.labels, server.node.annotations], was);
      assert.deepEqual(server.asked, [WRITE]);
    });
  }

  for (const conditions of [[], [{ type: 'GVisorReady', status: 'False', reason: 'Forged' }]]) {
    it(`gets back its condition when it is ${conditions.length === 0 ? 'removed' : 'forged'}`, async (t) => {
      const { server, logged, changed } = await settled(t);
      server.node.change((node) => {
        node.conditions = conditions;
      });
      await logged(AGAIN);
      assert.deepEqual(server.asked, [WRITE]);
      assert.equal(server.node.conditions[0]?.reason, 'SandboxProven');
      assert.equal(changed.length, 1, 'what somebody else did is no change of the verdict');
    });
  }

  it("costs nothing when it changes in what is not the agent's", async (t) => {
    const { server, logged, publisher } = await settled(t);
    server.node.change((node) => {
      node.labels.team = 'a';
    });
    server.node.change((node) => {
      node.taints = [{ key: 'a', effect: 'NoSchedule' }];
    });
    publisher.publish(BROKEN);
    await logged('node written');
    assert.deepEqual(server.asked, [WRITE]);
    assert.equal(server.node.labels.team, 'a');
  });

  it('is written less and less often while somebody goes on to change it', async (t) => {
    const { server, logged, pause, waits, clock } = await settled(t);
    const seen: number[] = [];
    for (let round = 1; round <= 12; round++) {
      const from = waits.length;
      server.node.change(({ labels }) => delete labels['gvisor.node-restriction.kubernetes.io/ready']);
      if (round > 1) {
        const { ms, end } = await pause(1, from);
        assert.equal(server.node.labels['gvisor.node-restriction.kubernetes.io/ready'], undefined);
        seen.push(ms);
        clock.nowMs += ms;
        end();
      }
      assert.equal((await logged(AGAIN)).times, round);
    }
    const s = 1_000;
    assert.deepEqual(seen, [
      s,
      2 * s,
      4 * s,
      8 * s,
      16 * s,
      32 * s,
      64 * s,
      128 * s,
      256 * s,
      300 * s,
      300 * s,
    ]);
    server.asked.length = 0;
    server.node.change(({ labels }) => delete labels['gvisor.node-restriction.kubernetes.io/platform']); // another key is no part of it
    assert.equal((await logged(AGAIN)).key, 'gvisor.node-restriction.kubernetes.io/platform');
  });

  it('is told a new verdict at once, though the key is fought over', async (t) => {
    const { server, logged, pause, waits, publish } = await settled(t);
    const remove = () =>
      server.node.change(({ labels }) => delete labels['gvisor.node-restriction.kubernetes.io/ready']);
    remove();
    await logged(AGAIN);
    const from = waits.length;
    remove();
    await pause(1_000, from);
    await publish(BROKEN);
    assert.equal(server.node.labels['gvisor.node-restriction.kubernetes.io/ready'], 'false');
  });
});
