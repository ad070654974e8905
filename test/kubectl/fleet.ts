import type { TestContext } from 'node:test';
import { type AgentStatus, agentStatusOf } from '../../lib/fleet/agent-status.ts';
import { agentPodOf, fleetNodeOf } from '../../lib/fleet/objects.ts';
import { type FleetState, type FleetView, viewFleet } from '../../lib/fleet/view.ts';
import { podCounts } from '../../lib/pods/pod.ts';
import type { Status } from '../../lib/report/report.ts';
import { guardsAmong, manifestGuards } from '../lib/fleet/manifest-guards.ts';
import { EMPTY_FLEET } from '../lib/fleet/simulated-fleet.ts';
import { type FakeApi, fakeApi, refusal } from './fake-api.ts';
import {
  agentObject,
  agentStatus,
  BROKEN,
  brokenKvm,
  brokenStatus,
  kvmReport,
  LABEL_DOMAIN,
  nodeObject,
  sandboxesOf,
  withHandler,
} from './fleet-objects.ts';
import { type PluginResult, type PluginRunOptions, plugin } from './run-plugin.ts';

export type ApiFixture = {
  readonly metadata: { readonly name: string; readonly [key: string]: unknown };
  readonly [key: string]: unknown;
};

export const AGENT_PODS = '/api/v1/namespaces/gvisor-ready/pods';
export const CLASS_LIST = '/apis/node.k8s.io/v1/runtimeclasses';
export const MAIN_CLASS = {
  metadata: { name: 'gvisor' },
  handler: 'runsc',
  scheduling: { nodeSelector: { [`${LABEL_DOMAIN}/ready`]: 'true' } },
};
/** The policies of the agents, of the component `enforce` and of the fleet controller, as manifests/ has them. */
export const { policies: POLICIES, bindings: BINDINGS } = guardsAmong(
  [...manifestGuards().policies, ...manifestGuards().bindings].filter(
    ({ metadata }) => !/inject|enforce-bindings/.test(metadata.name),
  ),
);
/** Where `check` tries pods. */
export const TRY_POD = 'POST /api/v1/namespaces/eval/pods';
const EVAL = { metadata: { name: 'eval', labels: { 'gvisor-ready.dev/require': 'true' } } };
export const ADMISSION = '/apis/admissionregistration.k8s.io/v1';
export const DAEMON_SET_PATH = '/apis/apps/v1/namespaces/gvisor-ready/daemonsets/gvisor-ready-agent';

export const FLEET_PATH = '/apis/apps/v1/namespaces/gvisor-ready/deployments/gvisor-ready-fleet';
export const FLEET_PODS = `${AGENT_PODS}?labelSelector=app.kubernetes.io/name=gvisor-ready,app.kubernetes.io/component=fleet`;
export const FLEET_VIEW = `${AGENT_PODS}/fleet-1:9478/proxy/fleet`;

const NAMES = ['node-1', 'node-2', 'node-3'];

/** The DaemonSet of agents on three nodes, with HANDLERS. */
export function daemonSet(handlers = '', numberReady = 3, updatedNumberScheduled = 3, taint = '') {
  const env = [
    { name: 'HANDLERS', value: handlers },
    { name: 'TAINT', value: taint },
  ];
  const status = { desiredNumberScheduled: 3, numberReady, updatedNumberScheduled };
  return { spec: { template: { spec: { containers: [{ env }] } } }, status };
}

/** The Deployment of the fleet controller. */
export function fleetDeployment(replicas = 1, readyReplicas = replicas) {
  const containers = [{ image: 'localhost/gvisor-ready:0.1.0' }];
  return { spec: { replicas, template: { spec: { containers } } }, status: { readyReplicas } };
}

