import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { after, before, describe, it } from 'node:test';
import type { V1Pod, V1PodList } from '@kubernetes/client-node';
import { breakNode, healNode } from '../../cluster/faults/break-node.ts';
import { evaluationPod } from '../../cluster/story.ts';
import { ensurePython } from '../../hack/python.ts';
import { patient, waitFor } from '../../hack/run.ts';
import { waitForNode } from '../e2e/agents.ts';
import { PYTHON } from '../e2e/dispatcher-run.ts';
import { createNamespace, runtimeClass, useCluster } from '../e2e/e2e-cluster.ts';
import { reportOf } from '../e2e/upgraded-pods.ts';
import { randomPause } from '../integration/integration-cluster.ts';

const cluster = useCluster();
const NODE = 'node-1';
const NAMESPACE = 'races';
/** Pods of the proven handler that start around a fault, in rounds of {@link BATCH}. */
const TRIES = Number(process.env.RACE_TRIES ?? 200);
const BATCH = 10;
/** Within which a pod on the host's kernel is told. */
const TOLD_MS = 10_000;
const PODS = `/api/v1/namespaces/${NAMESPACE}/pods`;

/** Prints what `explain` says of each pod, again and again: name → [in_gvisor, reason]. */
const EXPLAIN = `
import json, time
from gvisor_dispatch import Dispatcher
from kubernetes import client, config
config.load_kube_config()
with Dispatcher(client.ApiClient()) as dispatcher:
    while True:
        found = dispatcher.explain_selected("${NAMESPACE}", "app=evaluation")
        print(json.dumps({name: [one.in_gvisor, one.reason] for name, one in found.items()}), flush=True)
        time.sleep(0.25)
`;

type Said = { readonly atMs: number; readonly inGvisor: boolean | null; readonly reason: string };

/** All that was said of each pod, oldest first. */
class Explained {
  readonly #said = new Map<string, Said[]>();
  readonly #child;

  constructor(python: string) {
    const env = { ...process.env, ...PYTHON, KUBECONFIG: cluster().kubeconfig };
    this.#child = spawn(python, ['-c', EXPLAIN], { env, stdio: ['ignore', 'pipe', 'inherit'] });
    createInterface({ input: this.#child.stdout }).on('line', (line) => {
      const atMs = performance.now();
      const found = JSON.parse(line) as Record<string, [boolean | null, string]>;
      for (const [pod, [inGvisor, reason]] of Object.entries(found))
        this.#said.set(pod, [...this.of(pod), { atMs, inGvisor, reason }]);
    });
  }

  of(pod: string): readonly Said[] {
    return this.#said.get(pod) ?? [];
  }

  stop(): void {
    this.#child.kill();
  }
}

describe('pods that start while their handler turns into runc and back', () => {
  let explained: Explained;

  before(async () => {
    await createNamespace(cluster(), NAMESPACE);
    await cluster().kubectl(['apply', '-f', '-'], runtimeClass('runsc-anywhere', 'runsc'));
    explained = new Explained(await ensurePython());
  });
  after(async () => {
    explained?.stop();
    await healNode(cluster(), cluster().node(NODE));
    await cluster().kubectl(['delete', 'namespace', NAMESPACE, '--timeout=120s'], undefined, 150_000);
    await cluster().kubectl(['delete', 'runtimeclass', 'runsc-anywhere']);
  });

  it(`none of ${TRIES} on the host's kernel is vouched for, and each is told`, {
    timeout: patient(3_000_000),
  }, async () => {
    const outside: string[] = [];
    const vouchedFor: string[] = [];
    const toldMs: number[] = [];
    for (let first = 0; first < TRIES; first += BATCH) {
      const names = Array.from({ length: BATCH }, (_, at) => `race-${first + at}`);
      await race(names);
      const onHost = await podsOnHost(names);
      outside.push(...onHost.map(({ name }) => name));
      for (const { name, uid } of onHost) {
        const told = await waitFor(`${name} to be told`, TOLD_MS, async () =>
          explained.of(name).find(({ inGvisor }) => inGvisor === false),
        );
        const began = explained.of(name).find(({ reason }) => !/^Not(?:Started|Scheduled)$/.test(reason));
        toldMs.push(told.atMs - (began?.atMs ?? told.atMs));
        const { pods } = await reportOf(cluster(), NODE);
        assert.ok(!pods?.sandboxedUids.includes(uid), `the report vouches for ${name}`);
        const wrong = explained.of(name).filter(({ inGvisor }) => inGvisor);
        if (wrong.length > 0) vouchedFor.push(`${name}: ${JSON.stringify(wrong)}`);
      }
      await waitForNode(cluster(), NODE, ({ ready }) => ready === 'true', 120_000);
      const remove = ['delete', '--raw', `${PODS}?gracePeriodSeconds=0`];
      await cluster().kubectl(remove);
      await waitFor('the pods to be gone', 120_000, async () => (await list()).length === 0);
    }
    const longest = Math.max(0, ...toldMs);
    console.log(`${outside.length} of ${TRIES} ran outside gVisor, told within ${Math.round(longest)} ms`);
    assert.ok(outside.length > 0, 'no pod ran outside gVisor, so nothing was tried');
    assert.deepEqual(vouchedFor, []);
  });
});

/** Creates the pods one after the other, while the handler breaks and heals. */
async function race(names: readonly string[]): Promise<void> {
  const node = cluster().node(NODE);
  const create = async () => {
    for (const name of names) {
      const options = { spec: { nodeName: NODE }, container: { command: ['sh', '-c', SHOW_KERNEL] } };
      const pod = evaluationPod(name, { ...options, gvisor: true, runtimeClass: 'runsc-anywhere' });
      await cluster().kubectl(['create', '-n', NAMESPACE, '-f', '-'], pod);
      await randomPause(400);
    }
  };
  const turn = async () => {
    await randomPause(2_000);
    await breakNode(cluster(), node, 'handler-runs-runc');
    await randomPause(3_000);
    await healNode(cluster(), node, 'handler-runs-runc');
  };
  await Promise.all([create(), turn()]);
}

const SHOW_KERNEL = 'cat /proc/version; exec sleep infinity';

async function list(): Promise<readonly V1Pod[]> {
  return (JSON.parse(await cluster().get(PODS)) as V1PodList).items;
}

const isRunning = ({ status }: V1Pod) => status?.containerStatuses?.[0]?.state?.running !== undefined;

/** Of those that run within a minute: a restart of containerd in the middle of a start can hold a pod up for minutes. */
async function podsOnHost(names: readonly string[]) {
  const allRun = async () => (await list()).filter(isRunning).length === names.length;
  await waitFor('each pod to run', 60_000, allRun).catch(() => undefined);
  const pods = (await list()).filter(isRunning);
  const host = (await readFile('/proc/version', 'utf8')).trim();
  const seen = await Promise.all(
    pods.map(async ({ metadata }) => {
      const { name = '', uid = '' } = metadata ?? {};
      const kernel = await cluster().kubectl(['logs', '-n', NAMESPACE, name]);
      return { name, uid, isOnHost: kernel.includes(host) };
    }),
  );
  return seen.filter(({ isOnHost }) => isOnHost);
}
