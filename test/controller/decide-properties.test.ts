import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { KVM, SimulatedFleet, simulatedAgent, TIMEOUTS } from '../lib/fleet/simulated-fleet.ts';

const NAMES = Array.from({ length: 12 }, (_, index) => `node-${index}`);

const EVENTS = {
  lose: (fleet, name) => fleet.lose(name),
  serve: (fleet, name) => fleet.recover(name),
  notReady: (fleet, name) => fleet.change(name, { ready: false }),
  ready: (fleet, name) => fleet.change(name, { ready: true }),
  relabel: (fleet, name) => fleet.change(name, { label: 'true' }),
  relabelOther: (fleet, name) => fleet.change(name, { label: 'false', handlers: [KVM] }),
  away: (fleet) => {
    fleet.watchesUpSinceMs = undefined;
  },
  back: (fleet) => {
    fleet.watchesUpSinceMs ??= fleet.nowMs;
  },
  jump: (fleet) => {
    fleet.skewMs += 60_000;
  },
  roll: (fleet, name) => {
    fleet.pods = fleet.pods.map((pod) =>
      pod.node === name ? simulatedAgent(name, { revision: 'two' }) : pod,
    );
  },
} satisfies Readonly<Record<string, (fleet: SimulatedFleet, name: string) => unknown>>;

/** An event, its node, and the seconds that pass after it. */
const STEP = fc.record({
  what: fc.constantFrom(...(Object.keys(EVENTS) as (keyof typeof EVENTS)[]), 'lose' as const),
  name: fc.constantFrom(...NAMES),
  seconds: fc.constantFrom(2, 20, 60, 100, 200),
});

describe('decide, with any sequence of events', () => {
  it('withdraws no more than the circuit breaker allows, and only after 90 s without an agent', () => {
    fc.assert(
      fc.property(fc.array(STEP, { maxLength: 40 }), (steps) => {
        const fleet = new SimulatedFleet(NAMES);
        /** How long each node was seen Ready without an agent since it had one. */
        const aloneMs = new Map(NAMES.map((name) => [name, 0]));
        for (const step of steps) {
          EVENTS[step.what](fleet, step.name);
          for (let tick = 0; tick < step.seconds / 2; tick++) {
            const before = fleet.withdrawn.length;
            fleet.advance(2);
            const isOpen = (fleet.decision?.breaker.length ?? 0) > 0;
            for (const name of NAMES) {
              const node = fleet.nodes.find((each) => each.name === name);
              const hasAgent = fleet.pods.some((pod) => pod.node === name && pod.ready);
              const alone = node?.ready && !hasAgent && fleet.watchesUpSinceMs !== undefined;
              const knownMs = hasAgent ? 0 : (aloneMs.get(name) ?? 0);
              aloneMs.set(name, alone ? knownMs + 2_000 : knownMs);
            }
            const withdrawn = fleet.withdrawn.slice(before);
            assert.ok(withdrawn.length === 0 || !isOpen, 'withdrawn while the circuit breaker is open');
            for (const { name } of withdrawn)
              assert.ok((aloneMs.get(name) ?? 0) >= TIMEOUTS.agentTimeoutMs, name);
          }
        }
        for (const { atMs } of fleet.withdrawn) {
          const together = fleet.withdrawn.filter(
            (each) => each.atMs <= atMs && atMs - each.atMs < TIMEOUTS.windowMs,
          );
          const limit = Math.max(1, Math.floor(0.2 * NAMES.length));
          assert.ok(new Set(together.map(({ name }) => name)).size <= limit, JSON.stringify(together));
        }
      }),
      { numRuns: 200 },
    );
  });

  it('withdraws the label of a single lost agent once everything else has recovered', () => {
    fc.assert(
      fc.property(fc.array(STEP, { maxLength: 20 }), (steps) => {
        const fleet = new SimulatedFleet(NAMES);
        for (const step of steps) {
          EVENTS[step.what](fleet, step.name);
          fleet.advance(step.seconds);
        }
        fleet.nodes = fleet.nodes.map((node) => ({ ...node, ready: true, label: 'true' }));
        fleet.pods = NAMES.map((name) => simulatedAgent(name));
        fleet.watchesUpSinceMs ??= fleet.nowMs;
        fleet.advance(1_000);
        const before = fleet.withdrawn.length;
        const [calm = ''] = NAMES.filter((name) => !fleet.names.includes(name));
        fleet.lose(calm);
        assert.deepEqual(fleet.advance(96).names.slice(before), [calm]);
      }),
      { numRuns: 100 },
    );
  });
});
