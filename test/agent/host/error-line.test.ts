import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { describe, it } from 'node:test';
import { errorLine } from '../../../agent/sanitize.ts';

describe('errorLine', () => {
  it('prints an error and its causes as one line, nothing twice', async () => {
    const system = await readFile('/no/such/file').catch((error: unknown) => error);
    const cause = new Error('Cannot read host file "/x": ENOENT', { cause: system });
    assert.equal(
      errorLine(new Error('Cannot\n  look', { cause })),
      'Cannot look: Cannot read host file "/x": ENOENT',
    );
  });

  it('takes whatever is thrown, and a chain that closes on itself', () => {
    const circle = new Error('round');
    circle.cause = circle;
    assert.equal(errorLine(circle), 'round');
    assert.equal(errorLine('text'), 'text');
    assert.equal(errorLine(undefined), 'unknown error');
  });
});
