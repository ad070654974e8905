import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { KVM, SimulatedFleet, simulatedAgent, simulatedNode } from '../lib/fleet/simulated-fleet.ts';

const TEN = Array.from({ length: 10 }, (_, index) => `node-${index}`);
const [A = '', B = '', C = ''] = TEN;

const set = (changes: Partial<SimulatedFleet>) => (fleet: SimulatedFleet) =>
  void Object.assign(fleet, changes);

/** A fleet whose controller has run for ten minutes. */
function running(names: readonly string[] = TEN): SimulatedFleet {
  return new SimulatedFleet(names).advance(600);
}

describe('decide, for the label of a lost agent', () => {
  for (const [what, change] of [
    ['it', {}],
    ['that of an additional handler where the main label is false', { label: 'false', handlers: [KVM] }],
  ] as const)
    it(`withdraws ${what} after 90 s without a Ready agent, and not earlier`, () => {
      const fleet = running();
      fleet.change(A, change);
      fleet.lose(A);
      assert.deepEqual(fleet.advance(90).names, []);
      assert.deepEqual(fleet.advance(4).names, [A]);
      assert.deepEqual(fleet.advance(600).names, [A]);
    });

  /** Changes that keep the label of a node without an agent for ten minutes. */
  const RETAINED: readonly (readonly [what: string, change: (fleet: SimulatedFleet) => void])[] = [
    ['the Node is NotReady', (fleet) => fleet.change(A, { ready: false })],
    [
      'all labels are false',
      (fleet) => fleet.change(A, { label: 'false', handlers: [{ ...KVM, label: 'false' }] }),
    ],
    ['the DaemonSet does not exist', set({ agents: undefined })],
    ['a watch is down', set({ watchesUpSinceMs: undefined })],
  ];
  for (const [what, change] of RETAINED) {
    it(`keeps it while ${what}`, () => {
      const fleet = running();
      fleet.lose(A);
      change(fleet);
      assert.deepEqual(fleet.advance(600).names, []);
    });
  }

  for (const [what, createdAtMs] of [
    ['younger than 5 min, as it seems to a clock that is behind', 86_400_000],
    ['of an unknown age', Number.NaN],
  ] as const)
    it(`keeps it on a Node ${what}, until that was without an agent for so long`, () => {
      const fleet = running();
      fleet.change(A, { createdAtMs });
      fleet.lose(A);
      assert.deepEqual(fleet.advance(300).names, []);
      assert.deepEqual(fleet.advance(4).names, [A]);
    });

  /** What repeats, in seconds without an agent that are seen; none of it ends them. */
  const FLAPS: readonly (readonly [what: string, flap: (fleet: SimulatedFleet) => void])[] = [
    [
      'its Node is NotReady',
      (fleet) => {
        fleet.change(A, { ready: false });
        fleet.advance(10);
        fleet.change(A, { ready: true });
      },
    ],
    [
      'a watch is away for six seconds',
      (fleet) => {
        fleet.watchesUpSinceMs = undefined;
        fleet.advance(6).watchesUpSinceMs = fleet.nowMs;
      },
    ],
    [
      'the API server is away for twelve seconds',
      (fleet) => {
        fleet.watchesUpSinceMs = undefined;
        fleet.advance(12).watchesUpSinceMs = fleet.nowMs;
        fleet.advance(180);
      },
    ],
    [
      'the clock jumps',
      (fleet) => {
        fleet.skewMs += 11_000;
      },
    ],
    [
      'the agent answers, and is not Ready',
      (fleet) => {
        fleet.living.add(A);
        fleet.advance(20);
        fleet.living.clear();
      },
    ],
  ];
  for (const [what, flap] of FLAPS)
    it(`withdraws it after 90 s in all where ${what} again and again`, () => {
      const fleet = running();
      fleet.lose(A);
      for (let time = 0; time < 3; time++) {
        assert.deepEqual(fleet.names, [], `after ${time} times 40 s`);
        fleet.advance(40);
        flap(fleet);
      }
      assert.deepEqual(fleet.names, [A]);
    });

  it('begins anew once an agent was Ready', () => {
    const fleet = running();
    fleet.lose(A);
    fleet.advance(80).recover(A);
    fleet.advance(2).lose(A);
    assert.deepEqual(fleet.advance(80).names, []);
  });

  it('restarts the timer of a recreated Node', () => {
    const fleet = running();
    fleet.lose(A);
    fleet.advance(80).change(A, { uid: 'another' });
    assert.deepEqual(fleet.advance(80).names, []);
    assert.deepEqual(fleet.advance(14).names, [A]);
  });

  it('ignores the revision of an agent on a dead node', () => {
    const fleet = running();
    fleet.nodes.push(simulatedNode('dead', { ready: false, label: 'true' }));
    fleet.pods.push(simulatedAgent('dead', { revision: 'old', ready: false }));
    fleet.lose(A);
    assert.deepEqual(fleet.advance(94).names, [A]);
  });
});

