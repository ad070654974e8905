import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, afterEach, before, describe, it } from 'node:test';
import { healNode } from '../../hack/cluster/break-node.ts';
import { REPO } from '../../hack/paths.ts';
import { waitFor } from '../../hack/run.ts';
import { breakAndWait, healAndWait, viewNodes } from '../../hack/story.ts';
import {
  assertNoPod,
  type Call,
  creations,
  dispatch,
  FREE,
  grantDispatcher,
  REQUIRING,
  readPod,
  removeDispatcher,
} from './dispatcher-run.ts';
import { useCluster } from './e2e-cluster.ts';

const cluster = useCluster();
const GVISOR_NODES = ['node-1', 'node-2'];
const RUNTIME_CLASS = join(REPO, 'manifests/base/runtimeclass.yaml');

const call = (options: Call) => dispatch(cluster(), options);
const kubectl = (...args: string[]) => cluster().kubectl(args);
const kernelIn = async (pod: string) =>
  (await kubectl('exec', '-n', FREE, pod, '--', 'cat', '/proc/version')).trim();

/** Everything as the tests want to find it: the RuntimeClass, both nodes proven and schedulable. */
async function healed(): Promise<void> {
  await kubectl('apply', '-f', RUNTIME_CLASS);
  await kubectl('uncordon', ...GVISOR_NODES);
  await Promise.all(GVISOR_NODES.map((node) => healNode(cluster(), cluster().node(node))));
  let seen = '';
  await waitFor('both nodes to be proven', 90_000, async () => {
    const nodes = (await viewNodes(cluster())).filter(({ name }) => GVISOR_NODES.includes(name));
    seen = nodes.map(({ name, ready, message }) => `${name} ${ready} ${message}`).join('\n');
    return nodes.every(({ ready }) => ready === 'true') ? true : undefined;
  }).catch((cause) => {
    throw new Error(`${cause.message}\n${seen}`, { cause });
  });
}

