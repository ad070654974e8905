import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nodesFrom, parseNode } from '../../../cluster/commands/up.ts';

test('nodes come from a number or from descriptions', () => {
  assert.equal(nodesFrom(undefined, undefined), undefined);
  assert.deepEqual(
    nodesFrom('4', undefined)?.map((node) => [node.name, node.containerd, node.gvisor]),
    [
      ['node-1', undefined, undefined],
      ['node-2', '1.7', '2025'],
      ['node-3', undefined, 'none'],
      ['node-4', undefined, undefined],
    ],
  );
  assert.deepEqual(nodesFrom(undefined, ['name=a,containerd=1.7', 'gvisor=none', 'machine=vm']), [
    { name: 'a', containerd: '1.7' },
    { gvisor: 'none' },
    { machine: 'vm' },
  ]);
});

test('what nodes cannot be is refused', () => {
  for (const count of ['0', '-1', '1.5', 'three', '51', '']) {
    assert.throws(() => nodesFrom(count, undefined), /--nodes takes a whole number from 1 to 50/, count);
  }
  assert.throws(() => nodesFrom('2', ['name=a']), /not both/);
  assert.throws(() => nodesFrom(undefined, ['name=a', 'name=a']), /Two nodes have the name "a"/);
  assert.throws(() => parseNode('name='), /lacks a value: write name=/);
  assert.throws(() => parseNode('nam=a'), /Did you mean "name"/);
  assert.throws(() => parseNode('machine=vmm'), /no machine for nodes "vmm"\. Did you mean "vm"/);
  assert.throws(() => parseNode('containerd=1.8'), /no containerd for nodes "1.8"\. Did you mean "1.7"/);
});
