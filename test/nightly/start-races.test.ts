import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, describe, it } from 'node:test';
import type { V1Pod, V1PodList } from '@kubernetes/client-node';
import type { Cluster } from '../../cluster/cluster.ts';
import { deployAgent } from '../../cluster/labels.ts';
import { CONTAINERD_CONFIG, containerdConfig, RUNTIME_TABLE } from '../../cluster/node/config.ts';
import { SHIM } from '../../cluster/node/node.ts';
import { evaluationPod } from '../../cluster/pods.ts';
import { REPO } from '../../hack/paths.ts';
import { ensurePython } from '../../hack/python.ts';
import { patient, waitFor } from '../../hack/run.ts';
import { waitForNode } from '../e2e/agents.ts';
import { PYTHON } from '../e2e/dispatcher-run.ts';
import { createNamespace, runtimeClass, useOwnCluster } from '../e2e/e2e-cluster.ts';
import { reportOf } from '../e2e/upgraded-pods.ts';
import { randomPause } from '../integration/integration-cluster.ts';

const NODE = 'node-1';
const NAMESPACE = 'races';
/** Pods of the proven handler that start around a fault, in rounds of {@link BATCH}. */
const TRIES = Number(process.env.RACE_TRIES ?? 200);
const BATCH = 10;
const PODS = `/api/v1/namespaces/${NAMESPACE}/pods`;
/** Copies beside the shim, one of which takes its place. */
const GVISORS = `${SHIM}.gvisor`;
const RUNCS = '/usr/local/bin/containerd-shim-runc-v2';

let cluster: Cluster;
useOwnCluster('races', [{ name: NODE }], async (started) => {
  cluster = started;
  const node = cluster.node(NODE);
  // Without options, which runc's shim would not take.
  const table = RUNTIME_TABLE[node.spec.containerd];
  const handler = `\n[${table}.containerd.runtimes.runsc]\n  runtime_type = "io.containerd.runsc.v1"\n`;
  await node.write(CONTAINERD_CONFIG, containerdConfig(node.spec, handler));
  await node.system.stopDaemon('containerd');
  await node.startContainerd();
  await node.system.run(['cp', SHIM, GVISORS]);
  await deployAgent(cluster, join(REPO, 'manifests/base'));
  await waitForNode(cluster, NODE, ({ ready }) => ready === 'true', 120_000);
});

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

type Said = { readonly inGvisor: boolean | null; readonly reason: string };

/** All that was said of each pod, oldest first. */
class Explained {
  readonly #said = new Map<string, Said[]>();
  readonly #child;

  constructor(python: string) {
    const env = { ...process.env, ...PYTHON, KUBECONFIG: cluster.kubeconfig };
    this.#child = spawn(python, ['-c', EXPLAIN], { env, stdio: ['ignore', 'pipe', 'inherit'] });
    createInterface({ input: this.#child.stdout }).on('line', (line) => {
      const found = JSON.parse(line) as Record<string, [boolean | null, string]>;
      for (const [pod, [inGvisor, reason]] of Object.entries(found))
        this.#said.set(pod, [...this.of(pod), { inGvisor, reason }]);
    });
  }

  of(pod: string): readonly Said[] {
    return this.#said.get(pod) ?? [];
  }

  stop(): void {
    this.#child.kill();
  }
}

describe("pods that start while gVisor's shim turns into runc's and back", () => {
  let explained: Explained;

  before(async () => {
    await createNamespace(cluster, NAMESPACE);
    await cluster.kubectl(['apply', '-f', '-'], runtimeClass('runsc-anywhere', 'runsc'));
    explained = new Explained(await ensurePython());
  });
  after(() => explained?.stop());

  it(`none of ${TRIES} on the host's kernel is vouched for, and each is told`, {
    timeout: patient(3_000_000),
  }, async () => {
    let outside = 0;
    const vouchedFor: string[] = [];
    for (let first = 0; first < TRIES; first += BATCH) {
      const names = Array.from({ length: BATCH }, (_, at) => `race-${first + at}`);
      await race(names);
      for (const { name, uid } of await podsOnHost(names)) {
        outside++;
        await waitFor(`${name} to be told`, 60_000, async () =>
          explained.of(name).find(({ inGvisor }) => inGvisor === false),
        );
        const { pods } = await reportOf(cluster, NODE);
        assert.ok(!pods?.sandboxedUids.includes(uid), `the report vouches for ${name}`);
        const wrong = explained.of(name).filter(({ inGvisor }) => inGvisor);
        if (wrong.length > 0) vouchedFor.push(`${name}: ${JSON.stringify(wrong)}`);
      }
      await cluster.kubectl(['delete', '--raw', `${PODS}?gracePeriodSeconds=0`]);
      await waitFor('the pods to be gone', 120_000, async () => (await list()).length === 0);
      await waitForNode(cluster, NODE, ({ ready }) => ready === 'true', 120_000);
    }
    console.log(`${outside} of ${TRIES} ran outside gVisor`);
    assert.ok(outside > 0, 'no pod ran outside gVisor, so nothing was tried');
    assert.deepEqual(vouchedFor, []);
  });
});

/** Creates the pods one after the other, while the shim is another's for a while. */
async function race(names: readonly string[]): Promise<void> {
  const create = async () => {
    for (const name of names) {
      const options = { spec: { nodeName: NODE }, container: { command: ['sh', '-c', SHOW_KERNEL] } };
      const pod = evaluationPod(name, { ...options, gvisor: true, runtimeClass: 'runsc-anywhere' });
      await cluster.kubectl(['create', '-n', NAMESPACE, '-f', '-'], pod);
      await randomPause(400);
    }
  };
  const turn = async () => {
    await randomPause(2_000);
    await replaceShim(RUNCS);
    await randomPause(3_000);
    await replaceShim(GVISORS);
  };
  await Promise.all([create(), turn()]);
}

/** At once, as a package manager does: a start sees the old or the new one. */
async function replaceShim(program: string): Promise<void> {
  const script = `cp ${program} ${SHIM}.new && mv ${SHIM}.new ${SHIM}`;
  await cluster.node(NODE).system.run(['sh', '-ec', script]);
}

const SHOW_KERNEL = 'cat /proc/version; exec sleep infinity';

async function list(): Promise<readonly V1Pod[]> {
  return (JSON.parse(await cluster.get(PODS)) as V1PodList).items;
}

const isRunning = ({ status }: V1Pod) => status?.containerStatuses?.[0]?.state?.running !== undefined;

async function podsOnHost(names: readonly string[]) {
  await waitFor(
    'each pod to run',
    120_000,
    async () => (await list()).filter(isRunning).length === names.length,
  );
  const host = (await readFile('/proc/version', 'utf8')).trim();
  const seen = await Promise.all(
    (await list()).map(async ({ metadata }) => {
      const { name = '', uid = '' } = metadata ?? {};
      const kernel = await cluster.kubectl(['logs', '-n', NAMESPACE, name]);
      return { name, uid, isOnHost: kernel.includes(host) };
    }),
  );
  return seen.filter(({ isOnHost }) => isOnHost);
}
