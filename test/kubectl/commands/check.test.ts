import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type FakeApi, forbidden } from '../fake-api.ts';
import {
  ADMISSION,
  CLASSES,
  DAEMON_SET,
  openFleet,
  POLICIES,
  runCheck,
  setNode,
  setReport,
} from '../fleet.ts';
import { agentOf, nodeOf, podOf, statusOf } from '../fleet-objects.ts';

const policies = (names: readonly string[], failurePolicy = 'Fail') =>
  names.map((name) => ({ metadata: { name }, spec: { failurePolicy } }));
/** Removes a policy. */
const without = (name: string) => (api: FakeApi) =>
  api.list(`${ADMISSION}/validatingadmissionpolicies`, policies(POLICIES.filter((each) => each !== name)));
/** Replaces a text in all bindings, and in the policies too. */
const rename = (api: FakeApi, from: string, to: string) => {
  for (const path of ['validatingadmissionpolicies', 'validatingadmissionpolicybindings']) {
    const { items } = api.stubs.get(`${ADMISSION}/${path}`) as { items: object[] };
    api.list(`${ADMISSION}/${path}`, JSON.parse(JSON.stringify(items).replaceAll(from, to)) as object[]);
  }
};

/** A change of a sound fleet, the exit code, and the lines that do not pass. */
const CASES: readonly (readonly [
  what: string,
  change: (api: FakeApi) => void,
  code: number,
  ...lines: readonly RegExp[],
])[] = [
  ['a sound fleet', () => {}, 0],
  [
    'an old Kubernetes',
    (api) => api.stubs.set('/version', { major: '1', minor: '29+', gitVersion: 'v1.29.1' }),
    1,
    /^fail: The API server is v1\.29\.1: the policies need 1\.30 or newer$/,
  ],
  ['no RuntimeClass', (api) => api.list(CLASSES, []), 1, /^fail: No RuntimeClass has the handler "runsc"/],
  [
    'a RuntimeClass without selector',
    (api) => api.list(CLASSES, [{ metadata: { name: 'gvisor' }, handler: 'runsc' }]),
    1,
    /^fail: The RuntimeClass "gvisor" has the handler "runsc" and no node selector/,
  ],
  [
    'agents of another handler',
    (api) =>
      api.stubs.set(DAEMON_SET, {
        spec: { template: { spec: { containers: [{ env: [{ name: 'HANDLER', value: 'gvisor-kvm' }] }] } } },
        status: { desiredNumberScheduled: 3, numberReady: 3, updatedNumberScheduled: 3 },
      }),
    1,
    /^fail: No RuntimeClass has the handler "gvisor-kvm"/,
    /^fail: The RuntimeClass "gvisor" has the handler "runsc", and the agents prove "gvisor-kvm"/,
  ],
  [
    'no DaemonSet',
    (api) => void api.stubs.delete(DAEMON_SET),
    1,
    /^fail: There is no DaemonSet gvisor-ready\/gvisor-ready-agent/,
  ],
  [
    'a rollout',
    (api) =>
      api.stubs.set(DAEMON_SET, {
        spec: { template: { spec: { containers: [{}] } } },
        status: { desiredNumberScheduled: 3, numberReady: 2, updatedNumberScheduled: 1 },
      }),
    1,
    /^fail: 2 of 3 agents Ready$/,
    /^warning: A rollout is in progress or held up: 1 of 3 agents of the new version$/,
  ],
  [
    'a label without agent',
    (api) =>
      api.list('/api/v1/namespaces/gvisor-ready/pods', [
        agentOf('node-1'),
        agentOf('node-2'),
        agentOf('node-3', { waiting: 'ErrImagePull' }),
      ]),
    1,
    /^fail: Labelled ready without a Ready agent: node-3/,
  ],
  [
    'agents of another version',
    (api) =>
      setNode(api, {
        ...nodeOf('node-2'),
        metadata: {
          ...nodeOf('node-2').metadata,
          annotations: { 'gvisor.node-restriction.kubernetes.io/proven-by': '0.0.9+x' },
        },
      }),
    0,
    /^warning: Agents have version 0\.0\.9, 0\.1\.0, this plugin has 0\.1\.0$/,
  ],
  [
    'a node that is not ready',
    (api) => setNode(api, nodeOf('node-2', { ready: 'false', status: 'False', reason: 'RunscNotFound' })),
    0,
    /^warning: Not ready: node-2 \(RunscNotFound\)$/,
  ],
  [
    'a node in a grace period',
    (api) => setNode(api, nodeOf('node-2', { status: 'Unknown', reason: 'SandboxSlow' })),
    0,
    /^warning: Ready in a grace period: node-2 \(SandboxSlow\)$/,
  ],
  [
    'no proven node',
    (api) =>
      ['node-1', 'node-2', 'node-3'].forEach(
        (name) => void setNode(api, nodeOf(name, { ready: '', status: '' })),
      ),
    1,
    /^fail: gVisor is proven on no node/,
  ],
  [
    'a missing policy of the base',
    without('gvisor-ready-agent'),
    1,
    /^fail: The policy gvisor-ready-agent is not installed: an agent could write other nodes/,
  ],
  [
    'a missing guard of the label',
    without('gvisor-ready-node-keys'),
    1,
    /^fail: The policy gvisor-ready-node-keys is not installed: every user who may patch a Node can label it as proven$/,
  ],
  [
    'policies with the prefix of a kustomization',
    (api) => rename(api, '"gvisor-ready-', '"p-gvisor-ready-'),
    0,
  ],
  [
    'pending pods older than the label',
    (api) => {
      const waits = (name: string, spec: object) => ({ ...podOf(name), spec, status: { phase: 'Pending' } });
      api.stubs.set('/api/v1/namespaces/eval/pods', (url: URL) => ({
        items:
          url.searchParams.get('fieldSelector') === 'status.phase=Pending'
            ? [
                waits('unscheduled', {}),
                waits('held', { nodeName: 'node-1', runtimeClassName: 'plain' }),
                waits('sandboxed', { runtimeClassName: 'gvisor' }),
              ]
            : [],
        metadata: { resourceVersion: '1' },
      }));
    },
    1,
    /^fail: Older than the requirement, and would start outside gVisor: eval\/unscheduled \(waits for a node\), eval\/held \(waits on node-1\)\. Delete them$/,
  ],
  [
    'a policy without binding',
    (api) =>
      api.list(
        `${ADMISSION}/validatingadmissionpolicybindings`,
        POLICIES.filter((name) => name !== 'gvisor-ready-enforce').map((policyName) => ({
          metadata: { name: policyName },
          spec: { policyName, validationActions: ['Deny'] },
        })),
      ),
    1,
    /^fail: The policy gvisor-ready-enforce has no binding, so pods in eval can run outside gVisor$/,
  ],
  [
    'a policy bound to other objects only',
    (api) => rename(api, 'gvisor-ready-enforce-pods', 'gvisor-ready-enforce-runtimeclass'),
    1,
    /^fail: The policy gvisor-ready-enforce has no binding/,
  ],
  [
    'policies that only warn',
    (api) => {
      api.list(`${ADMISSION}/validatingadmissionpolicies`, [
        ...policies(['gvisor-ready-agent', 'gvisor-ready-agent-events', 'gvisor-ready-node-keys']),
        ...policies(['gvisor-ready-enforce', 'gvisor-ready-guard-namespace'], 'Ignore'),
      ]);
      api.list('/api/v1/namespaces', [{ metadata: { name: 'eval', labels: { 'require-gvisor': 'audit' } } }]);
    },
    0,
    /^warning: The policy gvisor-ready-enforce only warns: pods outside gVisor are not denied$/,
  ],
  [
    'a missing guard of namespaces',
    without('gvisor-ready-guard-namespace'),
    1,
    /^fail: The policy gvisor-ready-guard-namespace is not installed: every user who may label a namespace can lift the requirement/,
  ],
  [
    'labels without effect or on system namespaces',
    (api) =>
      api.list('/api/v1/namespaces', [
        { metadata: { name: 'a', labels: { 'require-gvisor': 'yes' } } },
        { metadata: { name: 'kube-system', labels: { 'require-gvisor': 'audit' } } },
      ]),
    1,
    /^fail: The namespace a has require-gvisor: "yes", which has no effect/,
    /^fail: The namespace kube-system is labelled require-gvisor/,
  ],
  [
    'a pod outside gVisor',
    (api) => {
      api.list('/api/v1/namespaces/eval/pods', [podOf('out'), podOf('new')]);
      setReport(api, 'node-1', statusOf('node-1', { outside: ['out'] }));
    },
    1,
    /^fail: Outside gVisor where it is required: eval\/out$/,
    /^unknown: What eval\/new runs in is unknown: the agent has not seen it yet$/,
  ],
  [
    'a pod with a way out to the host',
    (api) => {
      api.list('/api/v1/namespaces/eval/pods', [podOf('open')]);
      setReport(api, 'node-1', statusOf('node-1', { open: ['open'] }));
    },
    1,
    /^fail: In gVisor with a way out to the host, where gVisor is required: eval\/open$/,
  ],
  [
    'a missing permission',
    (api) => api.stubs.set(CLASSES, forbidden('list', 'runtimeclasses')),
    2,
    /^unknown: The API server refuses GET .*runtimeclasses.*cannot list/,
  ],
];

