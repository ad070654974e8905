import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { Course, podOn, TIMEOUTS } from './fleet-course.ts';

const NAMES = Array.from({ length: 12 }, (_, index) => `node-${index}`);

/** What can happen to a fleet. */
const EVENTS = {
  lose: (course: Course, name: string) => course.lose(name),
  serve: (course: Course, name: string) => course.serve(name),
  notReady: (course: Course, name: string) => course.change(name, { ready: false }),
  ready: (course: Course, name: string) => course.change(name, { ready: true }),
  relabel: (course: Course, name: string) => course.change(name, { label: 'true' }),
  away: (course: Course) => {
    course.watchesUpSinceMs = undefined;
  },
  back: (course: Course) => {
    course.watchesUpSinceMs ??= course.nowMs;
  },
  jump: (course: Course) => {
    course.skewMs += 60_000;
  },
  roll: (course: Course, name: string) => {
    course.pods = course.pods.map((pod) => (pod.node === name ? podOn(name, { revision: 'two' }) : pod));
  },
} as const;

/** What happens, to which node, and how many seconds pass after it. */
const STEP = fc.record({
  what: fc.constantFrom(...(Object.keys(EVENTS) as (keyof typeof EVENTS)[]), 'lose' as const),
  name: fc.constantFrom(...NAMES),
  seconds: fc.constantFrom(2, 20, 60, 100, 200),
});

describe('whatever happens to a fleet', () => {
  it('no more labels go within ten minutes than the breaker allows, and each for a reason that stood 90 s', () => {
    fc.assert(
      fc.property(fc.array(STEP, { maxLength: 40 }), (steps) => {
        const course = new Course(NAMES);
        /** The milliseconds since each node was last seen readyAgents or not Ready, or anything began anew. */
        const quietMs = new Map(NAMES.map((name) => [name, 0]));
        for (const step of steps) {
          EVENTS[step.what](course, step.name);
          for (let tick = 0; tick < step.seconds / 2; tick++) {
            const before = course.withdrawn.length;
            course.pass(2);
            const braked = (course.decision?.breaker.length ?? 0) > 0;
            for (const name of NAMES) {
              const node = course.nodes.find((each) => each.name === name);
              const readyAgents = course.pods.some((pod) => pod.node === name && pod.ready);
              const alone = node?.ready && !readyAgents && course.watchesUpSinceMs !== undefined;
              quietMs.set(name, alone ? (quietMs.get(name) ?? 0) + 2_000 : 0);
            }
            const gone = course.withdrawn.slice(before);
            assert.ok(gone.length === 0 || !braked, 'nothing goes while the breaker is on');
            for (const { name } of gone) assert.ok((quietMs.get(name) ?? 0) >= TIMEOUTS.agentTimeoutMs, name);
          }
        }
        for (const { atMs } of course.withdrawn) {
          const together = course.withdrawn.filter(
            (each) => each.atMs <= atMs && atMs - each.atMs < TIMEOUTS.windowMs,
          );
          const most = Math.max(1, Math.floor(TIMEOUTS.share * NAMES.length));
          assert.ok(new Set(together.map(({ name }) => name)).size <= most, JSON.stringify(together));
        }
      }),
      { numRuns: 200 },
    );
  });

  it('a single node whose agent stays away loses its label in the end, once all else is well', () => {
    fc.assert(
      fc.property(fc.array(STEP, { maxLength: 20 }), (steps) => {
        const course = new Course(NAMES);
        for (const step of steps) {
          EVENTS[step.what](course, step.name);
          course.pass(step.seconds);
        }
        course.nodes = course.nodes.map((node) => ({ ...node, ready: true, label: 'true' }));
        course.pods = NAMES.map((name) => podOn(name));
        course.watchesUpSinceMs ??= course.nowMs;
        course.pass(1_000);
        const before = course.withdrawn.length;
        course.lose('node-0');
        assert.deepEqual(course.pass(96).names.slice(before), ['node-0']);
      }),
      { numRuns: 100 },
    );
  });
});