describe('decide, for what the agent refutes', () => {
  it('withdraws a label within 90 s, and not before it was refuted for 30 s', () => {
    for (const offset of [0, 6, 14]) {
      const fleet = running().advance(offset);
      fleet.refute(A);
      assert.deepEqual(fleet.advance(28).names, []);
      assert.deepEqual(fleet.advance(60).names, [A]);
      assert.deepEqual(fleet.advance(600).names, [A]);
    }
  });

  for (const [status, reason] of [
    ['True', 'SandboxProven'],
    ['Unknown', 'ContainerdUnreachable'],
    ['False', 'RunscNotFound'],
  ] as const)
    it(`withdraws a failure, if the agent says ${status} ${reason}`, () => {
      const fleet = running();
      fleet.change(A, FAILING);
      fleet.say(status, reason, A);
      assert.deepEqual(fleet.advance(28).names, []);
      assert.deepEqual(fleet.advance(30).names, [A]);
      assert.deepEqual(fleet.advance(600).names, [A]);
    });

  it('keeps a failure of which the agent says the same', () => {
    const fleet = running();
    fleet.change(A, FAILING);
    fleet.say('False', 'ShimNotFound', A);
    assert.deepEqual(fleet.advance(600).names, []);
  });

  it('withdraws a label where the agent is not Ready for that reason', () => {
    const fleet = running();
    fleet.refute(A);
    fleet.lose(A);
    assert.deepEqual(
      fleet.advance(80).withdrawn.map(({ name, timeoutMs }) => [name, timeoutMs]),
      [[A, 0]],
    );
  });

  for (const [what, change] of [
    ['the agent proves the node again', (fleet) => fleet.said.clear()],
    ['the Node is NotReady', (fleet) => fleet.change(A, { ready: false })],
    ['a watch is down', set({ watchesUpSinceMs: undefined })],
  ] as const satisfies readonly (readonly [string, (fleet: SimulatedFleet) => void])[])
    it(`keeps it where ${what}`, () => {
      const fleet = running();
      fleet.refute(A);
      fleet.advance(28);
      change(fleet);
      assert.deepEqual(fleet.advance(600).names, []);
    });

  it('begins anew once the label was withdrawn', () => {
    const fleet = running();
    fleet.refute(A);
    const { verdict } = FAILING;
    fleet.advance(28).change(A, { label: 'false', verdict: { ...verdict, reason: 'RunscNotFound' } });
    fleet.advance(20).change(A, { label: 'true' });
    assert.deepEqual(fleet.advance(28).names, []);
  });

  it('goes on where the Node is NotReady in between', () => {
    const fleet = running();
    fleet.refute(A);
    for (let time = 0; time < 3; time++) {
      fleet.advance(20).change(A, { ready: false });
      fleet.advance(10).change(A, { ready: true });
    }
    assert.deepEqual(fleet.names, [A]);
  });

  it('withdraws all labels that a crowd refutes, which counts as no lost agent', () => {
    for (const size of [2, 9, 10]) {
      const names = TEN.slice(0, size);
      const fleet = running(names);
      fleet.refute(...names);
      fleet.lose(...names);
      for (const name of names) fleet.living.add(name);
      assert.deepEqual(fleet.advance(60).names, names);
      assert.deepEqual(fleet.decision?.breaker, []);
    }
  });

  it('withdraws it beside a crowd of lost agents, whose labels stay', () => {
    const fleet = running();
    fleet.refute(A);
    fleet.lose(B, C, ...TEN.slice(3, 6));
    assert.deepEqual(fleet.advance(900).names, [A]);
    assert.deepEqual(fleet.decision?.breaker, ['TooManyLost']);
  });

  it('waits for three minutes after an outage of the API server', () => {
    const fleet = running();
    fleet.watchesUpSinceMs = undefined;
    fleet.refute(A);
    fleet.advance(60).watchesUpSinceMs = fleet.nowMs;
    assert.deepEqual([fleet.advance(170).names, fleet.decision?.paused], [[], [A]]);
    assert.deepEqual(fleet.advance(20).names, [A]);
  });
});

