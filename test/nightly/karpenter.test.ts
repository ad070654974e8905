import assert from 'node:assert/strict';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, it } from 'node:test';
import { parse } from 'yaml';
import type { Cluster } from '../../cluster/cluster.ts';
import { breakNode, healNode } from '../../cluster/faults/break-node.ts';
import { KUBELET_CONFIG } from '../../cluster/node/config.ts';
import { evaluationPod } from '../../cluster/pods.ts';
import { moduleDirectory, source } from '../../cluster/tools/tool-groups.ts';
import { waitFor } from '../../hack/run.ts';
import { markedBlock } from '../docs/marked-blocks.ts';
import { DOMAIN, overlay, podEvents, readinessOf, readNode, waitForNode } from '../e2e/agents.ts';
import { runtimeClass, useOwnCluster } from '../e2e/e2e-cluster.ts';
import { startController } from './controller-process.ts';

const POOL = 'example.org/gvisor';
const NODE_CLASS = { group: 'karpenter.kwok.sh', kind: 'KWOKNodeClass', name: 'gvisor' };

type Block = { readonly [field: string]: object };
type NodeClaim = {
  readonly metadata: { readonly labels: Readonly<Record<string, string>> };
  readonly status?: {
    readonly providerID?: string;
    readonly conditions?: readonly { readonly type: string; readonly status: string; reason: string }[];
  };
};

let cluster: Cluster;
let stopKarpenter = async () => {};
useOwnCluster('karpenter', [{ name: 'node-1' }, { name: 'node-2' }], async (started) => {
  cluster = started;
  // This machine becomes the instance that Karpenter creates.
  await cluster.node('node-2').system.stopDaemon('kubelet');
  await cluster.kubectl(['delete', 'node', 'node-2']);
  const { components, patches } = block('kustomization') as { components: string[]; patches: object };
  const directory = await overlay(
    components.map((path) => path.replace('gvisor-ready/manifests/components/', '')),
    [],
    { patches },
  );
  await cluster.kubectl(['apply', '-k', directory]);
  await rm(directory, { recursive: true });
  await cluster.kubectl(['-n', 'gvisor-ready', 'rollout', 'status', 'deployment', '--timeout=60s']);
  await cluster.kubectl(['cordon', 'node-1']);
  await startKarpenter();
});
after(() => stopKarpenter());

/** A marked block of docs/autoscaling.md. */
function block(mark: string): Block {
  return parse(markedBlock('docs/autoscaling.md', mark)) as Block;
}

/** Starts Karpenter with a provider that creates no Node by itself, and the NodePool of the docs. */
async function startKarpenter(): Promise<void> {
  const module = await moduleDirectory('sigs.k8s.io/karpenter', source('karpenter'));
  for (const crds of ['pkg/apis/crds', 'kwok/apis/crds'])
    await cluster.kubectl(['apply', '--server-side', '-f', join(module, crds)]);
  await cluster.kubectl(['wait', '--for=condition=Established', 'crd', '--all', '--timeout=30s']);
  const nodeClass = {
    apiVersion: 'karpenter.kwok.sh/v1alpha1',
    kind: NODE_CLASS.kind,
    metadata: { name: NODE_CLASS.name },
    spec: { nodeRegistrationDelay: '1h' },
  };
  const pool = block('nodepool') as { spec: { template: { spec: object } } };
  Object.assign(pool.spec.template.spec, { nodeClassRef: NODE_CLASS });
  await cluster.kubectl(['apply', '-f', '-'], JSON.stringify(nodeClass));
  await cluster.kubectl(['apply', '-f', '-'], JSON.stringify(pool));
  const env = {
    KUBECONFIG: cluster.kubeconfig,
    DISABLE_LEADER_ELECTION: 'true',
    METRICS_PORT: '0',
    HEALTH_PROBE_PORT: '0',
    SYSTEM_NAMESPACE: 'default',
  };
  stopKarpenter = await startController(cluster, { group: 'karpenter', file: 'kwok', env });
}

