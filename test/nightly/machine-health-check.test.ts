import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { after, beforeEach, it } from 'node:test';
import { parse } from 'yaml';
import type { Cluster } from '../../cluster/cluster.ts';
import { openAuthority } from '../../cluster/control-plane/pki.ts';
import { moduleDirectory, source } from '../../cluster/tools/tool-groups.ts';
import { waitFor } from '../../hack/run.ts';
import { conditionFor } from '../../lib/report/node-object.ts';
import type { Verdict } from '../../lib/report/verdict.ts';
import { startApiServer, useStarted } from '../api/api-server.ts';
import { conditionOf, FleetObjects } from '../api/fleet-objects.ts';
import { markedBlock } from '../docs/marked-blocks.ts';
import { startController } from './controller-process.ts';

const DOCUMENT = 'docs/node-replacement.md';
const API = 'cluster.x-k8s.io/v1beta2';
const STUBS = 'stubs.example.org';
/** A fifth of it is two. */
const SIZE = 10;

type Named = { readonly metadata: { readonly name: string; readonly deletionTimestamp?: string } };
type Conditions = { readonly conditions?: readonly { type: string; status: string; reason: string }[] };
type Machine = Named & { readonly status?: Conditions & { readonly nodeRef?: { readonly name: string } } };
type Check = {
  readonly spec: {
    readonly selector: { readonly matchLabels: Readonly<Record<string, string>> };
    readonly checks: { readonly unhealthyNodeConditions: readonly { readonly timeoutSeconds: number }[] };
  };
  readonly status?: Conditions & { readonly expectedMachines?: number; readonly currentHealthy?: number };
};

type Deployment = {
  readonly spec: { readonly template: { readonly metadata: object; readonly spec: object } };
};

/** The MachineHealthCheck of the docs. */
const CHECK = parse(markedBlock(DOCUMENT, 'machine-health-check')) as Check;
const [TIMEOUT = 0] = CHECK.spec.checks.unhealthyNodeConditions.map((each) => each.timeoutSeconds * 1_000);
const LONG = TIMEOUT + 60_000;
const POOL = CHECK.spec.selector.matchLabels;

let cluster: Cluster;
let objects: FleetObjects;
let stopManager = async () => {};
useStarted('api', async () => {
  cluster = await startApiServer();
  objects = await FleetObjects.open(cluster);
  await startManager();
  await createPool();
  await healthy(SIZE);
});
after(() => stopManager());
beforeEach(async () => {
  for (const node of await nodes()) await say(node, PROVEN);
  await healthy(SIZE);
});

/** Starts Cluster API's manager beside the API server. Nothing calls its webhooks. */
async function startManager(): Promise<void> {
  const module = await moduleDirectory('sigs.k8s.io/cluster-api', source('cluster-api'));
  await apply(...['Cluster', 'ControlPlane', 'Machine', 'MachineTemplate'].map(stubCrd));
  await cluster.kubectl(['apply', '--server-side', '-f', join(module, 'core/config/crd/bases')]);
  await cluster.kubectl(['wait', '--for=condition=Established', 'crd', '--all', '--timeout=60s']);
  const certificates = join(cluster.dir, 'webhooks');
  await mkdir(certificates, { recursive: true });
  const { cert, key } = await (await openAuthority(join(cluster.dir, 'pki'))).issue(
    'webhooks',
    [],
    ['127.0.0.1'],
  );
  await writeFile(join(certificates, 'tls.crt'), cert);
  await writeFile(join(certificates, 'tls.key'), key);
  const args = [
    `--kubeconfig=${cluster.kubeconfig}`,
    `--webhook-cert-dir=${certificates}`,
    `--webhook-port=${await freePort()}`,
    '--health-addr=0',
    '--diagnostics-address=0',
    '--skip-crd-migration-phases=StorageVersionMigration,CleanupManagedFields',
    '--v=4',
  ];
  stopManager = await startController(cluster, { group: 'cluster-api', file: 'core', args });
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  assert.ok(typeof address === 'object' && address !== null);
  return address.port;
}

/** A kind of an infrastructure provider, of any content. */
function stubCrd(of: string) {
  const [kind, plural] = [`Stub${of}`, `stub${of.toLowerCase()}s`];
  const schema = { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } };
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `${plural}.${STUBS}`, labels: { 'cluster.x-k8s.io/v1beta2': 'v1' } },
    spec: {
      group: STUBS,
      scope: 'Namespaced',
      names: { kind, plural },
      versions: [{ name: 'v1', served: true, storage: true, schema }],
    },
  };
}

