import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { outcomeOfError, outcomeOfKvm } from '../../../lib/proof/outcome.ts';
import MESSAGES from '../../fixtures/start-errors.json' with { type: 'json' };

describe('outcomeOfError', () => {
  for (const [kind, table] of Object.entries(MESSAGES))
    for (const [reason, messages] of Object.entries(table))
      for (const message of messages)
        it(`is ${kind} ${reason} for: ${message.slice(0, 90)}`, () =>
          assert.deepEqual(outcomeOfError(message), { kind, reason, message }));
});

const [, SENTRY_ENDED = '', KVM_BUSY = ''] = MESSAGES.failed.SandboxFailed;

describe('outcomeOfKvm', () => {
  for (const [reason, message, expected] of [
    ['SandboxFailed', SENTRY_ENDED, 'KvmRunsNoGuest'],
    ['SandboxFailed', `${SENTRY_ENDED}: unknown`, 'KvmRunsNoGuest'],
    ['SandboxDied', '2 sandboxes in a row died by themselves within 300 ms', 'KvmRunsNoGuest'],
    ['SandboxFailed', KVM_BUSY, 'SandboxFailed'],
    ['SandboxFailed', 'creating container: write cgroup.procs: device or resource busy', 'SandboxFailed'],
  ] as const)
    it(`is ${expected} for ${reason} with: ${message.slice(-60)}`, () => {
      const outcome = outcomeOfKvm({ kind: 'failed', reason, message });
      assert.equal(outcome.reason, expected);
      assert.ok(outcome.message.endsWith(message));
    });
});
