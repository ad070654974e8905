import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { timeLeft } from './display.ts';
import { estimateSeconds, History, historyFile } from './history.ts';

test('a history keeps durations, files whose last run failed, and second tries, file by file', (t) => {
  const cache = mkdtempSync(join(tmpdir(), 'history-'));
  t.after(() => rmSync(cache, { recursive: true }));
  const file = historyFile(cache, '/repo');
  assert.notEqual(file, historyFile(cache, '/other'));
  const first = new History(file, { a: 9, c: 7 });
  first.add('a', { passed: false, seconds: 2.1 });
  first.add('b', { passed: false, seconds: 4 });
  const next = new History(file, { a: 9, c: 7 });
  assert.deepEqual([next.seconds, next.failed], [{ a: 3, b: 4, c: 7 }, ['a', 'b']]);
  next.add('a', { passed: true, seconds: 5 });
  next.addSecondTry('a', new Date('2026-11-29T10:00:00Z'));
  const { failed, secondTries } = new History(file);
  assert.deepEqual({ failed, secondTries }, { failed: ['b'], secondTries: { a: ['2026-11-29'] } });
  writeFileSync(file, '{');
  assert.deepEqual(new History(file).seconds, {});
});

test('an estimate is no shorter than the longest file, and assumes the mean for a file without a time', () => {
  const seconds = { a: 60, b: 10, c: 20 };
  assert.equal(estimateSeconds(['a', 'b'], 2, seconds), 60);
  assert.equal(estimateSeconds(['b', 'c', 'new'], 1, seconds), 45);
  assert.equal(estimateSeconds(['new'], 1, {}), 5);
  assert.equal(timeLeft(30), 'less than 1 min');
  assert.equal(timeLeft(200), 'about 3 min');
});
