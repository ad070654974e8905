import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { describe, it } from 'node:test';
import { breakAndWait } from '../../cluster/faults/break-node.ts';
import { waitFor } from '../../hack/run.ts';
import { useDispatcher } from '../e2e/dispatcher-cluster.ts';
import { creations, FREE } from '../e2e/dispatcher-run.ts';
import { GVISOR_NODES } from '../e2e/e2e-cluster.ts';

const { cluster, call, kubectl, kernelIn } = useDispatcher();

describe('the dispatcher, when the cluster changes between its check and the start of the pod', () => {
  const CREATE = /\/pods$|\/pods\?/;
  const lose = (node: string) => breakAndWait(cluster(), node, 'runsc-missing');
  const loseAll = () => Promise.all(GVISOR_NODES.map(lose));
  const SHORT = ['--schedule-deadline', '6', '--start-deadline', '6'];

  it('with "prefer" creates the fallback only once the first pod is deleted', async () => {
    const fallback = await call({
      policy: 'prefer',
      name: 'twice',
      options: ['--schedule-deadline', '6'],
      gate: (gate) => gate.before('POST', CREATE, loseAll),
    });
    assert.deepEqual(
      [fallback.code, fallback.output.in_gvisor, fallback.output.reason],
      [0, false, 'GVisorFails'],
      fallback.stderr,
    );
    const order = fallback.requests
      .filter((one) => /\/pods(\/twice)?(\?\S*)? \d+$/.test(one) && !one.includes('watch='))
      .map((one) => `${one.split(' ')[0]} ${one.split(' ')[2]}`);
    const [first, second] = [order.indexOf('POST 201'), order.lastIndexOf('POST 201')];
    assert.ok(second > first, 'two pods were created, one after the other');
    assert.ok(order.slice(first, second).includes('DELETE 200'), 'the first was deleted in between');
    assert.equal(
      order[second - 1],
      'GET 404',
      'the first was confirmed deleted before the second was created',
    );
    assert.equal(await kernelIn('twice'), (await readFile('/proc/version', 'utf8')).trim());
  });

  it('retries on another node when a kubelet rejects the pod after its node lost the label', async () => {
    const node = cluster().node('node-1');
    const rejected = await call({
      name: 'rejected',
      gate: (gate) => {
        gate.before('POST', CREATE, async () => {
          await node.machine.stopDaemon('kubelet');
          await kubectl('cordon', 'node-2');
        });
        gate.after('POST', CREATE, async () => {
          await waitFor('the pod to be bound', 20_000, async () => {
            const path = 'jsonpath={.spec.nodeName}';
            return (await kubectl('get', 'pod', 'rejected', '-n', FREE, '-o', path)) || undefined;
          });
          await lose('node-1');
          await kubectl('uncordon', 'node-2');
          await node.startKubelet();
        });
      },
    });
    assert.deepEqual([rejected.code, rejected.output.node], [0, 'node-2'], rejected.stderr);
    assert.equal(creations(rejected).length, 2);
    assert.match(await kernelIn('rejected'), /^Linux version 4\.4\.0 /);
  });

  it('creates no replacement for a pod on an unreachable node, which may still run', async () => {
    await lose('node-2');
    const node = cluster().node('node-1');
    const lost = await call({
      policy: 'prefer',
      name: 'lost',
      options: [...SHORT, '--remove-deadline', '5'],
      gate: (gate) => gate.before('POST', CREATE, () => node.machine.stopDaemon('kubelet')),
    });
    assert.deepEqual([lost.code, lost.output.reason], [4, 'PodNotGone'], lost.stderr);
    assert.equal(creations(lost).length, 1);
    await node.startKubelet();
    await kubectl('wait', '--for=delete', 'pod/lost', '-n', FREE, '--timeout=180s');
  });
});
