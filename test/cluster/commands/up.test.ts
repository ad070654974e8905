import assert from 'node:assert/strict';
import { test } from 'node:test';
import { collectNode, nodesFrom } from '../../../cluster/commands/up.ts';

test('parses a number of nodes, or a description of each', () => {
  assert.deepEqual(
    nodesFrom('4').map((node) => [node.name, node.containerd, node.gvisor]),
    [
      ['node-1', undefined, undefined],
      ['node-2', '1.7', '2025'],
      ['node-3', undefined, 'none'],
      ['node-4', undefined, undefined],
    ],
  );
  const texts = ['name=a,containerd=1.7', 'gvisor=none', 'machine=vm'];
  assert.deepEqual(
    texts.reduce((nodes: ReturnType<typeof collectNode>, text) => collectNode(text, nodes), []),
    [{ name: 'a', containerd: '1.7' }, { gvisor: 'none' }, { machine: 'vm' }],
  );
});

test('refuses invalid numbers and descriptions', () => {
  for (const count of ['0', '-1', '1.5', 'three', '51', '']) {
    assert.throws(() => nodesFrom(count), /whole number from 1 to 50/, count);
  }
  assert.throws(() => collectNode('name=a', [{ name: 'a' }]), /Two nodes have the name "a"/);
  for (const text of ['name=', 'nam=a', 'machine=vmm', 'containerd=1.8', 'gvisor=2025,', '']) {
    assert.throws(() => collectNode(text), /write name=NAME or containerd=2\|1\.7 or gvisor=current\|/, text);
  }
});
