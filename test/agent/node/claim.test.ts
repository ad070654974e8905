import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { claimFor } from '../../../agent/node/desired.ts';
import type { NodeObject } from '../../../agent/node/object.ts';
import { OWN_KEYS } from '../../../agent/node/object.ts';
import { fakeApiServer } from '../fake-api-server.ts';
import { reportOf, verdictOf } from '../reports.ts';
import { BOOT, BROKEN, logOf, publisherOf, READ, READY, until, WRITE, watched } from './publisher-of.ts';

const LABEL = OWN_KEYS.labels.ready;
const PROVEN_BOOT = OWN_KEYS.annotations.provenBoot;
const OLD = 'boot-1';
const UNKNOWN = reportOf({ verdict: verdictOf('Unknown', 'ContainerdUnreachable') });

function nodeOf(label: string | undefined, proven: string | undefined, reported?: string): NodeObject {
  const labels = label === undefined ? {} : { [LABEL]: label };
  const annotations = proven === undefined ? {} : { [PROVEN_BOOT]: proven };
  const metadata = { name: 'node-1', uid: 'u', resourceVersion: '1', labels, annotations };
  return { metadata, status: reported === undefined ? {} : { nodeInfo: { bootID: reported } } };
}

describe('what an agent claims before its first report', () => {
  for (const [label, proven, withdraws] of [
    ['true', BOOT, false],
    ['true', OLD, true],
    ['true', '', true],
    ['true', undefined, true],
    ['false', OLD, false],
    ['false', undefined, false],
    [undefined, OLD, false],
    [undefined, undefined, false],
  ] as const) {
    it(`${withdraws ? 'withdraws' : 'leaves'} the label ${label} that was proven in ${proven ?? 'no boot'}`, () => {
      const claim = claimFor(undefined, nodeOf(label, proven, OLD), BOOT);
      assert.equal(claim?.verdict.reason, withdraws ? 'NodeRebooted' : undefined);
    });
  }
});

describe('what an agent claims with a report', () => {
  for (const report of [READY, BROKEN, UNKNOWN]) {
    const { status } = report.verdict;
    for (const reported of [undefined, '', BOOT, OLD]) {
      const isHeld = status === 'True' && reported === OLD;
      it(`is ${isHeld ? 'not yet ' : ''}${status} where the kubelet reports ${reported ?? 'no'} boot`, () => {
        const claim = claimFor(report, nodeOf('false', OLD, reported), BOOT);
        assert.equal(claim?.verdict.reason, isHeld ? 'NodeRebooted' : report.verdict.reason);
      });
    }
  }
});

describe('an agent that starts', { timeout: 30_000 }, () => {
  /** A server whose Node is as a predecessor in a boot left it, and the kubelet reports a boot. */
  const left = async (t: Parameters<typeof publisherOf>[0], proven: string, reported: string) => {
    const shared = await fakeApiServer(t);
    const { node } = shared.server;
    node.labels = { [LABEL]: 'true' };
    node.annotations = { [OWN_KEYS.annotations.provenBy]: '0.1.0+a', [PROVEN_BOOT]: proven };
    node.conditions = [{ type: 'GVisorReady', status: 'True', reason: 'SandboxProven', message: 'before' }];
    node.bootID = reported;
    return { ...(await publisherOf(t, {}, shared)), node };
  };

  it('withdraws before its first look has ended what was proven in another boot, and then proves', async (t) => {
    const { node, logged, publish, publisher, changed } = await left(t, OLD, BOOT);
    await logged('node written');
    assert.equal(node.labels[LABEL], 'false');
    assert.equal(node.annotations[PROVEN_BOOT], OLD);
    const [condition] = node.conditions;
    assert.deepEqual([condition?.status, condition?.reason], ['Unknown', 'NodeRebooted']);
    assert.match(
      condition?.message ?? '',
      /^gVisor was proven in the boot boot-1, and not yet in the present one, boot-2\. What to do: Wait/,
    );
    assert.equal(publisher.unready, 'no verdict has been published yet');
    await publish(READY);
    assert.deepEqual([node.labels[LABEL], node.annotations[PROVEN_BOOT]], ['true', BOOT]);
    assert.equal(node.annotations[OWN_KEYS.annotations.provenBy], '0.1.0+a');
    await until('the agent to be ready', () => publisher.unready === undefined);
    assert.deepEqual(
      changed.map(([{ reason }]) => reason),
      ['NodeRebooted', 'SandboxProven'],
    );
  });

  it('leaves alone what was proven in this boot', async (t) => {
    const { server, node, publisher } = await left(t, BOOT, BOOT);
    await watched(server);
    await until('the Node to be read', () => server.asked.length > 0);
    node.change(({ labels }) => {
      labels.other = 'label';
    });
    publisher.publish(UNKNOWN);
    await until('the report to be written', () => node.labels[LABEL] === 'false');
    assert.deepEqual(server.asked, [READ, WRITE]);
  });

  it('grants its proof only once the kubelet reports the same boot, and is not Ready until then', async (t) => {
    const { server, node, logged, publisher } = await left(t, OLD, OLD);
    await watched(server);
    await logged('node written');
    publisher.publish(READY);
    await logged('not ready: the rollout waits');
    assert.equal(
      publisher.unready,
      'gVisor was proven in the boot boot-2, but the kubelet reports the boot boot-1',
    );
    assert.equal(node.labels[LABEL], 'false');
    node.change((changing) => {
      changing.bootID = BOOT;
    }, 'kubelet');
    await logged('node written');
    assert.deepEqual([node.labels[LABEL], node.annotations[PROVEN_BOOT]], ['true', BOOT]);
    await until('the agent to be ready', () => publisher.unready === undefined);
  });

  it('does not fight for the label with a controller where the kubelet goes over to another boot', async (t) => {
    const { log, logged } = logOf();
    const { server, publisher } = await publisherOf(t, { log });
    const { node } = server;
    node.bootID = BOOT;
    await watched(server);
    publisher.publish(READY);
    await logged('node written');
    node.change((changing) => {
      changing.bootID = OLD;
      changing.labels[LABEL] = 'false';
      changing.conditions = [
        { type: 'GVisorReady', status: 'Unknown', reason: 'NodeRebooted', message: 'm' },
      ];
    }, 'gvisor-ready-fleet');
    await logged('not ready: the rollout waits');
    const granted = server.bodies.filter(({ metadata }) => metadata?.labels?.[LABEL] === 'true');
    assert.deepEqual([node.labels[LABEL], granted.length], ['false', 1]);
  });
});
