import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nearest, unknownWord } from '../../cluster/nearest.ts';
import { UsageError } from '../../hack/run.ts';

const WORDS = ['up', 'status', 'break', 'heal', 'shim-missing', 'runsc-missing'];

test('the nearest word is found within a few letters, and no other', () => {
  const table: readonly (readonly [string, string | undefined])[] = [
    ['statsu', 'status'],
    ['brake', 'break'],
    ['shim-mising', 'shim-missing'],
    ['runscmissing', 'runsc-missing'],
    ['up', 'up'],
    ['frobnicate', undefined],
  ];
  for (const [word, meant] of table) assert.equal(nearest(word, WORDS), meant, word);
});

test('an unknown word is told with what was meant and all that there is', () => {
  const error = unknownWord('command', 'heel', WORDS);
  assert.ok(error instanceof UsageError);
  assert.equal(
    error.message,
    'There is no command "heel". Did you mean "heal"? There is: up, status, break, heal, shim-missing, runsc-missing.',
  );
  assert.equal(
    unknownWord('node', 'frobnicate', []).message,
    'There is no node "frobnicate". There is: none.',
  );
});
