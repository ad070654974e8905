import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { status as Code } from '@grpc/grpc-js';
import type { Check } from '../../../agent/checks/check.ts';
import { runChecks } from '../../../agent/checks/checks.ts';
import { pass, skip } from '../../../agent/finding.ts';
import { outcome, readingOf, refused, sourcesOf } from './fake-node.ts';

const { signal } = new AbortController();
const reading = readingOf(sourcesOf('kubeadm-ready'));

function check(id: string, inspect: Check['inspect']): Check {
  return { id, title: id, inspect };
}

describe('runChecks', () => {
  it('returns a finding of each check, in their order, with the time that the clock says', async () => {
    let time = 0;
    const now = () => {
      time += 5;
      return time;
    };
    const checks = [check('a', () => Promise.resolve(pass('fine')))];
    assert.deepEqual(await runChecks(checks, reading, { now, signal }), [
      { check: 'a', status: 'pass', message: 'fine', evidence: [], durationMs: 5 },
    ]);
  });

  it('makes a throw unknown, its chain of causes in one line', async () => {
    const cause = new Error('EACCES');
    const checks = [
      check('a', () => Promise.reject(new Error('Cannot\nlook', { cause }))),
      check('b', () => {
        throw new Error('at once');
      }),
      check('c', () => Promise.reject(refused('Version'))),
      check('d', () => Promise.reject(refused('Version', Code.DEADLINE_EXCEEDED))),
      check('e', () => Promise.resolve(pass('fine'))),
    ];
    const findings = await runChecks(checks, reading, { now: () => 0, signal });
    const words = "containerd's Version: connect ECONNREFUSED /run/containerd/containerd.sock";
    assert.deepEqual(
      findings.map((finding) => [outcome(finding), finding.message]),
      [
        ['unknown CheckFailed', 'Cannot look: EACCES'],
        ['unknown CheckFailed', 'at once'],
        ['unknown ContainerdUnreachable', words],
        ['unknown CheckTimedOut', words],
        ['pass', 'fine'],
      ],
    );
  });

  it('marks what a required check could not see, and not what is not there to be seen', async () => {
    const required = (id: string, inspect: Check['inspect'], needed = true) => ({
      ...check(id, inspect),
      required: () => needed,
    });
    const blind = () => Promise.reject(new Error('EACCES'));
    const findings = await runChecks(
      [
        required('a', blind),
        required('b', blind, false),
        required('c', () => Promise.resolve(skip('there is none'))),
        required('d', () => Promise.resolve(pass('fine'))),
        check('e', blind),
      ],
      reading,
      { now: () => 0, signal },
    );
    const blocking = findings.filter((finding) => finding.status === 'unknown' && finding.blocking);
    assert.deepEqual(
      blocking.map(({ check: id }) => id),
      ['a'],
    );
  });

  it('makes a check that does not end unknown', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const deaf = check('a', () => Promise.withResolvers<never>().promise);
    const running = runChecks([deaf], reading, { now: () => 0, signal, timeoutMs: 50 });
    t.mock.timers.tick(50);
    for (const finding of await running) {
      assert.equal(finding.status, 'unknown');
      assert.equal(finding.status === 'unknown' && finding.reason, 'CheckTimedOut');
      assert.equal(finding.message, 'timed out after 0.05 s');
    }
  });

  it('rejects when the round is stopped', async () => {
    const round = new AbortController();
    const deaf = check('a', () => Promise.withResolvers<never>().promise);
    const running = runChecks([deaf], reading, { now: () => 0, signal: round.signal });
    round.abort(new Error('shutting down'));
    await assert.rejects(running, /shutting down/);
    await assert.rejects(runChecks([], reading, { now: () => 0, signal: round.signal }), /shutting down/);
  });
});
