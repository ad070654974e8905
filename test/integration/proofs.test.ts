import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import timers from 'node:timers/promises';
import type { Outcome } from '../../agent/proof/outcome.ts';
import { processesIn } from '../../cluster/machine/machine.ts';
import type { ClusterNode } from '../../cluster/node/node.ts';
import { patient, waitFor } from '../../hack/run.ts';
import {
  assertNoneStoppable,
  connect,
  NODES,
  type NodeName,
  type ProofCall,
  proveOn,
  randomPause,
  useNodes,
} from './integration-cluster.ts';
import { OutsideAgent } from './outside-agent.ts';

const PROOFS = 10;
/** containerd is killed between each of these calls and the next. */
const CALLS = [
  'RunPodSandbox',
  'ListPids',
  'StopPodSandbox',
  'RemovePodSandbox',
] as const satisfies readonly ProofCall[];

/** Milliseconds until a sandbox is killed: during its boot, or about when it is ready. runsc may wait 60 s for it. */
const LIFETIMES_MS = [0, 200];

const { node } = useNodes();

// First, because a containerd that is killed can leave sandboxes that accept no signal.
describe('a sandbox that dies during a proof', { concurrency: true }, () => {
  for (const { name } of NODES)
    it(
      `fails the proof, leaves no orphan, and the next proof succeeds: ${name}`,
      { timeout: patient(240_000) },
      () => diesIn(name),
    );
});

it('an agent with the memory limit of its pod proves gVisor beside sixteen pods with 60,000 labels each', async () => {
  const one = node('containerd-2');
  const client = connect(one);
  const command = [process.execPath, '--max-old-space-size=96', '--import', 'tsx', 'agent/main.ts'];
  await one.machine.stopDaemon('kubelet'); // it would remove unknown pods
  const ids: string[] = [];
  let agent: OutsideAgent | undefined;
  try {
    for (let n = 0; n < 16; n++) ids.push(await client.runSandbox(labelledPod(n), ''));
    agent = new OutsideAgent(one, {}, command);
    await agent.proven();
  } finally {
    await agent?.stop();
    for (const id of ids) await client.removeSandbox(id, { timeoutMs: 60_000 });
    client.close();
    await one.startKubelet();
  }
});

describe('two provers beside a kubelet, which removes unknown sandboxes', {
  concurrency: true,
}, () => {
  for (const { name } of NODES)
    it(`do not remove each other's probes and never fail on ${name}`, {
      timeout: patient(300_000),
    }, async () => {
      assert.notEqual(node(name).machine.daemonPid('kubelet'), undefined, 'the kubelet runs');
      const client = connect(node(name));
      try {
        const prove = async (owner: string) => {
          const kinds: string[] = [];
          for (let proof = 0; proof < PROOFS; proof++) {
            const outcome = await proveOn(node(name), client, owner);
            assert.match(outcome.kind, /^(proven|interrupted)$/, JSON.stringify(outcome));
            kinds.push(outcome.kind);
          }
          return kinds;
        };
        const kinds = (await Promise.all([prove('one'), prove('other')])).flat();
        const proven = kinds.filter((kind) => kind === 'proven').length;
        console.log(`${name}: ${proven} of ${kinds.length} proofs proven, with ${client.attempts} attempts`);
        assert.ok(proven > 0);
        assert.deepEqual(await client.readyProbes(), []);
        const remaining = await client.deadProbes();
        assert.ok(remaining.length <= 2, `sandboxes remain: ${remaining.join(', ')}`);
      } finally {
        client.close();
      }
    });
});

describe('containerd killed during a proof', { concurrency: true }, () => {
  for (const { name } of NODES)
    describe(`on ${name}`, { concurrency: false }, () => {
      for (const call of CALLS)
        it(`after ${call}: the proof does not fail, and the next succeeds`, () => killedIn(name, call));
    });
});

async function killedIn(name: NodeName, call: ProofCall): Promise<void> {
  const client = connect(node(name));
  try {
    const proof = proveOn(node(name), client);
    await waitFor(call, 20_000, async () => client.calls.includes(call), 1);
    await randomPause(150);
    await node(name).machine.stopDaemon('containerd', 'KILL');
    const outcome = await proof;
    const allowed =
      call === 'RunPodSandbox' ? /^(inconclusive|interrupted)$/ : /^(inconclusive|interrupted|proven)$/;
    assert.match(outcome.kind, allowed, JSON.stringify(outcome));
    await node(name).startContainerd();
    // The socket exists before the CRI responds.
    await waitFor('the CRI', 30_000, () => client.status());
    const next = await proveOn(node(name), client);
    assert.equal(next.kind, 'proven', JSON.stringify(next));
    await assertNoneStoppable(client);
  } finally {
    client.close();
    await node(name).startContainerd();
  }
}

async function diesIn(name: NodeName): Promise<void> {
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
      const killing = new AbortController();
      const killed = killSandboxes(node(name), lifetimeMs, killing.signal);
      // Without CPU time this process may kill the sandbox too late.
      const outcome = await prove(({ kind }) => kind === 'proven' && lifetimeMs === 0);
      killing.abort();
      await killed;
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

/** A kubelet's sandbox for a pod with as many labels as the API server accepts. */
function labelledPod(n: number) {
  const uid = `labelled-${n}`;
  const labels = Array.from({ length: 60_000 }, (_, label) => [`l${label.toString(36)}`, '']);
  return {
    metadata: { name: uid, namespace: 'eval', uid, attempt: 0 },
    labels: Object.fromEntries([...labels, ['io.kubernetes.pod.uid', uid]]),
    linux: { securityContext: { namespaceOptions: { network: 'NODE', pid: 'CONTAINER', ipc: 'POD' } } },
  };
}
