import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { describe, it } from 'node:test';
import { breakAndWait } from '../../cluster/story.ts';
import { useDispatcher } from './dispatcher-cluster.ts';
import { assertNoPod, creations, FREE, REQUIRING, readPod } from './dispatcher-run.ts';
import { GVISOR_NODES } from './e2e-cluster.ts';

const { cluster, call, kubectl, kernelIn, registerHooks } = useDispatcher();

describe('the dispatcher', () => {
  registerHooks();

  it('starts a pod in gVisor under every policy while nodes are proven', async () => {
    for (const policy of ['require', 'prefer'] as const) {
      const { code, output, stderr } = await call({ policy, name: policy });
      assert.equal(code, 0, stderr);
      assert.equal(output.in_gvisor, true);
      assert.match(String(output.node), /^node-[12]$/);
      assert.match(await kernelIn(policy), /^Linux version 4\.4\.0 /);
      assert.equal((await readPod(cluster(), policy)).metadata.labels['gvisor-dispatch'], 'gvisor');
    }
  });

  it('creates no pod without a RuntimeClass, under every policy', async () => {
    await kubectl('delete', 'runtimeclass', 'gvisor');
    for (const policy of ['require', 'prefer', 'wait'] as const) {
      const refused = await call({ policy, name: 'no-class' });
      assert.deepEqual([refused.code, refused.output.reason], [3, 'RuntimeClassMissing'], refused.stderr);
      assert.deepEqual(
        refused.requests.filter((one) => !one.startsWith('GET ')),
        [],
      );
    }
    await assertNoPod(cluster(), 'no-class');
  });

  it('refuses a RuntimeClass with another handler or without the node selector', async () => {
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
      const mismatch = await call({ policy: 'prefer', name: 'mismatch', options });
      assert.deepEqual([mismatch.code, mismatch.output.reason], [3, 'HandlerMismatch'], mismatch.stderr);
      await kubectl('delete', 'runtimeclass', 'other');
      await cluster().kubectl(['apply', '-f', '-'], other('runsc'));
      const unscoped = await call({ policy: 'prefer', name: 'unscoped', options });
      assert.deepEqual([unscoped.code, unscoped.output.reason], [3, 'RuntimeClassUnscoped'], unscoped.stderr);
    } finally {
      await kubectl('delete', 'runtimeclass', 'other', '--ignore-not-found');
    }
  });

  it('refuses while gVisor fails, or falls back with a warning if the namespace allows it', async () => {
    await Promise.all(GVISOR_NODES.map((node) => breakAndWait(cluster(), node, 'runsc-missing')));
    const refused = await call({ name: 'refused' });
    assert.deepEqual([refused.code, refused.output.reason], [3, 'GVisorFails'], refused.stderr);
    const required = await call({ policy: 'prefer', name: 'required', namespace: REQUIRING });
    assert.deepEqual([required.code, required.output.reason], [3, 'GVisorFails'], required.stderr);
    const joining = ['--install-grace', '86400'];
    const undecided = await call({ policy: 'prefer', name: 'undecided', options: joining });
    assert.deepEqual([undecided.code, undecided.output.reason], [75, 'GVisorUndecided'], undecided.stderr);
    assert.match(String(undecided.output.message), /node-3 has no final verdict: HandlerNotConfigured$/);
    await kubectl('label', 'namespace', FREE, 'allow-host-kernel-');
    const silent = await call({ policy: 'prefer', name: 'silent' });
    await kubectl('label', 'namespace', FREE, 'allow-host-kernel=true');
    assert.deepEqual([silent.code, silent.output.reason], [3, 'GVisorFails'], silent.stderr);
    assert.match(
      String(silent.output.message),
      /^"prefer" acts as "require": namespace dispatcher-free does not have/,
    );
    assert.deepEqual([refused, required, undecided, silent].flatMap(creations), []);

    const dryRun = await call({ command: 'ask', policy: 'prefer', name: 'fallback', options: [] });
    assert.deepEqual([dryRun.code, dryRun.output.in_gvisor], [5, false], dryRun.stderr);
    const { code, output, stderr } = await call({ policy: 'prefer', name: 'fallback' });
    assert.deepEqual([code, output.in_gvisor, output.reason], [0, false, 'GVisorFails'], stderr);
    assert.match(
      stderr,
      /^WARNING dispatcher-free\/fallback runs WITHOUT gVisor: GVisorFails: .*RunscNotFound/m,
    );
    assert.equal(await kernelIn('fallback'), (await readFile('/proc/version', 'utf8')).trim());
    const pod = await readPod(cluster(), 'fallback');
    assert.equal(pod.spec.runtimeClassName, undefined);
    assert.equal(pod.metadata.labels['gvisor-dispatch'], 'fallback');
    assert.equal(pod.metadata.annotations?.['gvisor-dispatch/reason'], 'GVisorFails');
    const events = `involvedObject.uid=${pod.metadata.uid},reason=GVisorFallback`;
    const path = 'jsonpath={.items[*].type} {.items[*].message}';
    const event = await kubectl('get', 'events', '-n', FREE, '--field-selector', events, '-o', path);
    assert.match(event, /^Warning runs without gVisor: GVisorFails: /);
  });

  it('treats cordoned nodes and untolerated taints as not schedulable', async () => {
    await kubectl('cordon', 'node-1');
    await kubectl('taint', 'node', 'node-2', 'gpu=a100:NoSchedule', '--overwrite');
    try {
      const { code, output, stderr } = await call({ policy: 'prefer', name: 'nowhere' });
      assert.deepEqual([code, output.reason], [75, 'NoSchedulableNode'], stderr);
      assert.match(String(output.message), /taint node\.kubernetes\.io\/unschedulable=:NoSchedule: node-1/);
      assert.match(String(output.message), /taint gpu=a100:NoSchedule: node-2/);
      await assertNoPod(cluster(), 'nowhere');
    } finally {
      await kubectl('taint', 'node', 'node-2', 'gpu-');
    }
  });

  it('reports errors of the call itself', async () => {
    const taken = await call({ name: 'taken' });
    assert.equal(taken.code, 0, taken.stderr);
    const other = await call({ name: 'taken', options: ['--id', 'another'] });
    assert.deepEqual([other.code, other.output.reason], [1, 'NameTaken'], other.stderr);
    const stranger = await call({ name: 'stranger', namespace: 'default' });
    assert.deepEqual([stranger.code, stranger.output.reason], [1, 'ApiRefused'], stranger.stderr);
    assert.match(String(stranger.output.message), /^cannot read pod default\/stranger: 403 pods .*forbidden/);
    const wrong = await call({ name: 'wrong', options: ['--start-deadline', '0'] });
    assert.equal(wrong.code, 2);
    assert.match(wrong.stderr, /0 is not between 0 and 86400 seconds/);
  });
});
