import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { V1Node } from '@kubernetes/client-node';
import { statusRows } from '../../../cluster/commands/status.ts';
import { planNodes } from '../../../cluster/node/plan.ts';

const [a, b] = planNodes([{ name: 'a' }, { name: 'b', containerd: '1.7', gvisor: 'none' }]);
assert.ok(a && b);
const local = [
  {
    spec: a,
    gvisor: 'current',
    daemons: 'up',
    faults: ['shim-missing', 'runsc-missing'],
    rss: 130 * 1024 * 1024,
  },
  { spec: b, gvisor: 'none', daemons: 'kubelet down', faults: [], rss: 0 },
];

test('combines Node objects with the state on the host', () => {
  const conditions = [
    { type: 'Ready', status: 'True' },
    { type: 'GVisorReady', status: 'False', reason: 'ShimNotFound' },
  ];
  const labels = { 'gvisor.node-restriction.kubernetes.io/ready': 'false' };
  const nodeInfo = { containerRuntimeVersion: 'containerd://2.4.2' };
  const node = { metadata: { name: 'a', labels }, status: { conditions, nodeInfo } };
  const rows = statusRows([node] as unknown as V1Node[], local).slice(1);
  assert.deepEqual(
    rows.map((row) => row.join(' | ')),
    [
      'a | True | 2.4.2 | current | false | False ShimNotFound | up | shim-missing,runsc-missing | 130 MiB',
      'b | ? | 1.7 | none | - | - | kubelet down | - | 0 MiB',
    ],
  );
});

test('shows the state on the host without an API server', () => {
  const ready = statusRows(undefined, local).map(([, ready]) => ready);
  assert.deepEqual(ready.slice(1), ['?', '?']);
});