describe('decide, for the label of an earlier boot', () => {
  const REBOOTED = { boot: 'boot-2' };
  const FAILED = { ...REBOOTED, label: 'false' };

  for (const [what, change, rebooted] of [
    ['proven in another boot', REBOOTED, true],
    ['proven in another boot, and not Ready yet', { ...REBOOTED, ready: false }, true],
    ['proven in another boot, and created just now', { ...REBOOTED, createdAtMs: 1_000_000 }, true],
    ['proven in this boot', {}, false],
    ['without a noted boot', { ...REBOOTED, provenBoot: '' }, false],
    ['whose kubelet reports no boot', { boot: '' }, false],
    ['not proven any more', FAILED, false],
    ['whose additional handler was proven in another boot', { ...FAILED, handlers: [KVM] }, true],
    ['whose additional handler is not proven', { ...FAILED, handlers: [{ ...KVM, label: 'false' }] }, false],
    ['whose additional handler has no boot', { ...FAILED, handlers: [{ ...KVM, provenBoot: '' }] }, false],
    ['never judged', { ...REBOOTED, label: '' }, false],
  ] as const) {
    it(`${rebooted ? 'is withdrawn at once' : 'stays'} on a node ${what}`, () => {
      const fleet = new SimulatedFleet(TEN);
      fleet.change(A, change);
      const { rebooted: names, withdraw } = fleet.tick();
      assert.deepEqual([names, [...withdraw]], [rebooted ? [A] : [], []]);
    });
  }

  it('withdraws all at once while the circuit breaker is open, and does not open it', () => {
    const fleet = running();
    for (const name of TEN) fleet.change(name, REBOOTED);
    const closed = fleet.tick();
    assert.deepEqual([closed.rebooted, closed.breaker], [TEN, []]);
    fleet.agents = undefined;
    fleet.watchesUpSinceMs = undefined;
    const open = fleet.tick();
    assert.deepEqual(open.rebooted, TEN);
    assert.notDeepEqual(open.breaker, []);
  });

  it('treats a label without a noted boot as that of a lost agent', () => {
    const fleet = running();
    fleet.change(A, { ...REBOOTED, provenBoot: '' });
    fleet.lose(A);
    assert.deepEqual(fleet.advance(94).names, [A]);
  });
});

const FAILING = {
  label: 'false',
  failedBoot: 'boot-1',
  verdict: { status: 'False', reason: 'ShimNotFound', message: '', since: '' },
};

describe('decide, for a failure', () => {
  it('withdraws it after 90 s without a Ready agent, also while the circuit breaker is open', () => {
    const fleet = running();
    for (const name of TEN) fleet.change(name, FAILING);
    fleet.agents = undefined;
    fleet.lose(...TEN);
    assert.deepEqual(fleet.advance(90).names, []);
    assert.deepEqual(fleet.advance(4).names, TEN);
    assert.deepEqual(fleet.advance(600).names, TEN);
    assert.deepEqual(fleet.decision?.paused, []);
  });

  for (const [what, change] of [
    ['the agent is Ready', (fleet) => fleet.recover(A)],
    ['the Node is NotReady', (fleet) => fleet.change(A, { ready: false })],
    ['gVisor is not expected there', (fleet) => fleet.change(A, { expected: false })],
    ['a watch is down', set({ watchesUpSinceMs: undefined })],
  ] as const satisfies readonly (readonly [string, (fleet: SimulatedFleet) => void])[])
    it(`keeps it where ${what}`, () => {
      const fleet = running();
      fleet.change(A, FAILING);
      fleet.lose(A);
      change(fleet);
      assert.deepEqual(fleet.advance(600).names, []);
    });

  for (const [what, change, rebooted] of [
    ['of another boot', { failedBoot: 'boot-0' }, true],
    ['of another boot, and not Ready yet', { failedBoot: 'boot-0', ready: false }, true],
    ['of another boot, where gVisor is not expected', { failedBoot: 'boot-0', expected: false }, false],
    ['of this boot, though the last proof is older', { provenBoot: 'boot-0' }, false],
    ['without a noted boot', { failedBoot: '' }, false],
    ['whose kubelet reports no boot', { boot: '' }, false],
  ] as const)
    it(`${rebooted ? 'withdraws at once' : 'keeps'} one ${what}`, () => {
      const fleet = running();
      fleet.change(A, { ...FAILING, ...change });
      assert.deepEqual(fleet.tick().rebooted, rebooted ? [A] : []);
    });

  it('does not count as a lost label', () => {
    const fleet = running();
    for (const name of TEN.slice(0, 5)) fleet.change(name, FAILING);
    fleet.lose(...TEN.slice(0, 6));
    assert.deepEqual(fleet.advance(600).names.toSorted(), TEN.slice(0, 6));
    assert.deepEqual(fleet.decision?.breaker, []);
  });
});

