import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import pino from 'pino';
import { sentenceOf } from '../../../agent/start/log.ts';

describe('sentenceOf', () => {
  const lines: string[] = [];
  const log = pino({ base: { node: 'node-1' } }, { write: (line: string) => lines.push(sentenceOf(line)) });

  it('has the message, the error and the other fields', () => {
    log.warn({ directories: 2, why: 'ENOSPC' }, 'directories cannot be watched');
    log.error({ err: new Error('503 shutting down'), retryInMs: 500 }, 'cannot write the node');
    log.warn('that alone');
    assert.deepEqual(lines, [
      '! directories cannot be watched (directories 2, why ENOSPC)\n',
      '! cannot write the node: 503 shutting down (retryInMs 500)\n',
      '! that alone\n',
    ]);
  });

  it('is one sanitized line', () => {
    log.error({ evidence: 'a\u001b[2J\nb' }, 'a pod');
    assert.equal(lines.at(-1), '! a pod (evidence a\ufffd[2J b)\n');
  });
});
