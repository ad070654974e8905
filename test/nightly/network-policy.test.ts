import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Cluster } from '../../cluster/cluster.ts';
import { addressOf, SERVICE_ADDRESS } from '../../cluster/plan/addresses.ts';
import { evaluationPod } from '../../cluster/pods.ts';
import { startKubeRouter } from '../../cluster/services/kube-router.ts';
import { imageName } from '../../cluster/tools/images.ts';
import { ensureTools } from '../../cluster/tools/tools.ts';
import { CHART, copyManifests } from '../../hack/chart.ts';
import { patient, waitFor } from '../../hack/run.ts';
import type { Status } from '../../lib/report/report.ts';
import { agentOn, getFromAgentForwarded, getFromPod, waitForNode } from '../e2e/agents.ts';
import { createNamespace, startPod, useOwnCluster } from '../e2e/e2e-cluster.ts';
import { fleetPods, readFleet } from '../e2e/fleet-cluster.ts';
import { runWithKubectl, TEST_PASSED, UNINSTALLED } from '../e2e/installation.ts';
import { plugin } from '../kubectl/run-plugin.ts';

const NODES = [
  { name: 'node-1', containerd: '2', gvisor: 'current' },
  { name: 'node-2', containerd: '2', gvisor: 'none' },
] as const;
/** Each has a pod `test-client` on node-2, which sends requests to the agent on node-1. */
const NAMESPACES = ['gvisor-ready', 'default', 'monitoring'] as const;
const API = `https://${SERVICE_ADDRESS}/livez`;
const REFUSED = 'ECONNREFUSED';
const LONG = { timeout: patient(300_000) };
/** A namespace of another tenant, with a pod outside gVisor on node-2. */
const TENANT = 'tenant-b';
const POD = 'secret-job';

let cluster: Cluster;
useOwnCluster(
  'deny',
  NODES,
  async (started) => {
    cluster = started;
    await startKubeRouter(cluster);
    for (const name of ['gvisor-ready', 'monitoring', TENANT]) await createNamespace(cluster, name);
    await enforce('restricted');
    await applyPolicy('default-deny', { podSelector: {}, policyTypes: ['Ingress', 'Egress'] });
    for (const namespace of NAMESPACES) await runPod(namespace, 'test-client');
    await runPod(TENANT, POD);
    await cluster.kubectl(['label', 'namespace', TENANT, 'gvisor-ready.dev/require=true']);
  },
  ['agent'],
);

const enforce = (level: string) => {
  const label = `pod-security.kubernetes.io/enforce=${level}`;
  return cluster.kubectl(['label', '--overwrite', 'namespace', 'gvisor-ready', label]);
};

/** Applies a NetworkPolicy in the namespace of the agents. */
function applyPolicy(name: string, spec: object): Promise<string> {
  const metadata = { name, namespace: 'gvisor-ready' };
  const policy = { apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', metadata, spec };
  return cluster.kubectl(['apply', '-f', '-'], JSON.stringify(policy));
}

const helm = async (...args: readonly string[]) => {
  const tools = await ensureTools(['helm-3']);
  await copyManifests();
  return runWithKubectl(cluster, `exec 2>&1\nhelm ${args.join(' ')} -n gvisor-ready`, [tools['helm-3']]);
};
const set = (values: string) =>
  helm('upgrade', 'gvisor-ready', CHART, '--reuse-values', '--set', `'${values}'`);

/** Runs a pod of the agents' image on node-2 that complies with Pod Security "restricted". */
function runPod(namespace: string, name: string): Promise<void> {
  const pod = evaluationPod(name, {
    gvisor: false,
    spec: {
      nodeName: 'node-2',
      securityContext: { runAsNonRoot: true, runAsUser: 65534, seccompProfile: { type: 'RuntimeDefault' } },
    },
    container: {
      image: imageName('agent'),
      command: ['/usr/local/bin/node', '--eval', 'setInterval(() => {}, 60_000)'],
      securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } },
    },
  });
  return startPod(cluster, namespace, name, pod);
}