/** Serves a cluster of three nodes: two proven, one without its shim; the namespace `eval` requires gVisor. */
export function fleet(api: FakeApi): void {
  api.stubs.set('/version', { major: '1', minor: '36', gitVersion: 'v1.36.3' });
  api.list('/api/v1/nodes', [
    nodeObject('node-1'),
    nodeObject('node-2'),
    nodeObject('node-3', { ...BROKEN, message: 'no shim. What to do: install it' }),
  ]);
  for (const name of NAMES) {
    const nodeNow = () => nodesIn(api).find(({ metadata }) => metadata.name === name) ?? {};
    api.stubs.set(`/api/v1/nodes/${name}`, nodeNow);
    const isLabelled = () => JSON.stringify(nodeNow()).includes(`"${LABEL_DOMAIN}/ready":"true"`);
    api.stubs.set(`${AGENT_PODS}/agent-${name}:9477/proxy/report`, () =>
      name === 'node-3' && !isLabelled() ? brokenStatus(name) : agentStatus(name),
    );
  }
  api.list(
    AGENT_PODS,
    NAMES.map((name) => agentObject(name)),
  );
  api.stubs.set(DAEMON_SET_PATH, daemonSet());
  api.stubs.set(FLEET_PATH, fleetDeployment());
  api.list(FLEET_PODS, [
    {
      metadata: { name: 'fleet-1', ownerReferences: [{ kind: 'ReplicaSet', controller: true }] },
      status: { conditions: [{ type: 'Ready', status: 'True' }] },
    },
  ]);
  api.stubs.set(FLEET_VIEW, () => viewOf(api));
  api.list(CLASS_LIST, [MAIN_CLASS]);
  api.list('/api/v1/namespaces', [EVAL]);
  api.stubs.set('/api/v1/namespaces/eval', EVAL);
  api.stubs.set(`${CLASS_LIST}/gvisor`, MAIN_CLASS);
  api.list('/api/v1/namespaces/eval/pods', []);
  api.stubs.set(TRY_POD, refusal(403, 'the namespace "eval" requires gVisor, and this Pod would break that'));
  api.list('/api/v1/namespaces/eval/events', []);
  api.list(`${ADMISSION}/validatingadmissionpolicies`, POLICIES);
  api.list(`${ADMISSION}/validatingadmissionpolicybindings`, BINDINGS);
}

export const SANDBOXES = '/apis/agents.x-k8s.io/v1beta1/sandboxes';
const EXTENSIONS = '/apis/extensions.agents.x-k8s.io/v1beta1';

/** Unclaimed Sandboxes of agent-sandbox by name, with node and class, and a template without a class. */
export function addWarmPods(
  api: FakeApi,
  sandboxes: Readonly<Record<string, readonly [nodeName: string, runtimeClassName: string]>>,
): void {
  const object = (name: string, spec: object, nodeName?: string) => ({
    metadata: { namespace: 'eval', name },
    spec: { podTemplate: { spec } },
    status: { nodeName },
  });
  api.stubs.set(EXTENSIONS, {});
  api.list(
    SANDBOXES,
    Object.entries(sandboxes).map(([name, [node, runtimeClassName]]) =>
      object(name, { runtimeClassName }, node),
    ),
  );
  api.list(`${EXTENSIONS}/sandboxtemplates`, [
    object('python', { runtimeClassName: 'gvisor' }),
    object('bare', {}),
  ]);
}

type Listed = { readonly items?: readonly never[] };

/** The fleet controller's view of the Nodes, agents and reports of a fake API. */
export function viewOf(api: FakeApi, changes: Partial<FleetState> = {}): FleetView {
  const itemsAt = (path: string) => (api.stubs.get(path) as Listed | null)?.items ?? [];
  const pods = itemsAt(AGENT_PODS).flatMap((pod) => agentPodOf(pod) ?? []);
  const statusOf = (node: string): AgentStatus | undefined => {
    if (!pods.some((pod) => pod.node === node)) return undefined;
    const stub = api.stubs.get(`${AGENT_PODS}/agent-${node}:9477/proxy/report`);
    const report = (typeof stub === 'function' ? stub(new URL('https://fake'), '', 'GET') : stub) as Status;
    if (report?.version === undefined) return { version: '', unread: true };
    return { ...agentStatusOf({ ...report, podCounts: podCounts(report.pods) }, node), readMs: 0 };
  };
  return viewFleet({
    ...EMPTY_FLEET,
    nowMs: 0,
    nodes: itemsAt('/api/v1/nodes').map(fleetNodeOf),
    pods,
    statusOf,
    ...changes,
  });
}

