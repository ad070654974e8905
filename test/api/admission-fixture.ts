import type { Cluster } from '../../cluster/cluster.ts';
import {
  container,
  FLAG,
  hostPath,
  pod,
  privileged,
  WORKLOADS,
  type Workload,
  workload,
} from './admission-objects.ts';
import { certificateUser, tokenUser } from './api-user.ts';
import { account, bind, clusterRole, namespaceObject, serviceAccount, user } from './rbac-objects.ts';

const REQUIRED = { 'require-gvisor': 'true' };
const CONSENT = { 'allow-host-kernel': 'true' };
/** The namespaces of the tests, older than the policies, and their labels. */
const NAMESPACES: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  strict: REQUIRED,
  another: REQUIRED,
  audited: { 'require-gvisor': 'audit' },
  declined: { 'require-gvisor': 'false' },
  mistyped: { 'require-gvisor': 'yes', 'Require-gVisor': 'true', 'allow-host-kernel': 'yes' },
  free: {},
  both: { ...REQUIRED, ...CONSENT },
  consenting: CONSENT,
  'kube-labelled': REQUIRED,
  'gvisor-ready': REQUIRED,
  // names that only resemble those of the system
  'no-kube-system': REQUIRED,
  'gvisor-ready-too': REQUIRED,
};

/** Users by their rights. */
export const USERS = {
  /** system:masters */
  admin: (cluster: Cluster) => certificateUser(cluster, 'root', ['system:masters']),
  /** everything in the namespace `strict`, including its Namespace object */
  owner: (cluster: Cluster) => certificateUser(cluster, 'owner'),
  /** namespaces and runtime classes of the whole cluster, without the right to lift */
  operator: (cluster: Cluster) => certificateUser(cluster, 'operator'),
  /** the same, and the right to lift */
  lifter: (cluster: Cluster) => certificateUser(cluster, 'lifter'),
  /** the same as the operator, and the right to lift for the namespace `strict` only */
  single: (cluster: Cluster) => certificateUser(cluster, 'single'),
  /** the same as the operator, and the right to delete namespaces that require gVisor */
  deleter: (cluster: Cluster) => certificateUser(cluster, 'deleter'),
  /** a program with the ClusterRole `edit` in the namespace `strict` */
  dispatcher: (cluster: Cluster) => tokenUser(cluster, 'strict', 'dispatcher'),
  /** a program whose writes are in the audit log: `edit` everywhere, and the rights of the operator */
  logged: (cluster: Cluster) => tokenUser(cluster, 'gvisor-ready', 'logged'),
  kubelet: (cluster: Cluster) => certificateUser(cluster, 'system:node:node-9', ['system:nodes']),
} as const;

const runtimeClass = (name: string, part: object = {}) => ({
  apiVersion: 'node.k8s.io/v1',
  kind: 'RuntimeClass',
  metadata: { name },
  handler: 'runsc',
  ...part,
});
const verbs = ['get', 'list', 'create', 'update', 'patch', 'delete'];
const namespaces = ['namespaces', 'namespaces/status', 'namespaces/finalize'];
const [dispatcher, logged] = [account('dispatcher', 'strict'), account('logged', 'gvisor-ready')];

