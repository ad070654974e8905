import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { before, describe, it } from 'node:test';
import type { Cluster } from '../../cluster/cluster.ts';
import { imageName } from '../../cluster/images.ts';
import { deployAgent } from '../../cluster/story.ts';
import { ensureTools } from '../../cluster/tools.ts';
import { CACHE, REPO } from '../../hack/paths.ts';
import { run, runAll } from '../../hack/run.ts';
import { waitForNode } from '../e2e/agents.ts';
import { useOwnCluster } from '../e2e/e2e-cluster.ts';

const SANDBOX = 'inspect-k8s-sandbox==0.14.0';
/** Stands in for CoreDNS, whose startup probe it passes. */
const READY_SIDECAR = "require('http').createServer((_, response) => response.end()).listen(18181)";
/** The kinds of the chart that the cluster lacks. */
const CILIUM = {
  apiVersion: 'apiextensions.k8s.io/v1',
  kind: 'CustomResourceDefinition',
  metadata: { name: 'ciliumnetworkpolicies.cilium.io' },
  spec: {
    group: 'cilium.io',
    scope: 'Namespaced',
    names: { kind: 'CiliumNetworkPolicy', plural: 'ciliumnetworkpolicies' },
    versions: [
      {
        name: 'v2',
        served: true,
        storage: true,
        schema: { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } },
      },
    ],
  },
};
/** Starts a sample's sandbox, prints the kernel of its pod, and removes it. */
const SAMPLE = `import asyncio, sys
from inspect_k8s import GVisorSandboxEnvironment as sandbox
async def main():
    await sandbox.task_init("task", None)
    found = await sandbox.sample_init("task", sys.argv[1], {})
    print((await found["default"].exec(["cat", "/proc/version"])).stdout)
    await sandbox.sample_cleanup("task", None, found, False)
asyncio.run(main())`;

let cluster: Cluster;
useOwnCluster('inspect', [{ name: 'node-1' }], async (started) => {
  cluster = started;
  await deployAgent(cluster, join(REPO, 'manifests/base'));
  await waitForNode(cluster, 'node-1', ({ ready }) => ready === 'true', 90_000);
  await cluster.kubectl(['apply', '-f', '-'], JSON.stringify(CILIUM));
});

describe('the recipe for Inspect, with the chart of inspect_k8s_sandbox', () => {
  let python: string;
  before(async () => {
    const directory = join(CACHE, 'python', SANDBOX);
    python = join(directory, 'bin/python');
    if (existsSync(python)) return;
    await run('python3', ['-m', 'venv', directory]);
    const install = ['-m', 'pip', 'install', '--quiet', SANDBOX, 'aiohttp'];
    await run(python, install, { timeoutMs: 10 * 60_000 }).catch(async (error: unknown) => {
      await rm(directory, { recursive: true });
      throw error;
    });
  });

  /** Runs a sample whose services have this runtime class. */
  async function sample(runtimeClassName: string) {
    const directory = await mkdtemp(join(tmpdir(), 'inspect-'));
    const values = join(directory, 'values.yaml');
    const sleep = ['sleep', 'infinity'];
    const image = imageName('workload');
    const service = { runtimeClassName, image, command: sleep, resources: { requests: { memory: '64Mi' } } };
    const chart = {
      services: { default: service },
      corednsImage: imageName('agent'),
      corednsCommand: ['/usr/local/bin/node', '-e', READY_SIDECAR],
    };
    await writeFile(values, JSON.stringify(chart));
    const { helm } = await ensureTools(['helm']);
    const env = {
      PATH: `${dirname(join(helm, 'helm'))}:${process.env.PATH}`,
      HOME: directory,
      KUBECONFIG: cluster.kubeconfig,
      INSPECT_HELM_TIMEOUT: '120',
      PYTHONPATH: `${REPO}/dispatcher:${REPO}/dispatcher/recipes`,
    };
    try {
      return await runAll(python, ['-B', '-c', SAMPLE, values], { env, timeoutMs: 200_000 });
    } finally {
      await rm(directory, { recursive: true });
    }
  }

  const releases = () => cluster.kubectl(['get', 'statefulsets', '-A', '-o', 'name']);

  it('runs a sample whose pods are in gVisor', async () => {
    const { code, stdout, stderr } = await sample('gvisor');
    assert.equal(code, 0, stderr);
    assert.match(stdout, /Linux version 4\.4\.0 /);
    assert.equal(await releases(), '');
  });

  it('removes a sandbox whose pods are outside gVisor', async () => {
    const { code, stderr } = await sample('CLUSTER_DEFAULT');
    assert.equal(code, 1);
    assert.match(stderr, /RuntimeError: the sandbox was removed, .* NoRuntimeClass: /);
    assert.equal(await releases(), '');
  });

  it('starts nothing while no proven node takes pods', async () => {
    await cluster.kubectl(['cordon', 'node-1']);
    const { code, stderr } = await sample('gvisor');
    assert.equal(code, 1);
    assert.match(stderr, /RuntimeError: no sandbox was started: NoSchedulableNode: /);
  });
});
