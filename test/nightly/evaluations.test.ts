import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { Cluster } from '../../cluster/cluster.ts';
import { deployAgent } from '../../cluster/labels.ts';
import { imageName } from '../../cluster/tools/images.ts';
import { ensureTools } from '../../cluster/tools/tools.ts';
import { CACHE, REPO } from '../../hack/paths.ts';
import { writeDispatcher } from '../../hack/release.ts';
import { run, runAll, waitFor } from '../../hack/run.ts';
import { VERSION } from '../../lib/base/version.ts';
import { waitForNode } from '../e2e/agents.ts';
import { useOwnCluster } from '../e2e/e2e-cluster.ts';

const SANDBOX = 'inspect-k8s-sandbox==0.14.0';
/** Of Inspect's 200: each is a release of Helm, which takes seconds of a CPU. */
const SAMPLES = 20;
/** Stands in for CoreDNS, whose startup probe it passes. */
const READY_SIDECAR = "require('http').createServer((_, response) => response.end()).listen(18181)";
const RECIPES = join(REPO, 'dispatcher/recipes');

let cluster: Cluster;
useOwnCluster('evaluations', [{ name: 'node-1' }], async (started) => {
  cluster = started;
  await deployAgent(cluster, join(REPO, 'manifests/base'));
  await waitForNode(cluster, 'node-1', ({ ready }) => ready === 'true', 90_000);
  await cluster.kubectl(['apply', '-f', join(REPO, 'test/nightly/cilium-crd.yaml')]);
});

describe('evaluations, with the wheel of the dispatcher and the real packages', () => {
  let python: string;
  let directory: string;
  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'evaluations-'));
    await writeDispatcher(directory);
    const wheel = join(directory, `gvisor_dispatch-${VERSION}-py3-none-any.whl`);
    const venv = join(CACHE, 'python', SANDBOX);
    python = join(venv, 'bin/python');
    if (!existsSync(python)) await run('python3', ['-m', 'venv', venv]);
    const install = ['-m', 'pip', 'install', '--quiet'];
    await run(python, [...install, `${wheel}[inspect]`, SANDBOX], { timeoutMs: 10 * 60_000 });
    await run(python, [...install, '--no-deps', '--force-reinstall', wheel]);
    await cluster.kubectl(['create', 'namespace', 'evaluations']);
  });
  after(() => rm(directory, { recursive: true }));

  /** Runs a recipe, with its 200 evaluations or fewer. */
  async function recipe(file: string, args: readonly string[], evaluations: number, helmSeconds = 120) {
    const copy = join(directory, file);
    const source = await readFile(join(RECIPES, file), 'utf8');
    assert.match(source, /range\(200\)/);
    await writeFile(copy, source.replace('range(200)', `range(${evaluations})`));
    const { helm } = await ensureTools(['helm']);
    const env = {
      PATH: `${dirname(join(helm, 'helm'))}:${process.env.PATH}`,
      HOME: directory,
      KUBECONFIG: cluster.kubeconfig,
      INSPECT_HELM_TIMEOUT: `${helmSeconds}`,
    };
    return runAll(python, ['-B', copy, ...args], { env, cwd: directory, timeoutMs: 40 * 60_000 });
  }

  /** Runs samples whose services have this runtime class, with `sandbox="gvisor"`. */
  async function samples(runtimeClassName: string, evaluations: number, helmSeconds?: number) {
    const command = ['sleep', 'infinity'];
    const resources = { requests: { memory: '64Mi' } };
    const values = join(directory, 'values.yaml');
    const chart = {
      services: { default: { runtimeClassName, image: imageName('workload'), command, resources } },
      corednsImage: imageName('agent'),
      corednsCommand: ['/usr/local/bin/node', '-e', READY_SIDECAR],
    };
    await writeFile(values, JSON.stringify(chart));
    const { stdout, stderr } = await recipe('many_inspect.py', [values], evaluations, helmSeconds);
    assert.equal(await cluster.kubectl(['get', 'statefulsets', '-A', '-o', 'name']), '', stderr);
    return `${stdout}${stderr}`;
  }

  it('200 with asyncio are all in gVisor, and leave no pod', async () => {
    const { stdout, stderr } = await recipe('many_asyncio.py', ['evaluations', imageName('workload')], 200);
    assert.match(stdout, /^\('in gVisor: True, kernel: Linux version 4\.4\.0 [^\n]*', 200\)\n$/, stderr);
    await cluster.kubectl(['wait', '--for=delete', 'pod', '--all', '-n', 'evaluations', '--timeout=120s']);
  });

  it(`${SAMPLES} with Inspect are all in gVisor, and leave no release`, async () => {
    assert.match(await samples('gvisor', SAMPLES), new RegExp(`^success ${SAMPLES} of ${SAMPLES} in gVisor`));
  });

  it('a sample waits while no proven node takes pods, and says what gVisor lacked if that lasts', async () => {
    await cluster.kubectl(['cordon', 'node-1']);
    const pods = () => cluster.kubectl(['get', 'pods', '-o', 'name']);
    const waiting = samples('gvisor', 1);
    await waitFor('a pod that waits for a node', 60_000, async () => (await pods()) !== '');
    await cluster.kubectl(['uncordon', 'node-1']);
    assert.match(await waiting, /^success 1 of 1 in gVisor/);
    await cluster.kubectl(['cordon', 'node-1']);
    const said = await samples('gvisor', 1, 15);
    await cluster.kubectl(['uncordon', 'node-1']);
    assert.match(said, /^error .*Helm release did not become ready[\s\S]*gVisor now: NoSchedulableNode: /);
  });

  it('a sample whose pods are outside gVisor gets no sandbox', async () => {
    assert.match(
      await samples('CLUSTER_DEFAULT', 1),
      /^error .*pods run without gVisor: .* NoRuntimeClass: /,
    );
  });
});