async function apply(...all: readonly object[]): Promise<void> {
  for (const each of all) await cluster.kubectl(['apply', '-f', '-'], JSON.stringify(each));
}

const stub = (of: string, content: object) => ({
  apiVersion: `${STUBS}/v1`,
  kind: `Stub${of}`,
  metadata: { name: 'evaluations' },
  ...content,
});

/** A cluster of Cluster API that is this one, with the health check and the limit of the docs. */
async function createPool(): Promise<void> {
  const kubeconfig = await cluster.kubectl(['config', 'view', '--raw', '--flatten']);
  const clusterName = 'evaluations';
  const metadata = { name: clusterName, namespace: 'default' };
  const ref = (of: string) => ({ apiGroup: STUBS, kind: `Stub${of}`, name: clusterName });
  const { spec } = parse(markedBlock(DOCUMENT, 'machine-deployment')) as Deployment;
  const labels = { 'cluster.x-k8s.io/cluster-name': clusterName };
  await apply(
    stub('Cluster', { status: { initialization: { provisioned: true } } }),
    stub('ControlPlane', {
      status: { initialization: { controlPlaneInitialized: true }, externalManagedControlPlane: true },
    }),
    stub('MachineTemplate', { spec: { template: { spec: {} } } }),
    {
      apiVersion: 'v1',
      kind: 'Secret',
      type: 'cluster.x-k8s.io/secret',
      metadata: { ...metadata, name: `${clusterName}-kubeconfig`, labels },
      stringData: { value: kubeconfig },
    },
    {
      apiVersion: API,
      kind: 'Cluster',
      metadata,
      spec: {
        controlPlaneEndpoint: { host: '127.0.0.1', port: cluster.port },
        infrastructureRef: ref('Cluster'),
        controlPlaneRef: ref('ControlPlane'),
      },
    },
    {
      apiVersion: API,
      kind: 'MachineDeployment',
      metadata: { ...metadata, labels },
      spec: {
        ...spec,
        clusterName,
        replicas: SIZE,
        // The webhook's default.
        rollout: { strategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } } },
        selector: { matchLabels: POOL },
        template: {
          metadata: spec.template.metadata,
          spec: {
            ...spec.template.spec,
            clusterName,
            bootstrap: { dataSecretName: 'none' },
            infrastructureRef: ref('MachineTemplate'),
          },
        },
      },
    },
    CHECK,
  );
}

async function list<Item extends Named>(kind: string): Promise<readonly Item[]> {
  const text = await cluster.kubectl(['get', kind, '-o', 'json']);
  return (JSON.parse(text) as { readonly items: readonly Item[] }).items;
}

const machines = () => list<Machine>('machines.cluster.x-k8s.io');

async function nodes(): Promise<readonly string[]> {
  return (await machines()).flatMap(({ status }) => status?.nodeRef?.name ?? []);
}

async function machineOf(node: string): Promise<Machine | undefined> {
  return (await machines()).find(({ status }) => status?.nodeRef?.name === node);
}

function conditionIn({ status }: { readonly status?: Conditions }, type: string): string | undefined {
  const found = status?.conditions?.find((each) => each.type === type);
  return found && `${found.status} ${found.reason}`;
}

async function healthCheck(): Promise<Check> {
  const text = await cluster.kubectl(['get', 'machinehealthcheck', 'gvisor', '-o', 'json']);
  return JSON.parse(text) as Check;
}

/** Starts what the infrastructure is asked for: the Node of each new machine registers, Ready and proven. */
async function provide(): Promise<void> {
  for (const { metadata, ...machine } of await list<Named & { status?: object }>('stubmachines')) {
    if (machine.status !== undefined) continue;
    const spec = { providerID: `stub:///${metadata.name}` };
    await apply({ apiVersion: 'v1', kind: 'Node', metadata: { name: metadata.name }, spec });
    await objects.writeStatus(metadata.name, { conditions: [conditionOf('Ready', 'True', 'KubeletReady')] });
    await say(metadata.name, PROVEN);
    const provisioned = { spec, status: { initialization: { provisioned: true } } };
    const patch = ['--type=merge', '-p', JSON.stringify(provisioned)];
    await cluster.kubectl(['patch', 'stubmachine', metadata.name, ...patch]);
  }
}