async function nodeClaims(): Promise<readonly NodeClaim[]> {
  const text = await cluster.get('/apis/karpenter.sh/v1/nodeclaims');
  return (JSON.parse(text) as { readonly items: readonly NodeClaim[] }).items;
}

/** A condition of the only NodeClaim as "STATUS REASON". */
async function claimCondition(type: string): Promise<string> {
  const [claim, ...others] = await nodeClaims();
  assert.deepEqual(others, []);
  const found = claim?.status?.conditions?.find((each) => each.type === type);
  return `${found?.status} ${found?.reason}`;
}

const phaseOf = async (pod: string) =>
  cluster.kubectl(['get', 'pod', pod, '-o', 'jsonpath={.status.phase} {.spec.nodeName}']);

it('creates no node for the class of the base, whose label no node can promise', async () => {
  const scheduling = { nodeSelector: { [`${DOMAIN}/ready`]: 'true' } };
  await cluster.kubectl(['apply', '-f', '-'], runtimeClass('proven-only', 'runsc', scheduling));
  const spec = { runtimeClassName: 'proven-only' };
  await cluster.kubectl(['apply', '-f', '-'], evaluationPod('refused', { gvisor: false, spec }));
  const why = await waitFor("Karpenter's refusal", 60_000, async () => {
    const events = await podEvents(cluster, 'default', 'refused', 'FailedScheduling');
    return events.find((event) => event.includes('incompatible requirements'));
  });
  assert.match(why, /label "gvisor\.node-restriction\.kubernetes\.io\/ready" does not have known values/);
  assert.deepEqual(await nodeClaims(), []);
  await cluster.kubectl(['delete', 'pod', 'refused']);
});

it('creates a node from zero for the class of the pool, which takes the pod once gVisor is proven', async () => {
  const node = cluster.node('node-2');
  await cluster.kubectl(['apply', '-f', '-'], evaluationPod('evaluation', { gvisor: true }));
  const providerID = await waitFor('a NodeClaim with an instance', 60_000, async () => {
    const [claim] = await nodeClaims();
    return claim?.status?.providerID;
  });
  assert.equal((await nodeClaims())[0]?.metadata.labels[POOL], 'true');

  await breakNode(cluster, node, 'shim-missing');
  const config = JSON.parse(await readFile(node.path(KUBELET_CONFIG), 'utf8')) as object;
  const registerWithTaints = [{ key: 'karpenter.sh/unregistered', effect: 'NoExecute' }];
  await writeFile(node.path(KUBELET_CONFIG), JSON.stringify({ ...config, providerID, registerWithTaints }));
  await node.restart('kubelet');
  await waitForNode(cluster, 'node-2', ({ condition }) => condition === 'False ShimNotFound', 120_000);
  await waitFor('Karpenter to wait for the taint', 60_000, async () =>
    (await claimCondition('Initialized')).endsWith(' StartupTaintsExist'),
  );
  const { metadata, spec } = await readNode(cluster, 'node-2');
  assert.equal(metadata.labels[POOL], 'true');
  assert.deepEqual(
    spec.taints?.map(({ key, effect }) => `${key}:${effect}`),
    [`${DOMAIN}/not-ready:NoSchedule`],
  );
  await waitFor('the scheduler to name the taint', 60_000, async () => {
    const events = await podEvents(cluster, 'default', 'evaluation', 'FailedScheduling');
    return events.some((event) => event.includes('had untolerated taint'));
  });
  assert.equal(await phaseOf('evaluation'), 'Pending ');

  await healNode(cluster, node, 'shim-missing');
  await waitFor('the pod to run', 60_000, async () => (await phaseOf('evaluation')) === 'Running node-2');
  const seen = await readNode(cluster, 'node-2');
  assert.equal(readinessOf(seen).ready, 'true');
  assert.deepEqual(seen.spec.taints ?? [], []);
  const kernel = await cluster.kubectl(['exec', 'evaluation', '--', 'cat', '/proc/version']);
  assert.notEqual(kernel, await readFile('/proc/version', 'utf8'));
  await waitFor('Karpenter to call the node initialized', 60_000, async () =>
    (await claimCondition('Initialized')).startsWith('True '),
  );
});
