import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Answer, fakeApiServer, refusal } from '../fake-api-server.ts';
import { publisherOf, READ, READY, TRY, WRITE } from './publisher-of.ts';

const READY_LABEL = 'gvisor.node-restriction.kubernetes.io/ready';
const RBAC = 'nodes "node-1" is forbidden: User "a" cannot patch resource "nodes/status" in API group ""';

describe('the first label', () => {
  for (const [what, answer] of [
    ['the right is missing', refusal(403, RBAC)],
    ['the API server is overloaded', refusal(429, 'too many requests')],
    ['another policy refuses', refusal(422, 'admission webhook "a.example" denied the request: no labels')],
    ['the API server fails', refusal(500, 'internal error')],
  ] as const satisfies readonly (readonly [string, Answer])[]) {
    it(`waits while it is not known whether writes are guarded, because ${what}, and withdraws none`, async (t) => {
      const shared = await fakeApiServer(t);
      const { server } = shared;
      server.node.labels[READY_LABEL] = 'true';
      server.script.push({ status: 200, body: JSON.stringify(server.node.whole) }, answer);
      const { publisher, logged, pause } = await publisherOf(t, {}, shared);
      publisher.publish(READY);
      await logged('cannot write the node');
      assert.match(
        publisher.unready ?? '',
        /^the first verdict is not in the Node yet: PATCH .*dryRun=All: \d+/,
      );
      assert.deepEqual(server.asked.splice(0), [READ, TRY]);
      assert.deepEqual([server.node.labels[READY_LABEL], server.node.conditions], ['true', []]);
      (await pause(1)).end();
      await logged('node written');
      assert.deepEqual(server.asked, [READ, TRY, WRITE]);
      assert.equal(publisher.unready, undefined);
    });
  }
});
