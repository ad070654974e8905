import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isChange, type Trigger, triggerText } from '../../../agent/trigger/event-queue.ts';

describe('isChange', () => {
  const table: readonly [Trigger, boolean][] = [
    [{ kind: 'start' }, true],
    [{ kind: 'file', path: '/usr/local/bin/runsc' }, true],
    [{ kind: 'containerd', state: 'gone' }, true],
    [{ kind: 'containerd', state: 'back' }, true],
    [{ kind: 'containerd', state: 'slow' }, false],
    [{ kind: 'containerd', state: 'responsive' }, false],
    [{ kind: 'timer' }, false],
    [{ kind: 'confirm' }, false],
    [{ kind: 'boot' }, false],
  ];
  for (const [trigger, expected] of table)
    it(`is ${expected} for "${triggerText(trigger)}"`, () => assert.equal(isChange(trigger), expected));
});