/** Namespaces, a node without a kubelet, runtime classes, roles and their bindings. */
export const OBJECTS: readonly object[] = [
  ...Object.entries(NAMESPACES).map(([name, labels]) => namespaceObject(name, labels)),
  { apiVersion: 'v1', kind: 'Node', metadata: { name: 'node-9' } },
  runtimeClass('gvisor', { overhead: { podFixed: { memory: '32Mi' } } }),
  ...['gvisor-x', 'gvisor-gpu', 'plain'].map((name) => runtimeClass(name)),
  ...[dispatcher, logged].map(({ name, namespace }) => serviceAccount(name, namespace)),
  clusterRole('everything', { apiGroups: ['*'], resources: ['*'], verbs: ['*'] }),
  clusterRole(
    'operator',
    { resources: namespaces, verbs },
    { apiGroups: ['node.k8s.io'], resources: ['runtimeclasses'], verbs },
  ),
  clusterRole('delete-required', { resources: ['namespaces'], verbs: ['delete-gvisor-namespace'] }),
  clusterRole('lift-strict', {
    resources: ['namespaces'],
    resourceNames: ['strict'],
    verbs: ['manage-gvisor-requirement'],
  }),
  bind('everything', [user('owner')], 'strict'),
  bind('edit', [dispatcher], 'strict'),
  bind('edit', [logged]),
  bind('operator', [...['operator', 'lifter', 'single', 'deleter'].map(user), logged]),
  bind('gvisor-ready-requirement', [user('lifter')]),
  bind('lift-strict', [user('single')]),
  bind('delete-required', [user('deleter')]),
];

const ungated = { schedulingGates: undefined };
const onNode = { ...ungated, nodeName: 'node-9', tolerations: [{ operator: 'Exists' }] };
const gates = ['example.com/first', 'example.com/second'].map((name) => ({ name }));

/** Pods that are older than the policies. Those of `pod()` have a scheduling gate. */
const PODS = {
  /** comply with the rules */
  gated: pod({ spec: container({ resources: { requests: { cpu: '1m' } } }) }),
  ungated: pod({ spec: ungated }),
  bound: pod({ spec: onNode }),
  /** violate the rules */
  'old-plain': pod({ spec: { ...onNode, runtimeClassName: undefined } }),
  'old-ungated': pod({ spec: { ...ungated, runtimeClassName: undefined } }),
  'old-gated': pod({
    spec: {
      schedulingGates: gates,
      runtimeClassName: undefined,
      initContainers: [{ name: 'first', image: 'localhost/none' }],
    },
  }),
  'old-flag': pod({ annotations: { [FLAG]: 'host' } }),
  'old-host': pod({ spec: hostPath }),
  'old-many': pod({
    annotations: Object.fromEntries(Array.from({ length: 1_001 }, (_, at) => [`a${at}`, ''])),
  }),
  'old-port': pod({
    spec: container({
      ...privileged,
      ports: [{ containerPort: 80, hostPort: 80 }],
      livenessProbe: { tcpSocket: { port: 80, host: 'a' } },
    }),
  }),
} as const;

/** The path of a pod that is older than the policies (default namespace: `strict`). */
export const podPath = (name: keyof typeof PODS, namespace: 'strict' | 'audited' = 'strict') =>
  `/api/v1/namespaces/${namespace}/pods/${name}`;

/** The path of a workload of `strict` that is older than the policies and complies with the rules. */
export const workloadPath = (kind: Workload) => {
  const { apiVersion } = WORKLOADS[kind];
  const group = apiVersion === 'v1' ? '/api/v1' : `/apis/${apiVersion}`;
  return `${group}/namespaces/strict/${kind.toLowerCase()}s/older`;
};

const inNamespace = (namespace: string, name: string, made: object) => {
  const { metadata, ...rest } = made as { readonly metadata: { readonly annotations?: object } };
  return { ...rest, metadata: { name, namespace, annotations: metadata.annotations ?? {} } };
};

/** Namespaces with an unscheduled pod that has no RuntimeClass. */
export const WAITING = ['declined', 'kube-labelled', 'gvisor-ready', 'no-kube-system', 'gvisor-ready-too'];

/** The pods of {@link podPath} and the workloads of {@link workloadPath}. */
export const OLDER: readonly object[] = [
  ...['strict', 'audited'].flatMap((namespace) =>
    Object.entries(PODS).map(([name, made]) => inNamespace(namespace, name, made)),
  ),
  ...WAITING.map((namespace) => inNamespace(namespace, 'waiting', PODS['old-ungated'])),
  ...(Object.keys(WORKLOADS) as Workload[]).map((kind) => inNamespace('strict', 'older', workload(kind))),
];
