import { fail, pass } from '../../agent/finding.ts';
import type { Status } from '../../agent/report.ts';
import { finding, reportOf, unproven, verdictOf } from '../agent/reports.ts';
import type { FakeApi } from './fake-api.ts';

const DOMAIN = 'gvisor.node-restriction.kubernetes.io';
const PODS = '/api/v1/namespaces/gvisor-ready/pods';

/** A Node of the API with what an agent wrote there. */
export function nodeOf(
  name: string,
  said: {
    readonly ready?: string;
    readonly status?: string;
    readonly reason?: string;
    readonly message?: string;
    readonly spec?: object;
    readonly runtime?: string;
  } = {},
) {
  const {
    ready = 'true',
    status = 'True',
    reason = 'SandboxProven',
    message = 'booted',
    runtime = 'containerd://2.4.2',
  } = said;
  const own = { type: 'GVisorReady', status, reason, message, lastTransitionTime: '2026-03-01T11:55:00Z' };
  return {
    metadata: {
      name,
      resourceVersion: '7',
      labels: {
        'kubernetes.io/hostname': name,
        ...(ready === ''
          ? {}
          : {
              [`${DOMAIN}/ready`]: ready,
              [`${DOMAIN}/runsc-version`]: 'release-20260223.0',
              [`${DOMAIN}/platform`]: 'systrap',
            }),
      },
      annotations: ready === 'true' ? { [`${DOMAIN}/proven-by`]: '0.1.0+84c18f33' } : {},
    },
    spec: said.spec ?? {},
    status: {
      conditions: [{ type: 'Ready', status: 'True' }, ...(status === '' ? [] : [own])],
      nodeInfo: {
        kubeletVersion: 'v1.36.3',
        containerRuntimeVersion: runtime,
        operatingSystem: 'linux',
        architecture: 'amd64',
      },
    },
  };
}

/** The agent's pod on a node. */
export function agentOf(
  node: string,
  state: { readonly ready?: boolean; readonly waiting?: string; readonly message?: string } = {},
) {
  const { ready = true, waiting, message = '' } = state;
  return {
    metadata: { name: `agent-${node}`, namespace: 'gvisor-ready' },
    spec: {
      nodeName: node,
      containers: [
        { image: 'localhost/gvisor-ready:0.1.0', ports: [{ name: 'metrics', containerPort: 9477 }] },
      ],
    },
    status: {
      phase: waiting === undefined ? 'Running' : 'Pending',
      conditions: [{ type: 'Ready', status: ready && waiting === undefined ? 'True' : 'False' }],
      containerStatuses: [
        { state: waiting === undefined ? { running: {} } : { waiting: { reason: waiting, message } } },
      ],
    },
  };
}

/** A running pod of the namespace `eval`. */
export function podOf(name: string, spec: object = {}, status: object = { phase: 'Running' }) {
  return {
    metadata: { name, namespace: 'eval', uid: `uid-${name}` },
    spec: { nodeName: 'node-1', ...spec },
    status,
  };
}

/** A report, with the uids of pods in gVisor and the names of those outside of it. */
export function statusOf(
  node: string,
  pods: { readonly inside?: readonly string[]; readonly outside?: readonly string[] } = {},
  changes: Partial<Status> = {},
): Status {
  const outside = (pods.outside ?? []).map((name) => ({
    namespace: 'eval',
    name,
    uid: `uid-${name}`,
    handler: '',
    sandboxed: false,
    evidence: 'process 812 is "/pause"',
  }));
  return {
    ...reportOf({
      node,
      look: { ...reportOf().look, at: '2026-03-01T11:59:30Z' },
      provenAt: '2026-03-01T11:58:00Z',
    }),
    pods: {
      at: '2026-03-01T11:59:58Z',
      stale: false,
      running: 1,
      requirementsKnown: true,
      forbidden: outside,
      allowed: [],
      untold: [],
      inside: (pods.inside ?? []).map((name) => `uid-${name}`),
    },
    ...changes,
  };
}