describe('the dispatcher', () => {
  before(async () => {
    await grantDispatcher(cluster());
    await healed();
  });
  afterEach(async () => {
    for (const namespace of [FREE, REQUIRING])
      await kubectl('delete', 'pod', '--all', '-n', namespace, '--wait');
    await healed();
  });
  after(() => removeDispatcher(cluster()));

  it('starts a pod in gVisor where gVisor is available, with either policy', async () => {
    for (const policy of ['require', 'prefer'] as const) {
      const { code, said, stderr } = await call({ policy, name: policy });
      assert.equal(code, 0, stderr);
      assert.equal(said.in_gvisor, true);
      assert.match(String(said.node), /^node-[12]$/);
      assert.match(await kernelIn(policy), /^Linux version 4\.4\.0 /);
      assert.equal((await readPod(cluster(), policy)).metadata.labels['gvisor-dispatch'], 'gvisor');
    }
  });

  it('refuses without a RuntimeClass and creates nothing', async () => {
    await kubectl('delete', 'runtimeclass', 'gvisor');
    const refused = await call({ name: 'no-class' });
    assert.deepEqual([refused.code, refused.said.reason], [3, 'RuntimeClassMissing'], refused.stderr);
    assert.deepEqual(
      refused.requests.filter((one) => !one.startsWith('GET ')),
      [],
    );
    await assertNoPod(cluster(), 'no-class');
  });

  it('refuses a RuntimeClass of another handler, and one that selects no proven nodes', async () => {
    const other = (handler: string, scheduling?: object) =>
      JSON.stringify({
        apiVersion: 'node.k8s.io/v1',
        kind: 'RuntimeClass',
        metadata: { name: 'other' },
        handler,
        scheduling,
      });
    const options = ['--runtime-class', 'other'];
    try {
      await cluster().kubectl(['apply', '-f', '-'], other('runc'));
      const mismatch = await call({ name: 'mismatch', options });
      assert.deepEqual([mismatch.code, mismatch.said.reason], [3, 'HandlerMismatch'], mismatch.stderr);
      await kubectl('delete', 'runtimeclass', 'other');
      await cluster().kubectl(['apply', '-f', '-'], other('runsc'));
      const unscoped = await call({ name: 'unscoped', options });
      assert.deepEqual([unscoped.code, unscoped.said.reason], [3, 'RuntimeClassUnscoped'], unscoped.stderr);
    } finally {
      await kubectl('delete', 'runtimeclass', 'other', '--ignore-not-found');
    }
  });

  it('without a ready node refuses, or falls back loudly, but never where the namespace requires gVisor', async () => {
    await Promise.all(GVISOR_NODES.map((node) => breakAndWait(cluster(), node, 'runsc-missing')));
    const refused = await call({ name: 'refused' });
    assert.deepEqual([refused.code, refused.said.reason], [3, 'NoReadyNode'], refused.stderr);
    const required = await call({ policy: 'prefer', name: 'required', namespace: REQUIRING });
    assert.deepEqual([required.code, required.said.reason], [3, 'NoReadyNode'], required.stderr);
    assert.deepEqual([...creations(refused), ...creations(required)], []);

    const { code, said, stderr } = await call({ policy: 'prefer', name: 'fallback' });
    assert.deepEqual([code, said.in_gvisor, said.reason], [0, false, 'NoReadyNode'], stderr);
    assert.match(stderr, /^WARNING pod dispatcher-free\/fallback runs WITHOUT gVisor: NoReadyNode: /m);
    assert.equal(await kernelIn('fallback'), (await readFile('/proc/version', 'utf8')).trim());
    const pod = await readPod(cluster(), 'fallback');
    assert.equal(pod.spec.runtimeClassName, undefined);
    assert.equal(pod.metadata.labels['gvisor-dispatch'], 'fallback');
    assert.equal(pod.metadata.annotations?.['gvisor-dispatch/reason'], 'NoReadyNode');
    const events = `involvedObject.uid=${pod.metadata.uid},reason=GVisorFallback`;
    const path = 'jsonpath={.items[*].type} {.items[*].message}';
    const event = await kubectl('get', 'events', '-n', FREE, '--field-selector', events, '-o', path);
    assert.match(event, /^Warning runs without gVisor: NoReadyNode: /);
  });

  it('counts a node that is cordoned, or tainted without a toleration, as not schedulable', async () => {
    await kubectl('cordon', 'node-1');
    await kubectl('taint', 'node', 'node-2', 'gpu=a100:NoSchedule', '--overwrite');
    try {
      const { code, said, stderr } = await call({ name: 'nowhere' });
      assert.deepEqual([code, said.reason], [3, 'NoSchedulableNode'], stderr);
      assert.match(String(said.message), /node-1 has the taint node\.kubernetes\.io\/unschedulable/);
      assert.match(String(said.message), /node-2 has the taint gpu=a100:NoSchedule/);
    } finally {
      await kubectl('taint', 'node', 'node-2', 'gpu-');
    }
  });

  it('says what is wrong with the call itself', async () => {
    const taken = await call({ name: 'taken' });
    assert.equal(taken.code, 0, taken.stderr);
    const again = await call({ name: 'taken' });
    assert.equal(again.code, 1);
    assert.match(again.stderr, /^The API server refused: 409 pods "taken" already exists$/m);
    const stranger = await call({ name: 'stranger', namespace: 'default' });
    assert.equal(stranger.code, 1);
    assert.match(stranger.stderr, /^The API server refused: 403 pods is forbidden: .*cannot create/m);
    const wrong = await call({ name: 'wrong', options: ['--start-deadline', '0'] });
    assert.equal(wrong.code, 2);
    assert.match(wrong.stderr, /0 is not between 0 and 86400 seconds/);
  });
});

