import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { patient } from '../../hack/run.ts';
import { connect, NODES, proveOn, useNodes } from './integration-cluster.ts';

const PROOFS = 20;

const { node } = useNodes();

describe('a proof beside a real kubelet, which removes sandboxes that it does not know', {
  concurrency: true,
}, () => {
  for (const { name } of NODES) {
    it(`on ${name} is never taken for a failure, ${PROOFS} times in a row`, {
      timeout: patient(300_000),
    }, async () => {
      assert.notEqual(node(name).machine.daemonPid('kubelet'), undefined, 'the kubelet runs');
      const client = connect(node(name));
      try {
        const ends = new Map<string, number>();
        for (let proof = 0; proof < PROOFS; proof++) {
          const outcome = await proveOn(node(name), client);
          assert.ok(outcome.kind !== 'failed' && outcome.kind !== 'stuck', JSON.stringify(outcome));
          ends.set(outcome.kind, (ends.get(outcome.kind) ?? 0) + 1);
        }
        const said = [...ends].map(([kind, count]) => `${count} ${kind}`).join(', ');
        console.log(
          `${name}: ${PROOFS} proofs: ${said}; the kubelet interrupted ${client.attempts - (ends.get('proven') ?? 0)} of ${client.attempts} attempts`,
        );
        assert.ok((ends.get('proven') ?? 0) > 0, said);
        assert.equal(ends.get('inconclusive'), undefined, said);
        assert.deepEqual(await client.readyProbes(), []);
        const left = await client.deadProbes();
        assert.ok(left.length <= 1, `sandboxes left: ${left.join(', ')}`);
      } finally {
        client.close();
      }
    });
  }
});
