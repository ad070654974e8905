import { forbidden } from './fake-api.ts';
import { DAEMON_SET, setNode, tell } from './fleet.ts';
import { agentOf, nodeOf, podOf, statusOf } from './fleet-objects.ts';
import type { Fleet } from './open-fleet.ts';

const ADMISSION = '/apis/admissionregistration.k8s.io/v1';
const CLASSES = '/apis/node.k8s.io/v1/runtimeclasses';

const policies = (names: readonly string[], spec: object = { failurePolicy: 'Fail' }) =>
  names.map((name) => ({ metadata: { name }, spec }));

/** What is changed, and what is said then, with the exit code. */
export const CASES: readonly (readonly [
  what: string,
  change: (fleet: Fleet) => void,
  code: number,
  ...lines: readonly RegExp[],
])[] = [
  ['nothing', () => {}, 0],
  [
    'an old Kubernetes',
    ({ api }) => api.behind.set('/version', { major: '1', minor: '29+', gitVersion: 'v1.29.1' }),
    1,
    /^fail: The API server is v1\.29\.1: the policies need 1\.30 or newer$/,
  ],
  [
    'no RuntimeClass',
    ({ api }) => api.list(CLASSES, []),
    1,
    /^fail: No RuntimeClass has the handler "runsc"/,
  ],
  [
    'a RuntimeClass without selector',
    ({ api }) => api.list(CLASSES, [{ metadata: { name: 'gvisor' }, handler: 'runsc' }]),
    1,
    /^fail: The RuntimeClass "gvisor" has the handler "runsc" and no node selector/,
  ],
  [
    'another handler of the agents',
    ({ api }) =>
      api.behind.set(DAEMON_SET, {
        spec: { template: { spec: { containers: [{ env: [{ name: 'HANDLER', value: 'gvisor-kvm' }] }] } } },
        status: { desiredNumberScheduled: 3, numberReady: 3, updatedNumberScheduled: 3 },
      }),
    1,
    /^fail: No RuntimeClass has the handler "gvisor-kvm"/,
    /^fail: The RuntimeClass "gvisor" has the handler "runsc", and the agents prove "gvisor-kvm"/,
  ],
  [
    'no DaemonSet',
    ({ api }) => void api.behind.delete(DAEMON_SET),
    1,
    /^fail: There is no DaemonSet gvisor-ready\/gvisor-ready-agent/,
  ],
  [
    'a rollout',
    ({ api }) =>
      api.behind.set(DAEMON_SET, {
        spec: { template: { spec: { containers: [{}] } } },
        status: { desiredNumberScheduled: 3, numberReady: 2, updatedNumberScheduled: 1 },
      }),
    1,
    /^fail: 2 of 3 agents Ready$/,
    /^warning: A rollout is on its way or held up: 1 of 3 agents of the new version$/,
  ],
  [
    'an agent that does not run',
    ({ api }) =>
      api.list('/api/v1/namespaces/gvisor-ready/pods', [
        agentOf('node-1'),
        agentOf('node-2'),
        agentOf('node-3', { waiting: 'ErrImagePull' }),
      ]),
    1,
    /^fail: The label says ready without a Ready agent on node-3/,
  ],
  [
    'agents of another version',
    ({ api }) =>
      setNode(api, {
        ...nodeOf('node-2'),
        metadata: {
          ...nodeOf('node-2').metadata,
          annotations: { 'gvisor.node-restriction.kubernetes.io/proven-by': '0.0.9+x' },
        },
      }),
    0,
    /^warning: Agents are of version 0\.0\.9, 0\.1\.0, this plugin is 0\.1\.0$/,
  ],
  [
    'a node that is not ready',
    ({ api }) => setNode(api, nodeOf('node-2', { ready: 'false', status: 'False', reason: 'RunscNotFound' })),
    0,
    /^warning: Not ready: node-2 \(RunscNotFound\)$/,
  ],
  [
    'a node that is ready for now',
    ({ api }) => setNode(api, nodeOf('node-2', { status: 'Unknown', reason: 'SandboxSlow' })),
    0,
    /^warning: Ready for now, and not known: node-2 \(SandboxSlow\)$/,
  ],
  [
    'no proven node',
    ({ api }) =>
      ['node-1', 'node-2', 'node-3'].forEach(
        (name) => void setNode(api, nodeOf(name, { ready: '', status: '' })),
      ),
    1,
    /^fail: gVisor is proven on no node/,
  ],
  [
    'policies of the base that are gone',
    ({ api }) =>
      api.list(
        `${ADMISSION}/validatingadmissionpolicies`,
        policies([
          'gvisor-ready-agent-events',
          'gvisor-ready-node-keys',
          'gvisor-ready-enforce',
          'gvisor-ready-guard-namespace',
        ]),
      ),
    1,
    /^fail: The policy gvisor-ready-agent is not installed: an agent could write other nodes/,
  ],
  [
    'a policy that guards the label that is gone',
    ({ api }) =>
      api.list(
        `${ADMISSION}/validatingadmissionpolicies`,
        policies([
          'gvisor-ready-agent',
          'gvisor-ready-agent-events',
          'gvisor-ready-enforce',
          'gvisor-ready-guard-namespace',
        ]),
      ),
    1,
    /^fail: The policy gvisor-ready-node-keys is not installed: every user who may patch a Node can label it as proven$/,
  ],
  [
    'policies to which a kustomization gave a prefix',
    ({ api }) => {
      for (const path of ['validatingadmissionpolicies', 'validatingadmissionpolicybindings']) {
        const { items } = api.behind.get(`${ADMISSION}/${path}`) as { items: object[] };
        const renamed = JSON.stringify(items).replaceAll('"gvisor-ready-', '"p-gvisor-ready-');
        api.list(`${ADMISSION}/${path}`, JSON.parse(renamed) as object[]);
      }
    },
    0,
  ],
  [
    'pods that are older than the label and have not started',
    ({ api }) => {
      const waits = (name: string, spec: object) => ({ ...podOf(name), spec, status: { phase: 'Pending' } });
      api.behind.set('/api/v1/namespaces/eval/pods', (url: URL) => ({
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
    /^fail: Older than the requirement, and would start outside of gVisor: eval\/unscheduled \(waits for a node\), eval\/held \(waits on node-1\)\. Delete them$/,
  ],
  [
    'a policy that is bound to nothing',
    ({ api }) =>
      api.list(
        `${ADMISSION}/validatingadmissionpolicybindings`,
        [
          'gvisor-ready-agent',
          'gvisor-ready-agent-events',
          'gvisor-ready-node-keys',
          'gvisor-ready-guard-namespace',
        ].map((policyName) => ({
          metadata: { name: policyName },
          spec: { policyName, validationActions: ['Deny'] },
        })),
      ),
    1,
    /^fail: The policy gvisor-ready-enforce is bound to nothing, so nothing holds pods in eval to gVisor$/,
  ],
  [
    'rules that refuse other objects alone',
    ({ api }) => {
      const { items } = api.behind.get(`${ADMISSION}/validatingadmissionpolicybindings`) as {
        items: object[];
      };
      const others = JSON.stringify(items).replace(
        'gvisor-ready-enforce-pods',
        'gvisor-ready-enforce-runtimeclass',
      );
      api.list(`${ADMISSION}/validatingadmissionpolicybindings`, JSON.parse(others) as object[]);
    },
    1,
    /^fail: The policy gvisor-ready-enforce is bound to nothing/,
  ],
  [
    'policies that only warn',
    ({ api }) => {
      api.list(`${ADMISSION}/validatingadmissionpolicies`, [
        ...policies(['gvisor-ready-agent', 'gvisor-ready-agent-events', 'gvisor-ready-node-keys']),
        ...policies(['gvisor-ready-enforce', 'gvisor-ready-guard-namespace'], { failurePolicy: 'Ignore' }),
      ]);
      api.list('/api/v1/namespaces', [{ metadata: { name: 'eval', labels: { 'require-gvisor': 'audit' } } }]);
    },
    0,
    /^warning: The policy gvisor-ready-enforce only warns: pods outside of gVisor are not refused$/,
  ],
  [
    'a guard that is gone',
    ({ api }) =>
      api.list(
        `${ADMISSION}/validatingadmissionpolicies`,
        policies([
          'gvisor-ready-agent',
          'gvisor-ready-agent-events',
          'gvisor-ready-node-keys',
          'gvisor-ready-enforce',
        ]),
      ),
    1,
    /^fail: The policy gvisor-ready-guard-namespace is not installed: every user who may label a namespace can lift the requirement/,
  ],
  [
    'labels that are wrong or unwise',
    ({ api }) =>
      api.list('/api/v1/namespaces', [
        { metadata: { name: 'a', labels: { 'require-gvisor': 'yes' } } },
        { metadata: { name: 'kube-system', labels: { 'require-gvisor': 'audit' } } },
      ]),
    1,
    /^fail: The namespace a has require-gvisor: "yes", which requires nothing/,
    /^fail: The namespace kube-system is labelled require-gvisor/,
  ],
  [
    'a pod outside of gVisor',
    ({ api }) => {
      api.list('/api/v1/namespaces/eval/pods', [podOf('out'), podOf('new')]);
      tell(api, 'node-1', statusOf('node-1', { outside: ['out'] }));
    },
    1,
    /^fail: Outside of gVisor where it is required: eval\/out$/,
    /^unknown: It is not known what eval\/new runs in: the agent has not seen it yet$/,
  ],
  [
    'a pod with a way out of gVisor',
    ({ api }) => {
      api.list('/api/v1/namespaces/eval/pods', [podOf('open')]);
      tell(api, 'node-1', statusOf('node-1', { open: ['open'] }));
    },
    1,
    /^fail: With a way out of gVisor where it is required: eval\/open$/,
  ],
  [
    'a right that is missing',
    ({ api }) => api.behind.set(CLASSES, forbidden('list', 'runtimeclasses')),
    2,
    /^unknown: The API server refuses GET .*runtimeclasses.*cannot list/,
  ],
];