describe('the dispatcher, when things change between the question and the pod', () => {
  const CREATE = /\/pods$|\/pods\?/;
  const PODS = (name: string) => new RegExp(`/pods/${name}(\\?|$)`);
  const lose = (node: string) => breakAndWait(cluster(), node, 'runsc-missing');
  const loseAll = () => Promise.all(GVISOR_NODES.map(lose));
  const SHORT = ['--start-deadline', '6'];

  before(async () => {
    await grantDispatcher(cluster());
    await healed();
  });
  afterEach(async () => {
    await healed();
    for (const namespace of [FREE, REQUIRING])
      await kubectl('delete', 'pod', '--all', '-n', namespace, '--wait');
  });
  after(() => removeDispatcher(cluster()));

  it('with "require" reports the Pending pod in time, with the scheduler’s word, and removes it', async () => {
    const refused = await call({
      name: 'pending',
      options: SHORT,
      gate: (gate) => gate.before('POST', CREATE, loseAll),
    });
    assert.deepEqual([refused.code, refused.said.reason], [3, 'StartDeadlineExceeded'], refused.stderr);
    assert.match(String(refused.said.message), /within 6 s: FailedScheduling: .*node affinity\/selector/);
    assert.equal(creations(refused).length, 1);
    await assertNoPod(cluster(), 'pending');
  });

  it('with "prefer" starts the fallback only once the first pod is gone', async () => {
    const fallen = await call({
      policy: 'prefer',
      name: 'twice',
      options: SHORT,
      gate: (gate) => gate.before('POST', CREATE, loseAll),
    });
    assert.deepEqual(
      [fallen.code, fallen.said.in_gvisor, fallen.said.reason],
      [0, false, 'StartDeadlineExceeded'],
      fallen.stderr,
    );
    const order = fallen.requests
      .filter((one) => /\/pods(\/twice)?(\?\S*)? \d+$/.test(one) && !one.includes('watch='))
      .map((one) => `${one.split(' ')[0]} ${one.split(' ')[2]}`);
    const [first, second] = [order.indexOf('POST 201'), order.lastIndexOf('POST 201')];
    assert.ok(second > first, 'two pods were created, one after the other');
    assert.ok(order.slice(first, second).includes('DELETE 200'), 'the first was deleted in between');
    assert.equal(order[second - 1], 'GET 404', 'the last thing seen before the second was that it is gone');
    assert.equal(await kernelIn('twice'), (await readFile('/proc/version', 'utf8')).trim());
  });

  it('leaves a pod alone that starts at the last moment', async () => {
    const home = async () => {
      await healAndWait(cluster(), 'node-1');
      await waitFor('the pod to run after all', 30_000, async () =>
        (await readPod(cluster(), 'late')).status.phase === 'Running' ? true : undefined,
      );
    };
    const late = await call({
      name: 'late',
      options: SHORT,
      gate: (gate) => {
        gate.before('POST', CREATE, loseAll);
        gate.before('DELETE', PODS('late'), home);
      },
    });
    assert.deepEqual([late.code, late.said.in_gvisor, late.said.node], [0, true, 'node-1'], late.stderr);
    assert.ok(
      late.requests.some((one) => /^DELETE .* 409$/.test(one)),
      'its deletion was refused',
    );
    assert.match(await kernelIn('late'), /^Linux version 4\.4\.0 /);
  });

  it('sees at once that a kubelet rejects the pod, because the label went after the pod was bound', async () => {
    await lose('node-2');
    const node = cluster().node('node-1');
    const rejected = await call({
      name: 'rejected',
      options: ['--start-deadline', '60'],
      gate: (gate) => {
        gate.before('POST', CREATE, () => node.machine.stopDaemon('kubelet'));
        gate.after('POST', CREATE, async () => {
          await waitFor('the pod to be bound', 20_000, async () => {
            const path = 'jsonpath={.spec.nodeName}';
            return (await kubectl('get', 'pod', 'rejected', '-n', FREE, '-o', path)) || undefined;
          });
          await lose('node-1');
          await node.startKubelet();
        });
      },
    });
    assert.deepEqual([rejected.code, rejected.said.reason], [3, 'PodRejected'], rejected.stderr);
    assert.match(String(rejected.said.message), /^NodeAffinity: /);
    await assertNoPod(cluster(), 'rejected');
  });

  it('starts nothing in place of a pod on a node that is lost, since that may still run', async () => {
    await lose('node-2');
    const node = cluster().node('node-1');
    const lost = await call({
      policy: 'prefer',
      name: 'lost',
      options: [...SHORT, '--remove-deadline', '5'],
      gate: (gate) => gate.before('POST', CREATE, () => node.machine.stopDaemon('kubelet')),
    });
    assert.deepEqual([lost.code, lost.said.reason], [4, 'PodNotGone'], lost.stderr);
    assert.equal(creations(lost).length, 1);
    await node.startKubelet();
    await kubectl('wait', '--for=delete', 'pod/lost', '-n', FREE, '--timeout=60s');
  });

  it('starts nothing in place of a pod that somebody else removed', async () => {
    const removed = await call({
      policy: 'prefer',
      name: 'removed',
      gate: (gate) => {
        gate.before('POST', CREATE, loseAll);
        gate.after('POST', CREATE, () => kubectl('delete', 'pod', 'removed', '-n', FREE));
      },
    });
    assert.deepEqual([removed.code, removed.said.reason], [3, 'PodRemoved'], removed.stderr);
    assert.equal(creations(removed).length, 1);
  });

  it('takes the API server’s refusal for what it is when the RuntimeClass goes', async () => {
    const remove = () => kubectl('delete', 'runtimeclass', 'gvisor');
    const refused = await call({
      name: 'class-gone',
      gate: (gate) => gate.before('POST', CREATE, remove),
    });
    assert.deepEqual([refused.code, refused.said.reason], [3, 'RuntimeClassMissing'], refused.stderr);
    assert.deepEqual(creations(refused), []);
  });

  it('does not take a failing API server for an answer', async () => {
    const cut = () => Promise.reject(new Error('cut off'));
    const failed = await call({
      policy: 'prefer',
      name: 'cut-off',
      gate: (gate) => {
        for (let time = 0; time < 10; time++) gate.before('GET', /\/runtimeclasses\//, cut);
      },
    });
    assert.equal(failed.code, 1);
    assert.match(failed.stderr, /^Cannot reach the API server: /m);
    assert.deepEqual(creations(failed), []);
  });
});
