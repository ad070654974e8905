import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Course, podOn } from './fleet-course.ts';

const TEN = Array.from({ length: 10 }, (_, index) => `node-${index}`);
const [A = '', B = '', C = ''] = TEN;

/** A fleet of ten whose controller has run for ten minutes. */
function settled(names: readonly string[] = TEN): Course {
  return new Course(names).pass(600);
}

describe('the breaker', () => {
  it('holds while the API server is away and three minutes longer, and what heals meanwhile is never withdrawn', () => {
    const course = settled();
    course.watchesUpSinceMs = undefined;
    course.lose(...TEN);
    assert.deepEqual(course.pass(300).decision?.breaker, ['ApiServerAway']);
    course.watchesUpSinceMs = course.nowMs;
    assert.deepEqual(course.pass(100).decision?.breaker, ['ApiServerAway', 'TooManyLost']);
    course.serve(...TEN);
    assert.deepEqual(course.pass(100).decision?.breaker, []);
    assert.deepEqual(course.names, []);
  });

  it('does not come on at a start, nor for a watch that was renewed within ten seconds', () => {
    const course = new Course(TEN);
    course.watchesUpSinceMs = undefined;
    assert.deepEqual(course.pass(60).decision?.breaker, [], 'a large fleet takes its time to be read');
    course.watchesUpSinceMs = course.nowMs;
    assert.deepEqual(course.pass(10).decision?.breaker, []);
    course.watchesUpSinceMs = course.nowMs;
    assert.deepEqual(course.pass(10).decision?.breaker, []);
  });

  it('lets two of ten go within ten minutes, and holds the third until the first is long ago', () => {
    const course = settled();
    course.lose(A);
    course.pass(94);
    course.lose(B);
    course.pass(94);
    course.lose(C);
    assert.deepEqual(course.pass(94).names, [A, B]);
    assert.deepEqual([course.decision?.breaker, course.decision?.paused], [['TooManyLost'], [C]]);
    assert.deepEqual(course.pass(620).names, [A, B, C]);
  });

  it('holds all of many that fail one after the other, from the first one on', () => {
    const course = settled();
    for (const name of TEN.slice(0, 5)) {
      course.lose(name);
      course.pass(10);
    }
    assert.deepEqual(course.pass(900).names, []);
    assert.equal(course.decision?.paused.length, 5);
  });

  it('lets one of two go, and not the second', () => {
    const course = settled([A, B]);
    course.lose(A);
    course.pass(94);
    course.lose(B);
    assert.deepEqual(course.pass(300).names, [A]);
  });

  it('counts what another controller has withdrawn', () => {
    const course = settled([A, B, C]);
    const since = new Date(course.nowMs).toISOString();
    course.change(B, {
      label: 'false',
      verdict: { status: 'Unknown', reason: 'AgentLost', message: '', since },
    });
    course.lose(A, B);
    assert.deepEqual(course.pass(120).names, []);
    assert.deepEqual(course.decision?.breaker, ['TooManyLost']);
  });

  it('counts no withdrawal that is yet to come, which only a forged condition tells of', () => {
    const course = settled([A, B, C]);
    const since = new Date(course.nowMs + 3_600_000).toISOString();
    course.change(B, {
      label: 'false',
      verdict: { status: 'Unknown', reason: 'AgentLost', message: '', since },
    });
    course.lose(A);
    assert.deepEqual(course.pass(120).names, [A]);
  });

  it('counts no withdrawal beside a label that stands, which only a forged condition tells of', () => {
    const course = settled([A, B, C]);
    const since = new Date(course.nowMs).toISOString();
    course.change(B, { verdict: { status: 'Unknown', reason: 'AgentLost', message: '', since } });
    course.lose(A);
    assert.deepEqual(course.pass(120).names, [A]);
  });

  it('lets nothing go in a rolling update of all agents, however slow', () => {
    const course = settled();
    for (const name of TEN) {
      const next = (ready: boolean) => podOn(name, { revision: 'two', ready });
      const replace = (ready: boolean) => course.pods.map((pod) => (pod.node === name ? next(ready) : pod));
      course.pods = replace(false);
      course.pass(120).pods = replace(true);
      course.pass(10);
    }
    assert.deepEqual(course.decision?.breaker, ['RollingOut']);
    assert.deepEqual(course.pass(300).decision?.breaker, []);
    assert.deepEqual(course.names, []);
  });
});