/** The label and the condition after a withdrawal by a controller. */
const withdrawnFor = (reason: string, since = '2026-11-01T00:00:00Z') => ({
  label: 'false',
  verdict: { status: 'Unknown', reason, message: '', since },
});

describe('decide, for the taint', () => {
  for (const [what, change, exposed] of [
    ['is labelled and not Ready', { ready: false }, true],
    ['is labelled, not Ready and tainted', { ready: false, tainted: true }, false],
    ['is labelled and Ready', {}, false],
    ['has no label and is not Ready', { ready: false, label: '' }, false],
    ['is not proven, as its agent says', { ready: false, label: 'false' }, false],
    ['has only an additional label', { ready: false, label: 'false', handlers: [KVM] }, false],
    ['lost its agent', withdrawnFor('AgentLost'), true],
    ['rebooted', withdrawnFor('NodeRebooted'), true],
    ['rebooted and is tainted', { ...withdrawnFor('NodeRebooted'), tainted: true }, false],
  ] as const) {
    it(`${exposed ? 'taints' : 'leaves alone'} a node that ${what}`, () => {
      const fleet = running();
      fleet.change(A, change);
      assert.deepEqual(fleet.tick().exposed, exposed ? [A] : []);
    });
  }
});

describe('the circuit breaker', () => {
  it('is open during an outage of the API server and three minutes longer', () => {
    const fleet = running();
    fleet.watchesUpSinceMs = undefined;
    fleet.lose(...TEN);
    assert.deepEqual(fleet.advance(300).decision?.breaker, ['ApiServerAway']);
    fleet.watchesUpSinceMs = fleet.nowMs;
    assert.deepEqual(fleet.advance(100).decision?.breaker, ['ApiServerAway', 'TooManyLost']);
    fleet.recover(...TEN);
    assert.deepEqual(fleet.advance(100).decision?.breaker, []);
    assert.deepEqual(fleet.names, []);
  });

  it('stays closed at a start, and for watches that are renewed within ten seconds', () => {
    const fleet = new SimulatedFleet(TEN);
    fleet.watchesUpSinceMs = undefined;
    assert.deepEqual(fleet.advance(60).decision?.breaker, [], 'listing a large fleet takes a while');
    fleet.watchesUpSinceMs = fleet.nowMs;
    assert.deepEqual(fleet.advance(10).decision?.breaker, []);
    fleet.watchesUpSinceMs = fleet.nowMs;
    assert.deepEqual(fleet.advance(10).decision?.breaker, []);
  });

  it('allows two of ten withdrawals within ten minutes, and pauses the third', () => {
    const fleet = running();
    fleet.lose(A);
    fleet.advance(94);
    fleet.lose(B);
    fleet.advance(94);
    fleet.lose(C);
    assert.deepEqual(fleet.advance(94).names, [A, B]);
    assert.deepEqual([fleet.decision?.breaker, fleet.decision?.paused], [['TooManyLost'], [C]]);
    assert.deepEqual(fleet.advance(620).names, [A, B, C]);
  });

  it('pauses every withdrawal when many agents fail one after another', () => {
    const fleet = running();
    for (const name of TEN.slice(0, 5)) {
      fleet.lose(name);
      fleet.advance(10);
    }
    assert.deepEqual(fleet.advance(900).names, []);
    assert.equal(fleet.decision?.paused.length, 5);
  });

  it('counts no agent that answers without being Ready: it cannot write, and is not lost', () => {
    const fleet = running([A, B]);
    fleet.lose(A, B);
    fleet.living.add(A).add(B);
    assert.deepEqual(fleet.advance(600).decision?.breaker, []);
    fleet.refute(A);
    assert.deepEqual(fleet.advance(60).names, [A]);
    fleet.living.delete(B);
    assert.deepEqual(fleet.advance(94).names, [A, B]);
  });

  it('allows one withdrawal in a fleet of two', () => {
    const fleet = running([A, B]);
    fleet.lose(A);
    fleet.advance(94);
    fleet.lose(B);
    assert.deepEqual(fleet.advance(300).names, [A]);
  });

  for (const [what, label, inMs, counts] of [
    ['counts withdrawals of another controller', 'false', 0, true],
    ['ignores a forged withdrawal in the future', 'false', 3_600_000, false],
    ['ignores a forged withdrawal beside a label', 'true', 0, false],
  ] as const) {
    it(what, () => {
      const fleet = running([A, B, C]);
      const since = new Date(fleet.nowMs + inMs).toISOString();
      fleet.change(B, { ...withdrawnFor('AgentLost', since), label });
      fleet.lose(A);
      assert.deepEqual(fleet.advance(120).names, counts ? [] : [A]);
      assert.deepEqual(fleet.decision?.breaker, counts ? ['TooManyLost'] : []);
    });
  }

  for (const size of [2, 3, 5, 9])
    it(`counts a withdrawal once whose time moves on, in a fleet of ${size}`, () => {
      const fleet = running(TEN.slice(0, size));
      const forge = (seconds: number) => {
        for (let at = 0; at < seconds; at += 10) {
          const since = new Date(fleet.nowMs).toISOString();
          fleet.change(B, withdrawnFor('AgentLost', since));
          fleet.advance(10);
        }
      };
      forge(600);
      fleet.lose(A);
      forge(100);
      assert.deepEqual(fleet.names, [A]);
    });

  for (const size of [2, 5, 6])
    it(`${size > 5 ? 'stays closed' : 'opens'} beside one node that is lost for good, in a fleet of ${size}`, () => {
      const fleet = running(TEN.slice(0, size));
      fleet.lose(B);
      fleet.advance(30_000);
      fleet.lose(A);
      assert.deepEqual(fleet.advance(120).names, size > 5 ? [B, A] : [B]);
    });

  it('opens before a third of the labels is gone, however slowly they go', () => {
    const many = Array.from({ length: 100 }, (_, index) => `node-${index}`);
    const fleet = running(many);
    const opened = new Set<string>();
    for (const name of many.slice(0, 60)) {
      fleet.lose(name);
      for (const reason of fleet.advance(60).decision?.breaker ?? []) opened.add(reason);
    }
    assert.equal([...opened][0], 'TooFewLeft');
    fleet.advance(21_600);
    const [gone, paused] = [fleet.names.length, fleet.decision?.paused.length];
    assert.ok(gone <= 33, `${gone} labels gone`);
    assert.equal(paused, 60 - gone);
    fleet.recover(...many);
    fleet.nodes = many.map((name) => simulatedNode(name));
    assert.deepEqual(fleet.advance(10).decision?.breaker, []);
  });

  it('opens before a third of the additional labels is gone, over restarts of the controller', () => {
    const fleet = running();
    for (const name of TEN) fleet.change(name, { ...FAILING, failedBoot: '', handlers: [KVM] });
    for (const name of TEN) {
      fleet.lose(name);
      fleet.restart();
      fleet.advance(700);
    }
    const gone = fleet.nodes.filter(({ handlers }) => handlers[0]?.label === 'false').length;
    assert.deepEqual([gone, fleet.decision?.paused.length], [3, 7]);
  });

  it('does not count nodes as gone that never had an additional label', () => {
    const fleet = running();
    const never = { label: 'false', expected: false, handlers: [{ ...KVM, label: 'false', provenBoot: '' }] };
    for (const name of TEN.slice(4)) fleet.change(name, never);
    fleet.lose(A, ...TEN.slice(4));
    assert.deepEqual(fleet.advance(94).names, [A]);
  });

  it('does not count a node as gone whose agent is Ready', () => {
    const fleet = running([A, B, C]);
    const since = new Date(0).toISOString();
    fleet.change(B, withdrawnFor('AgentLost', since));
    fleet.lose(A);
    assert.deepEqual(fleet.advance(120).names, [A]);
  });
});