/** The class of an additional handler. */
export const KVM_CLASS = {
  metadata: { name: 'gvisor-kvm' },
  handler: 'runsc-kvm',
  scheduling: { nodeSelector: { [`${LABEL_DOMAIN}/ready-runsc-kvm`]: 'true' } },
};

/**
 * Makes every node sound for the main handler, and adds the handler runsc-kvm: proven on node-1, lost on node-2, and never
 * configured on node-3.
 */
export function addHandler(api: FakeApi): void {
  api.stubs.set(DAEMON_SET_PATH, daemonSet('runsc, runsc-kvm'));
  api.list(CLASS_LIST, [MAIN_CLASS, KVM_CLASS]);
  api.stubs.set(`${CLASS_LIST}/gvisor-kvm`, KVM_CLASS);
  const reports = [kvmReport(), brokenKvm(), brokenKvm('HandlerNotConfigured', 'no file configures it')];
  for (const [at, report] of reports.entries()) {
    const name = `node-${at + 1}`;
    setNode(api, withHandler(nodeObject(name), 'runsc-kvm', at === 0 ? 'true' : 'false', at < 2));
    setReport(api, name, agentStatus(name, {}, { handlers: [report] }));
  }
}

/** Sandboxes hang on node-1 and node-2, and the scan of node-3 is too old. */
export function hangSandboxes(api: FakeApi): void {
  const sandboxes = sandboxesOf(['x', 'ShimUnresponsive']);
  setReport(api, 'node-1', agentStatus('node-1', {}, { sandboxes }));
  const outdated = { ...sandboxesOf(['y', 'SandboxOutdated']), restart: sandboxesOf().restart };
  setReport(api, 'node-2', agentStatus('node-2', {}, { sandboxes: outdated }));
  setNode(api, nodeObject('node-3'));
  setReport(api, 'node-3', agentStatus('node-3', {}, { sandboxes: { ...sandboxes, stale: true } }));
}

function nodesIn(api: FakeApi): readonly ApiFixture[] {
  return (api.stubs.get('/api/v1/nodes') as { readonly items?: readonly ApiFixture[] }).items ?? [];
}

export function setReport(api: FakeApi, node: string, report: object): void {
  api.stubs.set(`${AGENT_PODS}/agent-${node}:9477/proxy/report`, report);
}

/** Replaces one Node in the list. */
export function setNode(api: FakeApi, node: ApiFixture): void {
  const isSame = ({ metadata }: ApiFixture) => metadata.name === node.metadata.name;
  const nodes = nodesIn(api).map((each) => (isSame(each) ? node : each));
  api.list('/api/v1/nodes', nodes);
}

/** A fake API server with the fleet, and the plugin run against it; arguments are separated by spaces. */
export async function openFleet(t: TestContext) {
  const { api, kubeconfig, directory } = await fakeApi(t);
  fleet(api);
  const run = (argv: string, options: PluginRunOptions = {}): Promise<PluginResult> =>
    plugin([...argv.split(' '), '--kubeconfig', kubeconfig], options);
  return { api, run, kubeconfig, directory };
}

export type Fleet = Awaited<ReturnType<typeof openFleet>>;

const TONES: Readonly<Record<string, string>> = { '✗': 'fail', '!': 'warning', '?': 'unknown' };

/** Runs `check`, and returns the exit code with the lines that did not pass. */
export async function runCheck({ run }: Fleet, argv = 'check') {
  const { code, out } = await run(argv);
  const found = [...out.replace(/\n {2}(?!see )/g, ' ').matchAll(/^([✗!?]) (.*)$/gm)];
  return { code, lines: found.map(([, mark = '', text]) => `${TONES[mark]}: ${text}`) };
}
