import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { judgePods } from '../../installer/containerd/pods.ts';

type Container = Parameters<typeof judgePods>[0][number];
const container = (pod: string, now: Container['now'], changes: Partial<Container> = {}): Container => ({
  pod,
  now,
  sandbox: pod,
  handler: 'runsc',
  hasSandbox: now === 'running',
  ...changes,
});
const other = container('other', 'running');
const otherHandlers = container('other', 'running', { handler: 'runc' });

describe('a pod during a restart of containerd', () => {
  for (const [what, fate, own, beside] of [
    ['runs on', 'running', [container('p', 'running')], other],
    ['ended with an exit code of its own', 'ended', [container('p', 3)], otherHandlers],
    ['ended, and its sandbox is not stopped yet', 'ended', [container('p', 0, { hasSandbox: true })], other],
    [
      'lost one of two containers',
      'running',
      [container('p', 0, { hasSandbox: true }), container('p', 'running')],
      other,
    ],
    ['has another container by now', 'running', [container('p', 'forgotten', { hasSandbox: true })], other],
    ['ended unseen beside one that runs on', 'endedUnseen', [container('p', 255)], other],
    [
      'ended unseen in a sandbox that is there',
      'endedUnseen',
      [container('p', 255, { hasSandbox: true })],
      otherHandlers,
    ],
    ['was killed meanwhile beside one that runs on', 'endedUnseen', [container('p', 137)], other],
    ['was ended with all shims of its handler', 'lost', [container('p', 255)], otherHandlers],
    ['was killed with all shims of its handler', 'lost', [container('p', 137)], otherHandlers],
    ['is forgotten, though another runs on', 'lost', [container('p', 'forgotten')], other],
  ] as const)
    it(`${what}: ${fate}`, () => {
      const pods = judgePods([...own, beside]);
      const fates = Object.entries(pods).filter(([, names]) => names.includes('p'));
      assert.deepEqual(
        fates.map(([name]) => name),
        [fate],
      );
    });
});