describe('decide, during a rollout', () => {
  /** The next agent of a node, which is not Ready yet. */
  const replace = (fleet: SimulatedFleet, name: string, ready = false) => {
    const next = simulatedAgent(name, { name: `next-${name}`, revision: 'two', ready });
    fleet.pods = fleet.pods.map((pod) => (pod.node === name ? next : pod));
  };

  it('withdraws nothing in a rolling update of all agents that takes two minutes a node', () => {
    const fleet = running();
    for (const name of TEN) {
      replace(fleet, name);
      fleet.advance(120);
      replace(fleet, name, true);
      fleet.advance(10);
    }
    assert.deepEqual([fleet.decision?.rolling, fleet.decision?.breaker], [true, []]);
    assert.equal(fleet.advance(300).decision?.rolling, false);
    assert.deepEqual(fleet.names, []);
  });

  it('withdraws the label of a node outside of a stuck rollout after 90 s', () => {
    const fleet = running();
    replace(fleet, B);
    fleet.advance(60).lose(A);
    assert.deepEqual(fleet.advance(88).names, []);
    assert.deepEqual(fleet.advance(6).names, [A]);
  });

  for (const [what, change] of [
    ['whose new agent is not Ready', (fleet) => replace(fleet, A)],
    [
      'without a pod',
      (fleet) => {
        fleet.pods = fleet.pods.filter(({ node }) => node !== A);
        replace(fleet, B, true);
      },
    ],
  ] as readonly (readonly [string, (fleet: SimulatedFleet) => void])[])
    it(`withdraws the label of a node ${what} after 15 min, as it says`, () => {
      const fleet = running();
      change(fleet);
      assert.deepEqual(fleet.advance(890).names, []);
      assert.deepEqual(fleet.advance(14).names, [A]);
      assert.equal(fleet.withdrawn[0]?.timeoutMs, 900_000);
    });

  it('takes no agent for lost by itself that this controller never saw Ready', () => {
    const fleet = new SimulatedFleet(TEN);
    replace(fleet, B, true);
    fleet.lose(A);
    assert.deepEqual(fleet.advance(880).names, []);
  });
});

