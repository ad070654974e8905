import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { allotNodes, planNodes, readNodes, wantedNodes } from '../../../cluster/plan/nodes.ts';

test('refuses invalid names and conflicting requests', () => {
  for (const name of ['', 'A', '-a', 'a-', 'a.b', 'a/b', 'x'.repeat(41), 'control-plane']) {
    assert.throws(() => planNodes([{ name }]), { name: 'UsageError' }, name);
  }
  const exists = /exists with containerd 2 and gVisor current/;
  assert.throws(() => planNodes([{ name: 'a', gvisor: 'none' }], planNodes([{ name: 'a' }])), exists);
  const vm = planNodes([{ name: 'a', machine: 'vm' }]);
  assert.throws(
    () => planNodes([{ name: 'a', machine: 'namespaces' }], vm),
    /exists with containerd 2 and gVisor current in a virtual machine: remove it first/,
  );
});

test('stores a plan atomically', (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'node-plan-'));
  t.after(() => rmSync(dir, { recursive: true }));
  const made = allotNodes(dir, [{ name: 'a' }, { name: 'b', containerd: '1.7' }]);
  assert.deepEqual(readNodes(dir), made);
  assert.equal(allotNodes(dir, [{ name: 'c' }])[0]?.index, 3);
  assert.deepEqual(readdirSync(join(dir, 'nodes')).sort(), ['a', 'b', 'c']);
  assert.deepEqual(readdirSync(dir), ['nodes']);
  assert.equal(wantedNodes('x', dir, undefined).length, 3);
  const other = /with the nodes a, b, c: add "d" with `node add`/;
  assert.throws(() => wantedNodes('x', dir, [{ name: 'd' }]), other);
});
