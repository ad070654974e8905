import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { withConfiguration } from '../../../agent/pods/restart.ts';
import type { Finding } from '../../../lib/checks/finding.ts';
import { sandboxesOf } from '../../kubectl/fleet-objects.ts';

const passes = (check: string): Finding => ({ check, status: 'pass', message: 'm', durationMs: 0 });
const fails = (check: string): Finding => {
  const message = 'line 26 is not valid TOML';
  return { ...passes(check), status: 'fail', reason: 'ContainerdConfigInvalid', severity: 'error', message };
};
const LOADED = passes('handler-loaded');
const INVALID = [fails('handler-configured'), LOADED];

describe('withConfiguration', () => {
  for (const [what, findings, state] of [
    ['is configured', [[passes('handler-configured'), LOADED]], 'safe'],
    ['is in force and not configured any more', [INVALID], 'unsafe'],
    ['is additional, in force and not configured any more', [[LOADED], INVALID], 'unsafe'],
    ['was never configured', [[fails('handler-configured'), fails('handler-loaded')]], 'safe'],
    ['changes with a restart', [[passes('handler-configured'), LOADED, fails('handler-current')]], 'safe'],
  ] as const)
    it(`calls a restart ${state} where a handler ${what}`, () => {
      const { restart } = withConfiguration(sandboxesOf(), findings) ?? {};
      assert.equal(restart?.state, state);
      assert.deepEqual(restart?.because, state === 'safe' ? [] : ['line 26 is not valid TOML']);
    });

  it('says beside it which sandboxes would be lost', () => {
    const { restart } = withConfiguration(sandboxesOf(['x', 'ShimUnresponsive']), [INVALID]) ?? {};
    assert.equal(restart?.because[0], 'line 26 is not valid TOML');
    assert.equal(restart?.because.length, 2);
  });
});