describe('decide, for an agent that crash-loops', () => {
  /** Five minutes without an agent, as in the backoff of the kubelet, then one with a proof. */
  const crash = (fleet: SimulatedFleet) => {
    fleet.lose(A);
    fleet.advance(300).recover(A);
    fleet.change(A, simulatedNode(A));
    return fleet.advance(60);
  };

  it('withdraws the label twice, then leaves it and names the node', () => {
    const fleet = running();
    for (let time = 0; time < 20; time++) crash(fleet);
    assert.deepEqual(fleet.names, [A, A]);
    assert.deepEqual(fleet.decision?.damped, [A]);
  });

  it('waits longer each time, and withdraws the label of an agent that stays away', () => {
    const fleet = running();
    for (let time = 0; time < 4; time++) crash(fleet);
    fleet.lose(A);
    assert.deepEqual(fleet.advance(358).names, [A, A]);
    assert.deepEqual(fleet.advance(6).names, [A, A, A]);
    assert.deepEqual(
      fleet.withdrawn.map(({ timeoutMs }) => timeoutMs / 1_000),
      [90, 180, 360],
    );
  });

  it('forgets withdrawals of more than six hours ago', () => {
    const fleet = running();
    crash(fleet);
    fleet.advance(21_600).lose(A);
    assert.deepEqual(fleet.advance(94).names, [A, A]);
  });
});

describe('decide counts only what it saw', () => {
  it('since its start', () => {
    const fleet = new SimulatedFleet(TEN);
    fleet.lose(A);
    assert.deepEqual(fleet.advance(88).names, []);
    assert.deepEqual(fleet.advance(8).names, [A]);
  });

  for (const [what, skewMs, suspendedMs] of [
    ['the wall clock is set forward', 3_600_000, 0],
    ['the wall clock is set back', -3_600_000, 0],
    ['the controller was suspended', 0, 3_600_000],
  ] as const) {
    it(`and not the moment when ${what}`, () => {
      const fleet = running();
      fleet.lose(A);
      fleet.advance(80).skewMs += skewMs;
      fleet.nowMs += suspendedMs;
      assert.deepEqual(fleet.advance(10).names, []);
      assert.deepEqual(fleet.advance(6).names, [A]);
    });
  }

  it('and no time in which the circuit breaker was open, once it closes', () => {
    const fleet = running();
    fleet.agents = undefined;
    fleet.lose(A);
    assert.deepEqual(fleet.advance(300).decision?.paused, [A]);
    fleet.agents = { observed: true, desired: 10, ready: 9 };
    assert.deepEqual(fleet.advance(88).names, []);
    assert.deepEqual(fleet.advance(8).names, [A]);
  });
});
