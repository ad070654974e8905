import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { timeLeft } from './display.ts';
import { estimateSeconds, historyFile, longestFirst, readHistory, writeHistory } from './history.ts';

test('a history has the times of all files, but only the failures of the last run', (t) => {
  const cache = mkdtempSync(join(tmpdir(), 'history-'));
  t.after(() => rmSync(cache, { recursive: true }));
  const file = historyFile(cache, '/repo');
  assert.notEqual(file, historyFile(cache, '/other'));
  assert.deepEqual(readHistory(file), { seconds: {}, failed: [] });
  writeHistory(file, { seconds: { a: 3, b: 4 }, failed: ['a'] });
  writeHistory(file, { seconds: { b: 5 }, failed: [] });
  assert.deepEqual(readHistory(file), { seconds: { a: 3, b: 5 }, failed: [] });
  writeFileSync(file, '{');
  assert.deepEqual(readHistory(file), { seconds: {}, failed: [] });
});

test('an estimate is no shorter than the longest file, and assumes the mean for a file without a time', () => {
  const seconds = { a: 60, b: 10, c: 20 };
  assert.equal(estimateSeconds(['a', 'b'], 2, { seconds }), 60);
  assert.equal(estimateSeconds(['b', 'c', 'new'], 1, { seconds }), 45);
  assert.equal(estimateSeconds(['new'], 1, { seconds: {} }), 5);
  assert.equal(timeLeft(30), 'less than 1 min');
  assert.equal(timeLeft(200), 'about 3 min');
  assert.deepEqual(longestFirst(['b', 'new', 'a'], { seconds }), ['a', 'b', 'new']);
});
