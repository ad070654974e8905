import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Metrics } from '../../../agent/http/metrics.ts';
import { named } from '../text/samples.ts';

const POD = { namespace: 'eval', name: 'p', uid: 'u', handler: 'runsc', evidence: '' };
const HEARD = 'gvisor_namespaces_last_update_timestamp_seconds';

describe('PodMetrics', () => {
  it('counts pods in gVisor that no limit holds, and none of which that is not known', async () => {
    const { pods, metrics } = fresh();
    const all = [{ ...POD, limited: false }, { ...POD, limited: false }, { ...POD, limited: true }, POD];
    for (const [seen, expected] of [
      [all, 2],
      [[POD], 0],
    ] as const) {
      pods.publish({ pods: seen, unsandboxed: [], weakened: [], atMs: 0 }, new Set());
      assert.deepEqual(await named(metrics, 'gvisor_unlimited_pods'), [`gvisor_unlimited_pods ${expected}`]);
    }
  });

  it('counts pods outside gVisor without their names, and not before pods were read', async () => {
    const { pods, metrics } = fresh();
    assert.deepEqual(await named(metrics, 'gvisor_unsandboxed_pods'), []);
    const outside = [POD, { ...POD, namespace: 'other' }];
    for (const unsandboxed of [outside, []]) {
      pods.publish({ pods: outside, unsandboxed, weakened: [], atMs: 0 }, new Set(['eval', 'other']));
      const text = (await metrics.text()).body;
      assert.match(text, new RegExp(`^gvisor_unsandboxed_pods ${unsandboxed.length}$`, 'm'));
      assert.doesNotMatch(text, /"(eval|other)"/);
    }
  });

  it('counts pods of which nothing tells, where gVisor is required', async () => {
    const { pods, metrics } = fresh();
    const told = { ...POD, sandboxed: true };
    const elsewhere = { ...POD, namespace: 'other' };
    for (const [seen, expected] of [
      [[POD, POD, told, elsewhere], 2],
      [[told, elsewhere], 0],
    ] as const) {
      pods.publish({ pods: seen, unsandboxed: [], weakened: [], atMs: 7_000 }, new Set(['eval']));
      assert.deepEqual(await named(metrics, 'gvisor_unknown_pods'), [`gvisor_unknown_pods ${expected}`]);
    }
    assert.deepEqual(await named(metrics, 'gvisor_pods_last_seen_timestamp_seconds'), [
      'gvisor_pods_last_seen_timestamp_seconds 7',
    ]);
  });

  it('counts weakened pods, and those with a way out as outside gVisor where it is required', async () => {
    const { pods, metrics } = fresh();
    const weak = (severity: 'blocker' | 'warning', namespace: string) => {
      const how = { flag: 'a', value: 'b', severity, why: 'c' };
      return { ...POD, sandboxed: true, namespace, weak: [how] };
    };
    const weakened = [weak('blocker', 'eval'), weak('warning', 'eval'), weak('blocker', 'other')];
    pods.publish({ pods: weakened, unsandboxed: [], weakened, atMs: 0 }, new Set(['eval']));
    assert.deepEqual(await named(metrics, 'gvisor_weakened_pods'), ['gvisor_weakened_pods 3']);
    const outside = await named(metrics, 'gvisor_unsandboxed_pods');
    assert.deepEqual(outside, ['gvisor_unsandboxed_pods 1']);
    pods.publish({ pods: [], unsandboxed: [], weakened: [], atMs: 0 }, new Set(['eval']));
    assert.deepEqual(await named(metrics, 'gvisor_weakened_pods'), ['gvisor_weakened_pods 0']);
  });

  it('tells when namespaces were last heard of only where they are followed', async () => {
    const { pods, metrics } = fresh();
    assert.deepEqual(await named(metrics, HEARD), []);
    pods.followNamespaces();
    assert.deepEqual(await named(metrics, HEARD), [`${HEARD} 0`]);
    pods.heardNamespaces(9_000);
    assert.deepEqual(await named(metrics, HEARD), [`${HEARD} 9`]);
  });
});

function fresh() {
  const metrics = new Metrics('0.1.0');
  return { metrics, pods: metrics.pods };
}
