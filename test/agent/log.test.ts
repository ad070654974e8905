import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import pino from 'pino';
import { sentenceOf } from '../../agent/text/log.ts';

describe('sentenceOf', () => {
  const lines: string[] = [];
  const log = pino({ base: { node: 'node-1' } }, { write: (line: string) => lines.push(sentenceOf(line)) });

  it('says the message, the error behind it, and what else is known', () => {
    log.warn({ folders: 2, why: 'ENOSPC' }, 'folders cannot be watched');
    log.error({ err: new Error('503 shutting down'), retryInMs: 500 }, 'cannot write the node');
    log.warn('that alone');
    assert.deepEqual(lines, [
      '! folders cannot be watched (folders 2, why ENOSPC)\n',
      '! cannot write the node: 503 shutting down (retryInMs 500)\n',
      '! that alone\n',
    ]);
  });

  it('is one line that no terminal acts on, whatever others have written into it', () => {
    log.error({ evidence: 'a\u001b[2J\nb' }, 'a pod');
    assert.equal(lines.at(-1), '! a pod (evidence a\ufffd[2J b)\n');
  });
});
