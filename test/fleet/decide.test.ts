import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Course, nodeOf, podOn } from './fleet-course.ts';

const TEN = Array.from({ length: 10 }, (_, index) => `node-${index}`);
const [A = '', B = '', C = ''] = TEN;

/** A fleet of ten whose controller has run for ten minutes. */
function settled(names: readonly string[] = TEN): Course {
  return new Course(names).pass(600);
}

describe('the label of a lost agent', () => {
  it('is withdrawn when no agent was Ready for 90 s, and not before', () => {
    const course = settled();
    course.lose(A);
    assert.deepEqual(course.pass(90).names, []);
    assert.deepEqual(course.pass(4).names, [A]);
    assert.deepEqual(course.pass(600).names, [A]);
  });

  it('is withdrawn as well when there is no pod on the node at all', () => {
    const course = settled();
    course.pods = course.pods.filter(({ node }) => node !== A);
    assert.deepEqual(course.pass(94).names, [A]);
  });

  /** What keeps the label of a node whose agent is gone for ten minutes. */
  const KEPT: readonly (readonly [what: string, change: (course: Course) => void])[] = [
    ['the Node is NotReady', (course) => course.change(A, { ready: false })],
    ['the label is false', (course) => course.change(A, { label: 'false' })],
    ['there is no label', (course) => course.change(A, { label: '' })],
    ['the Node is younger than 5 min', (course) => course.change(A, { createdAtMs: course.nowMs + 310_000 })],
    ['the Node does not say how old it is', (course) => course.change(A, { createdAtMs: Number.NaN })],
    ['another agent on the node is Ready', (course) => course.pods.push(podOn(A, { name: 'other' }))],
    [
      'the DaemonSet is gone',
      (course) => {
        course.agents = undefined;
      },
    ],
    [
      'a newer spec of the DaemonSet is not seen yet',
      (course) => {
        course.agents = { observed: false, desired: 10, ready: 9 };
      },
    ],
    ['agents of two revisions run', (course) => course.pods.push(podOn(B, { revision: 'two' }))],
    [
      'the watches do not stand',
      (course) => {
        course.watchesUpSinceMs = undefined;
      },
    ],
    ['two more lost their agents', (course) => course.lose(B, C)],
  ];
  for (const [what, change] of KEPT) {
    it(`stays where ${what}`, () => {
      const course = settled();
      course.lose(A);
      change(course);
      assert.deepEqual(course.pass(600).names, []);
    });
  }

  it('stays while its Node is Ready on and off, less than 90 s at a time', () => {
    const course = settled();
    course.lose(A);
    for (let time = 0; time < 5; time++) {
      course.change(A, { ready: true });
      course.pass(80);
      course.change(A, { ready: false });
      course.pass(10);
    }
    assert.deepEqual(course.names, []);
  });

  it('stays while an agent is Ready for a moment now and then', () => {
    const course = settled();
    for (let time = 0; time < 5; time++) {
      course.lose(A);
      course.pass(80);
      course.serve(A);
      course.pass(2);
    }
    assert.deepEqual(course.names, []);
  });

  it('of a Node that was created anew is timed anew', () => {
    const course = settled();
    course.lose(A);
    course.pass(80).change(A, { uid: 'another' });
    assert.deepEqual(course.pass(80).names, []);
    assert.deepEqual(course.pass(14).names, [A]);
  });

  it('of an agent on a dead node with another revision does not hold the others', () => {
    const course = settled();
    course.nodes.push(nodeOf('dead', { ready: false, label: 'true' }));
    course.pods.push(podOn('dead', { revision: 'old', ready: false }));
    course.lose(A);
    assert.deepEqual(course.pass(94).names, [A]);
  });
});

describe('the label of an earlier boot', () => {
  const REBOOTED = { boot: 'boot-2' };

  for (const [what, change, rebooted] of [
    ['proven in another boot', REBOOTED, true],
    ['proven in another boot, and not Ready yet', { ...REBOOTED, ready: false }, true],
    ['proven in another boot, and created just now', { ...REBOOTED, createdAtMs: 1_000_000 }, true],
    ['proven in this boot', {}, false],
    ['proven in no boot that anybody noted', { ...REBOOTED, provenBoot: '' }, false],
    ['whose kubelet reports no boot', { boot: '' }, false],
    ['not proven any more', { ...REBOOTED, label: 'false' }, false],
    ['never judged', { ...REBOOTED, label: '' }, false],
  ] as const) {
    it(`${rebooted ? 'is withdrawn at once' : 'stays'} on a node ${what}`, () => {
      const course = new Course(TEN);
      course.change(A, change);
      const { rebooted: names, withdraw } = course.tick();
      assert.deepEqual([names, withdraw], [rebooted ? [A] : [], []]);
    });
  }

  it('is withdrawn while the breaker is on, on all nodes at once, and does not put it on', () => {
    const course = settled();
    for (const name of TEN) course.change(name, REBOOTED);
    const free = course.tick();
    assert.deepEqual([free.rebooted, free.breaker], [TEN, []]);
    course.agents = undefined;
    course.watchesUpSinceMs = undefined;
    const braked = course.tick();
    assert.deepEqual(braked.rebooted, TEN);
    assert.notDeepEqual(braked.breaker, []);
  });

  it('counts as that of a lost agent where nobody noted a boot and no agent comes', () => {
    const course = settled();
    course.change(A, { ...REBOOTED, provenBoot: '' });
    course.lose(A);
    assert.deepEqual(course.pass(94).names, [A]);
  });
});

describe('a labelled node that is not Ready', () => {
  for (const [what, change, exposed] of [
    ['has no taint', {}, true],
    ['has the taint', { tainted: true }, false],
    ['has no label', { label: '' }, false],
    ['is not proven', { label: 'false' }, false],
    ['is Ready', { ready: true }, false],
  ] as const) {
    it(`${exposed ? 'is to be tainted' : 'is left alone'} where it ${what}`, () => {
      const course = settled();
      course.change(A, { ready: false, ...change });
      assert.deepEqual(course.tick().exposed, exposed ? [A] : []);
    });
  }
});

describe('timers begin anew', () => {
  it('after a start', () => {
    const course = new Course(TEN);
    course.lose(A);
    assert.deepEqual(course.pass(88).names, []);
    assert.deepEqual(course.pass(8).names, [A]);
  });

  it('after a watch that was renewed', () => {
    const course = settled();
    course.lose(A);
    course.pass(80).watchesUpSinceMs = course.nowMs;
    assert.deepEqual(course.pass(88).names, []);
    assert.deepEqual(course.pass(8).names, [A]);
  });

  for (const [what, jump] of [
    [
      'the wall clock is set forward',
      (course: Course) => {
        course.skewMs += 3_600_000;
      },
    ],
    [
      'the wall clock is set back',
      (course: Course) => {
        course.skewMs -= 3_600_000;
      },
    ],
    [
      'the controller stood still',
      (course: Course) => {
        course.nowMs += 3_600_000;
      },
    ],
  ] as const) {
    it(`when ${what}`, () => {
      const course = settled();
      course.lose(A);
      jump(course.pass(80));
      assert.deepEqual(course.pass(88).names, []);
      assert.deepEqual(course.pass(10).names, [A]);
    });
  }

  it('when the breaker lifts, so nothing that it paused is replayed', () => {
    const course = settled();
    course.agents = undefined;
    course.lose(A);
    assert.deepEqual(course.pass(300).decision?.paused, [A]);
    course.agents = { observed: true, desired: 10, ready: 9 };
    assert.deepEqual(course.pass(88).names, []);
    assert.deepEqual(course.pass(8).names, [A]);
  });
});
