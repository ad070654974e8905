import assert from 'node:assert/strict';
import { it } from 'node:test';
import { formatTable } from '../../cluster/table.ts';

it('aligns rows of different lengths without trailing spaces', () => {
  assert.equal(formatTable([['A', 'B'], ['long', 'x', 'y'], []]), 'A      B\nlong   x   y\n');
  assert.equal(formatTable([]), '');
});
