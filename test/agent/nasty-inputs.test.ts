import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { describe, it } from 'node:test';
import { CASES } from './nasty-cases.ts';
import { scene } from './one-look.ts';

/** What an input may cost beyond a healthy node; each of those below is far larger, or endless. */
const MOST_MIB = 64;

describe('a look at a node that', () => {
  let healthyMib = 0;

  it('has nothing of the kind: True SandboxProven, and the memory that takes', async (t) => {
    const { look } = await scene(t);
    const { report, mib } = await look();
    assert.equal(report.evaluation.verdict.reason, 'SandboxProven', JSON.stringify(report, null, 1));
    assert.ok(mib > 0);
    healthyMib = mib;
  });

  for (const { name, make, found, verdict, env, asNobody } of CASES) {
    it(`${name}: ${verdict}`, async (t) => {
      const prepared = await scene(t);
      await make(prepared);
      const seen = await prepared.look(env, asNobody);
      const { status, reason } = seen.report.evaluation.verdict;
      if (found !== undefined) assert.match(seen.found(found[0]), found[1]);
      assert.equal(`${status} ${reason}`, verdict, JSON.stringify(seen.report, null, 1));
      assert.doesNotMatch(JSON.stringify(seen.report), /hunter2/);
      assert.ok(seen.mib < healthyMib + MOST_MIB, `${seen.mib} MiB, healthy ${healthyMib} MiB`);
    });
  }

  it('has a socket that sends noise without end: Unknown ContainerdUnreachable', async (t) => {
    const { containerd, look } = await scene(t);
    await containerd.stop();
    const noise = Buffer.alloc(64 * 1024, 0xa5);
    const pour = (socket: Socket) => {
      while (socket.write(noise));
    };
    const server = createServer((socket) => {
      socket.on('error', () => {}).on('drain', () => pour(socket));
      pour(socket);
    });
    server.listen(containerd.socket);
    await once(server, 'listening');
    t.after(() => server.close());
    const { report, mib } = await look();
    assert.equal(report.evaluation.verdict.reason, 'ContainerdUnreachable');
    assert.ok(mib < healthyMib + MOST_MIB, `${mib} MiB, healthy ${healthyMib} MiB`);
  });
});