/** Requests a URL from a pod; returns the status code or the error code. */
async function statusFrom(namespace: string, pod: string, url: string): Promise<string> {
  const script = `process.env.NODE_TLS_REJECT_UNAUTHORIZED = 0;
    fetch('${url}').then(({ status }) => status, ({ cause }) => cause.code).then(console.log);`;
  const node = ['/usr/local/bin/node', '--no-warnings', '--eval', script];
  return (await cluster.kubectl(['exec', '-n', namespace, pod, '--', ...node])).trim();
}

/** Sends requests from the client pod of the namespace default. */
async function readAsTenant(...urls: readonly string[]) {
  const script = `Promise.all(${JSON.stringify(urls)}.map(async (url) => {
    const response = await fetch(url, { redirect: 'manual' });
    return { url, code: response.status, body: await response.text() };
  })).then((all) => console.log(JSON.stringify(all)));`;
  const node = ['/usr/local/bin/node', '--no-warnings', '--eval', script];
  const text = await cluster.kubectl(['exec', '-n', 'default', 'test-client', '--', ...node]);
  return JSON.parse(text) as { url: string; code: number; body: string }[];
}

async function fleetPod() {
  const [pod] = await fleetPods(cluster);
  assert.ok(pod !== undefined);
  return pod;
}

const statusFromAgent = async (url: string) =>
  statusFrom('gvisor-ready', (await agentOn(cluster, 'node-1')).name, url);

/** Requests /metrics of the agent on node-1 from the client pod of a namespace. */
const scrape = async (namespace: (typeof NAMESPACES)[number]) =>
  statusFrom(namespace, 'test-client', `http://${(await agentOn(cluster, 'node-1')).address}:9477/metrics`);

/** Waits until kube-router has applied a change. */
const becomes = (what: string, status: string, send: () => Promise<string>) =>
  waitFor(`${status} from ${what}`, 30_000, async () => (await send()) === status);