/** The report of a node whose shim is gone. */
export function brokenStatus(node: string): Status {
  const message =
    'containerd does not find the shim of "io.containerd.runsc.v1": failed to run [/usr/local/bin/containerd-shim-runsc-v1 -info]';
  const verdict = verdictOf('False', 'ShimNotFound');
  return statusOf(
    node,
    {},
    {
      verdict: { ...verdict, message },
      findings: [
        finding(pass('Linux 6.8.0 on x64'), 'kernel'),
        finding(pass('containerd 2.4.2 is ready'), 'containerd'),
        finding(
          fail('ShimNotFound', 'there is no containerd-shim-runsc-v1 in the usual folders', [
            {
              file: '/etc/containerd/config.toml',
              line: 12,
              value: 'runtime_type = "io.containerd.runsc.v1"',
            },
          ]),
          'shim',
        ),
      ],
      proof: unproven('failed', 'ShimNotFound'),
    },
  );
}

const CLASS = {
  metadata: { name: 'gvisor' },
  handler: 'runsc',
  scheduling: { nodeSelector: { [`${DOMAIN}/ready`]: 'true' } },
};
const policy = (name: string) => ({ metadata: { name }, spec: { failurePolicy: 'Fail' } });
const binding = (name: string, policyName: string) => ({
  metadata: { name },
  spec: { policyName, validationActions: ['Deny'] },
});
const POLICIES = [
  'gvisor-ready-agent',
  'gvisor-ready-agent-events',
  'gvisor-ready-enforce',
  'gvisor-ready-guard-namespace',
  'gvisor-ready-guard-runtimeclass',
];
const ADMISSION = '/apis/admissionregistration.k8s.io/v1';
/** The path of the DaemonSet of the agents. */
export const DAEMON_SET = '/apis/apps/v1/namespaces/gvisor-ready/daemonsets/gvisor-ready-agent';

/** A cluster of three nodes: two proven, one whose shim is gone; `eval` requires gVisor. */
export function fleet(api: FakeApi): void {
  api.behind.set('/version', { major: '1', minor: '36', gitVersion: 'v1.36.3' });
  api.list('/api/v1/nodes', [
    nodeOf('node-1'),
    nodeOf('node-2'),
    nodeOf('node-3', {
      ready: 'false',
      status: 'False',
      reason: 'ShimNotFound',
      message: 'no shim. What to do: install it',
    }),
  ]);
  for (const name of ['node-1', 'node-2', 'node-3']) {
    api.behind.set(`/api/v1/nodes/${name}`, () => nodeIn(api, name));
    api.behind.set(
      `${PODS}/agent-${name}:9477/proxy/report`,
      name === 'node-3' ? brokenStatus(name) : statusOf(name),
    );
  }
  api.list(
    PODS,
    ['node-1', 'node-2', 'node-3'].map((name) => agentOf(name)),
  );
  api.behind.set(DAEMON_SET, {
    spec: { template: { spec: { containers: [{ env: [] }] } } },
    status: { desiredNumberScheduled: 3, numberReady: 3, updatedNumberScheduled: 3 },
  });
  api.list('/apis/node.k8s.io/v1/runtimeclasses', [CLASS]);
  api.list('/api/v1/namespaces', [{ metadata: { name: 'eval', labels: { 'require-gvisor': 'true' } } }]);
  api.list('/api/v1/namespaces/eval/pods', []);
  api.list('/api/v1/namespaces/eval/events', []);
  api.list(`${ADMISSION}/validatingadmissionpolicies`, POLICIES.map(policy));
  api.list(
    `${ADMISSION}/validatingadmissionpolicybindings`,
    POLICIES.map((name) => binding(`${name}-pods`, name)),
  );
}

function nodeIn(api: FakeApi, name: string): object {
  const { items } = api.behind.get('/api/v1/nodes') as { items: readonly { metadata: { name: string } }[] };
  return items.find(({ metadata }) => metadata.name === name) ?? {};
}

/** Puts another report behind an agent. */
export function tell(api: FakeApi, node: string, report: object): void {
  api.behind.set(`${PODS}/agent-${node}:9477/proxy/report`, report);
}

/** Replaces one Node in the list. */
export function setNode(api: FakeApi, node: ReturnType<typeof nodeOf>): void {
  const { items } = api.behind.get('/api/v1/nodes') as { items: readonly { metadata: { name: string } }[] };
  api.list(
    '/api/v1/nodes',
    items.map((each) => (each.metadata.name === node.metadata.name ? node : each)),
  );
}
