import assert from 'node:assert/strict';
import { it } from 'node:test';
import { isRewriting } from './rewriting.ts';

it('golden files are rewritten if a person asks for it, and never in CI', () => {
  assert.equal(isRewriting('SCREENS', {}), false);
  assert.equal(isRewriting('SCREENS', { CI: 'true' }), false);
  assert.equal(isRewriting('SCREENS', { SCREENS: 'write' }), true);
  assert.throws(
    () => isRewriting('SCREENS', { CI: 'true', SCREENS: 'write' }),
    /^Error: SCREENS rewrites files/,
  );
});
