import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { fakeApiServer } from '../fake-api-server.ts';
import { reportOf, verdictOf } from '../reports.ts';
import { AGAIN, BROKEN, publisherOf, READ, READY, WRITE, WRITE_TAINT, watched } from './publisher-of.ts';

describe('a taint', () => {
  const TAINT = { key: 'gvisor.node-restriction.kubernetes.io/not-ready', effect: 'NoSchedule' };
  const other = { key: 'other', effect: 'NoExecute', value: 'a' };

  it('stands on a node that is not proven, beside those of others, and goes with the proof', async (t) => {
    const shared = await fakeApiServer(t);
    shared.server.node.taints = [other];
    const { server, publish, logged } = await publisherOf(t, { taint: true }, shared);
    await publish(BROKEN);
    await logged('taint written');
    assert.deepEqual(server.asked, [READ, WRITE, WRITE_TAINT]);
    assert.deepEqual(server.node.taints, [other, TAINT]);
    await publish(reportOf({ verdict: verdictOf('Unknown', 'ContainerdUnreachable') }));
    assert.deepEqual(server.node.taints, [other, TAINT]);
    await publish(READY);
    await logged('taint written');
    assert.deepEqual(server.node.taints, [other]);
  });

  it('comes back when it is removed, and takes no taint of others with it', async (t) => {
    const { server, publish, logged } = await publisherOf(t, { taint: true });
    await watched(server);
    await publish(BROKEN);
    await logged('taint written');
    server.node.change((node) => {
      node.taints = [other];
    });
    await logged(AGAIN);
    assert.deepEqual(server.node.taints, [other, TAINT]);
  });

  it('is not written over a Node that has changed since it was read, and the verdict is told once', async (t) => {
    const { server, publisher, logged, waits, changed } = await publisherOf(t, { taint: true });
    publisher.publish(READY);
    await logged('node written');
    server.node.onChange = () => {}; // the watch lags
    const patch = server.node.patch.bind(server.node);
    server.node.patch = (body, manager) => {
      if (body.spec !== undefined) {
        server.node.patch = patch;
        server.node.change((node) => {
          node.taints = [other];
        });
      }
      return patch(body, manager);
    };
    publisher.publish(BROKEN);
    const line = await logged('cannot write the node');
    assert.match((line as { err: Error }).err.message, /: 409 /);
    waits.at(-1)?.end();
    await logged('taint written');
    assert.deepEqual(server.node.taints, [other, TAINT]);
    assert.deepEqual(
      changed.map(([{ reason }]) => reason),
      ['SandboxProven', 'ShimNotFound'],
    );
  });

  describe('that cannot be written', () => {
    /** A publisher whose writes of the taint are refused until `mend` is called. */
    async function refused(t: TestContext) {
      const made = await publisherOf(t, { taint: true });
      await watched(made.server);
      const { node } = made.server;
      const patch = node.patch.bind(node);
      const refuse = () => {
        node.patch = (body, manager) => (body.spec === undefined ? patch(body, manager) : false);
      };
      const mend = () => {
        node.patch = patch;
      };
      const told = () => made.changed.map(([{ reason }]) => reason);
      return { ...made, refuse, mend, told };
    }

    it('leaves out no event of what came next', async (t) => {
      const { publish, publisher, logged, waits, refuse, mend, told } = await refused(t);
      await publish(READY);
      refuse();
      publisher.publish(BROKEN);
      await logged('cannot write the node');
      mend();
      publisher.publish(READY);
      waits.at(-1)?.end();
      await logged('node written');
      assert.deepEqual(told(), ['SandboxProven', 'ShimNotFound', 'SandboxProven']);
    });

    it('makes no event of what others forge', async (t) => {
      const { server, publisher, logged, waits, refuse, told } = await refused(t);
      refuse();
      publisher.publish(BROKEN);
      await logged('cannot write the node');
      server.node.change((node) => {
        node.labels['gvisor.node-restriction.kubernetes.io/ready'] = 'true';
        node.conditions = node.conditions.map((each) => ({ ...each, status: 'True', reason: 'Forged' }));
      });
      waits.at(-1)?.end();
      await logged(AGAIN);
      await logged('cannot write the node');
      assert.deepEqual(told(), ['ShimNotFound']);
    });
  });
});