const verdict = (status: Verdict['status'], reason: Verdict['reason']): Verdict => {
  return { status, reason, message: 'set by a test' };
};
const PROVEN = verdict('True', 'SandboxProven');
const FAILED = verdict('False', 'SandboxFailed');

/** Writes a verdict as an agent does that said so first this long ago. */
async function say(node: string, verdict: Verdict, agoMs = 0): Promise<void> {
  const fresh = { metadata: { name: node, uid: '', resourceVersion: '' } };
  const condition = conditionFor(verdict, fresh, Date.now() - agoMs);
  await objects.writeStatus(node, { conditions: [condition] });
}

/** Waits until the health check has counted so many machines as healthy, of so many. */
async function healthy(count: number, of = SIZE): Promise<void> {
  await waitFor(`${count} of ${of} machines to be healthy`, 120_000, async () => {
    await provide();
    const { status } = await healthCheck();
    return status?.currentHealthy === count && status.expectedMachines === of;
  });
}

/** Waits until these Nodes and their machines are gone and new ones have taken their place. */
async function replaced(before: readonly string[], ...gone: readonly string[]): Promise<void> {
  await waitFor(`the replacement of ${gone}`, 180_000, async () => {
    await provide();
    const now = await nodes();
    return now.length === SIZE && !now.some((node) => gone.includes(node));
  });
  const left = await list('nodes');
  assert.deepEqual(
    left.filter(({ metadata }) => gone.includes(metadata.name)),
    [],
  );
  const now = await nodes();
  assert.deepEqual(
    before.filter((node) => !now.includes(node)),
    gone,
  );
}

/** Fails if a machine is marked for remediation or being deleted. */
async function assertKept(before: readonly string[]): Promise<void> {
  const all = await machines();
  assert.deepEqual(all.map(({ status }) => status?.nodeRef?.name).sort(), [...before].sort());
  for (const machine of all) {
    assert.equal(conditionIn(machine, 'OwnerRemediated'), undefined);
    assert.equal(machine.metadata.deletionTimestamp, undefined);
  }
}

it('replaces the machine of a node that says False for the timeout', async () => {
  const before = await nodes();
  const [broken = ''] = before;
  await say(broken, FAILED, LONG);
  await replaced(before, broken);
  await healthy(SIZE);
});

it('replaces none for Unknown, on any number of nodes and however long, nor for a False that is young', async () => {
  const before = await nodes();
  const [young = '', ...others] = before;
  for (const node of others) await say(node, verdict('Unknown', 'AgentLost'), LONG);
  await say(young, FAILED);
  await healthy(SIZE - 1);
  await assertKept(before);
});

it('replaces none while more are broken than the limit, and goes on below it', async () => {
  const before = await nodes();
  const broken = before.slice(0, 3);
  for (const node of broken) await say(node, FAILED);
  await healthy(SIZE - 3);
  for (const node of broken) await say(node, FAILED, LONG);
  for (const node of broken)
    await waitFor(`the health check of ${node} to fail`, 120_000, async () => {
      const machine = await machineOf(node);
      return machine && conditionIn(machine, 'HealthCheckSucceeded') === 'False UnhealthyNode';
    });
  assert.equal(conditionIn(await healthCheck(), 'RemediationAllowed'), 'False TooManyUnhealthy');
  await assertKept(before);
  const [healed = '', ...rest] = broken;
  await say(healed, PROVEN);
  await replaced(before, ...rest);
});

it('replaces none that is annotated while the installer works, whose reason it does not read', async () => {
  const before = await nodes();
  const [installing = '', witness = ''] = before;
  const name = (await machineOf(installing))?.metadata.name ?? '';
  const annotate = (annotation: string) =>
    cluster.kubectl(['annotate', 'machines.cluster.x-k8s.io', name, annotation]);
  await annotate('cluster.x-k8s.io/skip-remediation=');
  await healthy(SIZE - 1, SIZE - 1);
  await say(installing, verdict('False', 'InstallationUnderWay'), LONG);
  await say(witness, FAILED); // is seen after the other
  await healthy(SIZE - 2, SIZE - 1);
  await assertKept(before);
  await annotate('cluster.x-k8s.io/skip-remediation-');
  await replaced(before, installing);
});