/** A fleet in which everything passes. */
async function soundFleet(t: Parameters<typeof openFleet>[0]) {
  const fleet = await openFleet(t);
  setNode(fleet.api, nodeOf('node-3'));
  return fleet;
}

describe('check', () => {
  for (const [what, change, expected, ...patterns] of CASES)
    it(`reports ${what}`, async (t) => {
      const fleet = await soundFleet(t);
      change(fleet.api);
      const { code, lines } = await runCheck(fleet);
      assert.equal(code, expected, lines.join('\n'));
      assert.equal(lines.length, patterns.length, lines.join('\n'));
      for (const [at, pattern] of patterns.entries()) assert.match(lines[at] ?? '', pattern);
    });

  it('prints each line with its page under its section', async (t) => {
    const { run } = await soundFleet(t);
    const { out } = await run('check');
    assert.match(
      out,
      /^Kubernetes\n✓ The API server is v1\.36\.3; 1\.30 or newer is needed\n {2}docs\/admission\.md\n\nRuntimeClass\n✓ /,
    );
    assert.match(out, /\n\n12 passed\.\n$/);
  });

  it('prints one line when the API server is down', async (t) => {
    const { run, api } = await openFleet(t);
    api.close();
    const { code, out, err } = await run('check');
    assert.deepEqual([code, out, err.trim().split('\n').length], [2, '', 1]);
  });
});
