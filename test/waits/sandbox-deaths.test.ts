import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import timers from 'node:timers/promises';
import { processesIn } from '../../cluster/machine/machine.ts';
import type { ClusterNode } from '../../cluster/node/node.ts';
import { patient } from '../../hack/run.ts';
import type { Outcome } from '../../lib/proof/outcome.ts';
import { connect, NODES, type NodeName, proveOn, useNodes } from '../integration/integration-cluster.ts';

/** Milliseconds until a sandbox is killed: during its boot, or about when it is ready. runsc may wait 60 s for it. */
const LIFETIMES_MS = [0, 200];

const { node } = useNodes();

describe('a sandbox that dies during a proof', { concurrency: true }, () => {
  for (const { name } of NODES) describe(`on ${name}`, { concurrency: false }, () => testsOn(name));
});

function testsOn(name: NodeName): void {
  it('fails the proof, leaves no orphan, and the next proof succeeds', {
    timeout: patient(240_000),
  }, async () => {
    const client = connect(node(name));
    const kinds = new Map<number, string>();
    /** Repeats proofs that were interrupted, because slow boots can be stopped by others. */
    const prove = async (isLate = (_outcome: Outcome) => false): Promise<Outcome> => {
      for (let more = 4; ; more--) {
        const outcome = await proveOn(node(name), client);
        const isStopped = outcome.kind !== 'proven' && outcome.reason === 'ProbeInterrupted';
        if (more === 0 || !(isStopped || isLate(outcome))) return outcome;
      }
    };
    try {
      for (const lifetimeMs of LIFETIMES_MS) {
        // Counters that stand still show no pressure; on a busy node five deaths in a row may be the kubelet's doing.
        const idle = 'cat /proc/stat > /run/stat && mount --bind /run/stat /proc/stat';
        await node(name).system.run(['sh', '-c', idle]);
        const killing = new AbortController();
        const killed = killSandboxes(node(name), lifetimeMs, killing.signal);
        // Without CPU time this process may kill the sandbox too late.
        const outcome = await prove(({ kind }) => kind === 'proven' && lifetimeMs === 0);
        killing.abort();
        await killed;
        await node(name).system.run(['umount', '/proc/stat']);
        kinds.set(lifetimeMs, outcome.kind === 'proven' ? 'proven' : outcome.reason);
        const next = await prove();
        assert.equal(next.kind, 'proven', `after ${lifetimeMs} ms: ${JSON.stringify(next)}`);
        assert.deepEqual(await client.readyProbes(), [], `after ${lifetimeMs} ms`);
      }
      // containerd removes a sandbox that died between creation and start only after its task was deleted.
      assert.equal((await prove()).kind, 'proven');
      assert.deepEqual(await client.deadProbes(), []);
    } finally {
      client.close();
    }
    console.log(`${name}: ${[...kinds].map(([ms, kind]) => `${ms} ms ${kind}`).join(', ')}`);
    assert.match(kinds.get(0) ?? '', /^Sandbox(Died|Failed)$/);
    for (const kind of kinds.values()) assert.match(kind, /^Sandbox(Died|Failed)$|^proven$/);
  });
}

/** Kills every gVisor sandbox `lifetimeMs` after its process appeared. */
async function killSandboxes(
  { machine }: ClusterNode,
  lifetimeMs: number,
  signal: AbortSignal,
): Promise<void> {
  const startedMs = new Map<number, number>();
  while (!signal.aborted) {
    for (const { argv, pid } of processesIn(machine)) {
      if (argv[0] !== 'runsc-sandbox') continue;
      const sinceMs = startedMs.get(pid) ?? performance.now();
      startedMs.set(pid, sinceMs);
      if (performance.now() - sinceMs >= lifetimeMs) await machine.kill('KILL', [pid]);
    }
    await timers.setTimeout(5);
  }
}
