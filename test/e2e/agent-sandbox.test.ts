import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it } from 'node:test';
import type { KubernetesObject, V1PodSpec } from '@kubernetes/client-node';
import { breakAndWait, healAndWait } from '../../cluster/faults/break-node.ts';
import { imageName } from '../../cluster/tools/images.ts';
import { REPO } from '../../hack/paths.ts';
import { ensurePython } from '../../hack/python.ts';
import { patient, waitFor } from '../../hack/run.ts';
import { markedBlock } from '../docs/marked-blocks.ts';
import { plugin } from '../kubectl/run-plugin.ts';
import { PYTHON } from './dispatcher-run.ts';
import { createNamespace, startPod, useCluster } from './e2e-cluster.ts';
import { runWithKubectl } from './installation.ts';

const PAGE = 'docs/agent-sandbox.md';
const NAMESPACE = 'evaluations';
const WARM = 'agents.x-k8s.io/warm-pool-sandbox';
const CRDS = join(REPO, 'test/e2e/agent-sandbox-crds.yaml');

const cluster = useCluster(
  async (opened) => {
    await createNamespace(opened, NAMESPACE);
    await opened.kubectl(['apply', '-f', CRDS]);
    await opened.kubectl(['wait', '-f', CRDS, '--for=condition=Established']);
  },
  async (opened) => {
    await opened.kubectl(['delete', 'namespace', NAMESPACE], undefined, 90_000);
    await opened.kubectl(['delete', '-f', CRDS]);
  },
);
const kubectl = (args: readonly string[], input?: string) =>
  cluster().kubectl(['-n', NAMESPACE, ...args], input);

/** Runs a block of the page, with `gvisor-dispatch` in PATH. */
async function page(mark: string): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'agent-sandbox-'));
  const env = Object.entries(PYTHON).map(([name, value]) => `${name}='${value}'`);
  const command = `#!/bin/sh\nexec env ${env.join(' ')} ${await ensurePython()} -m gvisor_dispatch "$@"\n`;
  await writeFile(join(directory, 'gvisor-dispatch'), command, { mode: 0o755 });
  const script = markedBlock(PAGE, mark, 'run').replace(/registry\S+/, imageName('workload'));
  return runWithKubectl(cluster(), script, [directory]).finally(() => rm(directory, { recursive: true }));
}

/** Stands in for the controller: a warm pod of the template, and its Sandbox. */
async function warm(name: string, nodeName: string): Promise<void> {
  const { spec } = JSON.parse(await kubectl(['get', 'sandboxtemplate', 'python', '-o', 'json'])) as {
    readonly spec: { readonly podTemplate: { readonly spec: V1PodSpec } };
  };
  const pod = { ...spec.podTemplate.spec, nodeName, terminationGracePeriodSeconds: 0 };
  await startPod(
    cluster(),
    NAMESPACE,
    name,
    JSON.stringify({ apiVersion: 'v1', kind: 'Pod', metadata: { name }, spec: pod }),
  );
  const metadata = { name, labels: { [WARM]: 'x' }, annotations: { 'agents.x-k8s.io/pod-name': name } };
  const status = { nodeName };
  const sandbox = { apiVersion: 'agents.x-k8s.io/v1beta1', kind: 'Sandbox', metadata, spec, status };
  await kubectl(['create', '-f', '-'], JSON.stringify(sandbox));
}

/** Stands in for the controller: hands the Sandbox out to the claim of the page, whatever its node is. */
async function adopt(name: string): Promise<void> {
  const claim = ['sandboxclaim', 'evaluation-1'];
  const { metadata = {} } = await waitFor('the claim', 30_000, async () => {
    const found = await kubectl(['get', ...claim, '--ignore-not-found', '-o', 'json']);
    return found === '' ? undefined : (JSON.parse(found) as KubernetesObject);
  });
  const owner = {
    apiVersion: 'extensions.agents.x-k8s.io/v1beta1',
    kind: 'SandboxClaim',
    name: metadata.name,
    uid: metadata.uid,
  };
  const patch = (object: readonly string[], body: object) =>
    kubectl(['patch', ...object, '--type=merge', '-p', JSON.stringify(body)]);
  await patch(['sandbox', name], { metadata: { labels: { [WARM]: null }, ownerReferences: [owner] } });
  await patch(claim, { status: { sandbox: { name }, conditions: [{ type: 'Ready', status: 'True' }] } });
}

const BARE = JSON.stringify({
  apiVersion: 'extensions.agents.x-k8s.io/v1beta1',
  kind: 'SandboxTemplate',
  metadata: { name: 'bare' },
  spec: { podTemplate: { spec: { containers: [] } } },
});
const status = async () => {
  const { out } = await plugin(['status', '--kubeconfig', cluster().kubeconfig]);
  return out.replace(/\n +/g, ' ');
};

/** Runs the command that `status` prints, the group of a pattern, once it does. */
async function followStatus(pattern: RegExp): Promise<void> {
  const command = await waitFor(`status ${pattern}`, 60_000, async () => pattern.exec(await status())?.[1]);
  await runWithKubectl(cluster(), command, []);
}

it('warm pods on a node that lost gVisor are given back, or recalled, as the page says', {
  timeout: patient(600_000),
}, async () => {
  await page('pool');
  for (const [name, node] of [
    ['kept', 'node-1'],
    ['claimed', 'node-2'],
    ['named', 'node-2'],
    ['recalled', 'node-2'],
  ] as const)
    await warm(name, node);
  await breakAndWait(cluster(), 'node-2', 'shim-missing');
  try {
    const [refused] = await Promise.all([page('claim').then(() => '', String), adopt('claimed')]);
    assert.match(refused, /NodeUnproven/);
    await kubectl(['create', '-f', '-'], BARE);
    await followStatus(/evaluations\/named on node-2, evaluations\/recalled .*? (kubectl delete .*?=named)/);
    await followStatus(/evaluations\/bare; for each: (kubectl patch .*?}')/);
    const out = await status();
    assert.match(out, /1 unclaimed where gVisor is not proven: evaluations\/recalled on node-2;/);
    assert.doesNotMatch(out, /bare/);
    await page('recall');
    await waitFor('the rest', 60_000, async () =>
      (await kubectl(['get', 'sandboxes', '-o', 'name'])) === 'sandbox.agents.x-k8s.io/kept\n'
        ? true
        : undefined,
    );
    const [given] = await Promise.all([page('claim'), adopt('kept')]);
    assert.match(given, /InGVisor/);
  } finally {
    await healAndWait(cluster(), 'node-2', 'shim-missing');
  }
});