describe('the chart with Helm 3, in a namespace with default-deny policies', () => {
  it('starts in a network that enforces policies', LONG, async () => {
    await becomes('the API server', REFUSED, () => statusFrom('gvisor-ready', 'test-client', API));
    assert.equal(await statusFrom('default', 'test-client', API), '200');
  });

  it('starts agents once the namespace has the label that its notes ask for', LONG, async () => {
    const components = ['taint', 'enforce'].flatMap((name) => ['--set', `${name}.enabled=true`]);
    const notes = await helm('install', 'gvisor-ready', CHART, ...components);
    await waitFor('a refusal of Pod Security', 60_000, async () => {
      const events = await cluster.kubectl(['get', 'events', '-n', 'gvisor-ready']);
      return /FailedCreate.*violates PodSecurity/.test(events);
    });
    const [remedy] = /^ +kubectl label .*$/m.exec(notes) ?? [];
    assert.ok(remedy !== undefined, notes);
    await runWithKubectl(cluster, remedy);
    await waitForNode(cluster, 'node-1', ({ condition }) => condition === 'True SandboxProven');
    await waitForNode(cluster, 'node-2', ({ condition }) => condition === 'False HandlerNotConfigured');
  });

  it('allows agents only the API server, and only Prometheus to scrape them', LONG, async () => {
    const kubelet = `https://${addressOf(cluster.node('node-2').spec)}:10250/`;
    assert.match(await statusFrom('default', 'test-client', kubelet), /^4\d\d$/);
    await becomes('a kubelet', REFUSED, () => statusFromAgent(kubelet));
    assert.equal(await statusFromAgent(API), '200');
    await becomes('the agent', REFUSED, () => scrape('default'));
    assert.equal(await scrape('monitoring'), '200');
    const { address } = await fleetPod();
    assert.equal(await statusFrom('default', 'test-client', `http://${address}:9478/metrics`), REFUSED);
    assert.equal(await statusFrom('monitoring', 'test-client', `http://${address}:9478/metrics`), '200');
    await waitFor("the fleet controller to read the agent's report", 60_000, async () => {
      const { nodes } = await readFleet(cluster);
      return nodes.some(({ name, provenAt }) => name === 'node-1' && provenAt !== '');
    });
  });

  it('allows scraping only from networkPolicy.namespaces', LONG, async () => {
    await set('networkPolicy.enabled=true,networkPolicy.namespaces={default}');
    await becomes('the agent', '200', () => scrape('default'));
    assert.equal(await scrape('monitoring'), REFUSED);
    assert.equal(await statusFromAgent(API), '200');
  });

  /** Names and uid of the other tenant's pod. */
  async function secrets(): Promise<readonly string[]> {
    const uid = await cluster.kubectl(['get', 'pod', '-n', TENANT, POD, '-o', 'jsonpath={.metadata.uid}']);
    return [TENANT, POD, uid];
  }

  it('hides the pods of other tenants on every path of both ports without a policy', LONG, async () => {
    const report = await waitFor('the agent to see the pod', 60_000, async () => {
      const { text } = await getFromAgentForwarded(cluster, 'node-2', '/report');
      return text.includes(POD) ? text : undefined;
    });
    const hidden = await secrets();
    for (const secret of hidden) assert.ok(report.includes(secret), secret);
    const { evidence } = (JSON.parse(report) as Status).pods?.violating[0] ?? {};
    assert.match(evidence ?? '', /^process \d+ is "/);
    const agents = await Promise.all(['node-1', 'node-2'].map((node) => agentOn(cluster, node)));
    const ofAgent = ['/', '/report', '/metrics', '/livez', '/readyz', '/other'];
    const responses = await readAsTenant(
      ...agents.flatMap(({ address }) => ofAgent.map((path) => `http://${address}:9477${path}`)),
    );
    for (const { url, body } of responses)
      for (const secret of [...hidden, 'test-client', evidence ?? ''])
        assert.ok(!body.includes(secret), `${url}: ${secret}`);
    const [page] = responses;
    assert.match(page?.body ?? '', /kubectl gvisor-ready pods/);

    const fleet = await fleetPod();
    const paths = [
      '/',
      '/fleet',
      '/fleet?labels=a',
      '/fleet.js',
      '/nodes/node-2/',
      '/nodes/node-2/report',
      '/other',
    ];
    const readFleetPod = (...from: readonly string[]) =>
      readAsTenant(...from.map((path) => `http://${fleet.address}:9478${path}`));
    for (const { url, code, body } of await readFleetPod(...paths)) {
      assert.equal(code, 403, url);
      assert.doesNotMatch(body, /node-\d/, url);
    }
    for (const { url, code, body } of await readFleetPod('/metrics', '/livez', '/readyz')) {
      assert.equal(code, 200, url);
      for (const secret of hidden) assert.ok(!body.includes(secret), `${url}: ${secret}`);
    }
    const view = await getFromPod(cluster, fleet.name, 9478, '/fleet');
    assert.match(view.text, /"node-2"/);
    const nodePage = await getFromPod(cluster, fleet.name, 9478, '/nodes/node-2/');
    assert.match(nodePage.text, /kubectl gvisor-ready pods/);
    for (const secret of hidden) assert.ok(!nodePage.text.includes(secret), secret);
  });

  it('lets kubectl gvisor-ready list pods despite the policies', LONG, async () => {
    await set('networkPolicy.namespaces={monitoring}');
    await becomes('the agent', REFUSED, () => scrape('default'));
    const { code, out, err } = await plugin(['pods', '-n', TENANT, '--kubeconfig', cluster.kubeconfig]);
    assert.match(out, new RegExp(`^${POD} +no +yes `, 'm'), err);
    assert.equal(code, 1);
    const node = await plugin(['why', 'node-2', '--kubeconfig', cluster.kubeconfig]);
    assert.match(node.out, /HandlerNotConfigured/);
    assert.doesNotMatch(node.out, /its report is unavailable/);
  });

  it('passes its test and uninstalls under Pod Security "restricted"', LONG, async () => {
    await enforce('restricted');
    assert.match(await helm('test', 'gvisor-ready'), TEST_PASSED);
    assert.match(await helm('uninstall', 'gvisor-ready'), UNINSTALLED);
  });
});
