import assert from 'node:assert/strict';
import { it } from 'node:test';
import { openLog } from '../../../lib/base/log.ts';

it('has names of levels, times to read, no stack, and counts an error that comes again', () => {
  const lines: Record<string, unknown>[] = [];
  let nowMs = 0;
  const write = (line: string) => void lines.push(JSON.parse(line));
  const log = openLog('info', { node: 'node-1' }, { write }, () => nowMs);
  const err = new Error('cannot connect', { cause: new Error('refused') });
  for (nowMs = 0; nowMs <= 300_000; nowMs += 60_000) log.warn({ err, path: '/a' }, 'watch ended');
  log.warn({ err, path: '/b' }, 'watch ended');
  log.info('well');
  assert.match(String(lines[0]?.time), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  const seen = lines.map(({ time: _, node: __, ...line }) => line);
  const ended = { level: 'warn', err: { message: 'cannot connect: refused' }, msg: 'watch ended' };
  assert.deepEqual(seen, [
    { ...ended, path: '/a' },
    { ...ended, path: '/a', repeated: 4 },
    { ...ended, path: '/b' },
    { level: 'info', msg: 'well' },
  ]);
});
