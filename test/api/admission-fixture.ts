import type { Cluster } from '../../cluster/cluster.ts';
import { DOMAIN } from '../e2e/agents.ts';
import {
  annotations,
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

/** The namespaces of the tests, older than the policies, and the value of their label `gvisor-ready.dev/require`. */
const NAMESPACES = {
  strict: 'true',
  another: 'true',
  audited: 'audit',
  declined: 'false',
  mistyped: 'yes',
  free: undefined,
  /** also has `gvisor-ready.dev/allow-host-kernel: "true"` */
  both: 'true',
  /** has only `gvisor-ready.dev/allow-host-kernel: "true"` */
  consenting: undefined,
  'kube-labelled': 'true',
  'gvisor-ready': 'true',
  /** names that only resemble those of the system */
  'no-kube-system': 'true',
  'gvisor-ready-too': 'true',
} as const;

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
  /** a program whose writes are in the audit log: `edit` everywhere, and the rights of the operator and the scheduler */
  logged: (cluster: Cluster) => tokenUser(cluster, 'gvisor-ready', 'logged'),
  kubelet: (cluster: Cluster) => certificateUser(cluster, 'system:node:node-9', ['system:nodes']),
} as const;

/** The users that are service accounts, and their namespaces. */
const ACCOUNTS: Readonly<Record<string, string>> = { dispatcher: 'strict', logged: 'gvisor-ready' };

const bind = (kind: 'RoleBinding' | 'ClusterRoleBinding', role: string, users: readonly string[]) => ({
  apiVersion: 'rbac.authorization.k8s.io/v1',
  kind,
  metadata: {
    name: `${role}-${users.join('-')}`,
    ...(kind === 'RoleBinding' ? { namespace: 'strict' } : {}),
  },
  roleRef: {
    apiGroup: 'rbac.authorization.k8s.io',
    kind: role === 'everything' ? 'Role' : 'ClusterRole',
    name: role,
  },
  subjects: users.map((name) =>
    name in ACCOUNTS
      ? { kind: 'ServiceAccount', name, namespace: ACCOUNTS[name] }
      : { kind: 'User', apiGroup: 'rbac.authorization.k8s.io', name },
  ),
});
const role = (kind: 'Role' | 'ClusterRole', name: string, rules: readonly object[]) => ({
  apiVersion: 'rbac.authorization.k8s.io/v1',
  kind,
  metadata: { name, ...(kind === 'Role' ? { namespace: 'strict' } : {}) },
  rules,
});
const verbs = ['get', 'list', 'create', 'update', 'patch', 'delete'];
const runtimeClass = (name: string, part: object = {}) => ({
  apiVersion: 'node.k8s.io/v1',
  kind: 'RuntimeClass',
  metadata: { name },
  handler: 'runsc',
  ...part,
});

/** Classes that are older than the policies, each with its handler and what it selects. */
export const OLDER_CLASSES: Readonly<
  Record<string, readonly [handler: string, key: string, value?: string]>
> = {
  ...Object.fromEntries(
    ['plain', 'gvisor-x', 'gvisor-gpu'].map((name) => [name, ['runsc', `${DOMAIN}/ready`]]),
  ),
  'gvisor-kvm': ['runsc-kvm', `${DOMAIN}/ready-runsc-kvm`],
  'gvisor-pool': ['runsc', 'example.org/pool'],
  'gvisor-broken': ['runsc', `${DOMAIN}/ready`, 'false'],
  'runc-ready': ['runc', `${DOMAIN}/ready`],
  'runc-pool': ['runc', 'example.org/pool'],
};

/** Namespaces, a node without a kubelet, runtime classes, roles and their bindings. */
export const OBJECTS: readonly object[] = [
  ...Object.entries(NAMESPACES).map(([name, value]) => ({
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: {
      name,
      labels: {
        ...(value === undefined ? {} : { 'gvisor-ready.dev/require': value }),
        ...(name === 'mistyped'
          ? { 'Require-gVisor': 'true', 'gvisor-ready.dev/allow-host-kernel': 'yes' }
          : {}),
        ...(name === 'both' || name === 'consenting' ? { 'gvisor-ready.dev/allow-host-kernel': 'true' } : {}),
      },
    },
  })),
  { apiVersion: 'v1', kind: 'Node', metadata: { name: 'node-9' } },
  runtimeClass('gvisor'),
  runtimeClass('gvisor-unscoped'),
  ...Object.entries(OLDER_CLASSES).map(([name, [handler, key, value = 'true']]) =>
    runtimeClass(name, { handler, scheduling: { nodeSelector: { [key]: value } } }),
  ),
  ...Object.entries(ACCOUNTS).map(([name, namespace]) => ({
    apiVersion: 'v1',
    kind: 'ServiceAccount',
    metadata: { name, namespace },
  })),
  role('Role', 'everything', [{ apiGroups: ['*'], resources: ['*'], verbs: ['*'] }]),
  role('ClusterRole', 'operator', [
    { apiGroups: [''], resources: ['namespaces', 'namespaces/status', 'namespaces/finalize'], verbs },
    { apiGroups: ['node.k8s.io'], resources: ['runtimeclasses'], verbs },
  ]),
  role('ClusterRole', 'delete-required', [
    { apiGroups: [''], resources: ['namespaces'], verbs: ['delete-gvisor-namespace'] },
  ]),
  role('ClusterRole', 'lift-strict', [
    {
      apiGroups: [''],
      resources: ['namespaces'],
      resourceNames: ['strict'],
      verbs: ['manage-gvisor-requirement'],
    },
  ]),
  bind('RoleBinding', 'everything', ['owner']),
  bind('RoleBinding', 'edit', ['dispatcher']),
  bind('ClusterRoleBinding', 'operator', ['operator', 'lifter', 'single', 'deleter', 'logged']),
  bind('ClusterRoleBinding', 'edit', ['logged']),
  bind('ClusterRoleBinding', 'system:kube-scheduler', ['logged']),
  bind('ClusterRoleBinding', 'gvisor-ready-requirement', ['lifter']),
  bind('ClusterRoleBinding', 'lift-strict', ['single']),
  bind('ClusterRoleBinding', 'delete-required', ['deleter']),
];

const ungated = { schedulingGates: undefined };
const onNode = { ...ungated, nodeName: 'node-9', tolerations: [{ operator: 'Exists' }] };
const sized = container({ resources: { requests: { cpu: '1m' } } });
const gates = ['example.com/first', 'example.com/second'].map((name) => ({ name }));

/** Pods that are older than the policies. Those of `pod()` have a scheduling gate. */
const PODS = {
  /** comply with the rules */
  gated: pod({ spec: sized }),
  ungated: pod({ spec: ungated }),
  bound: pod({ spec: onNode }),
  /** violate the rules */
  'old-plain': pod({ spec: { ...onNode, runtimeClassName: undefined } }),
  'old-resized': pod({ spec: { ...ungated, ...sized, runtimeClassName: undefined } }),
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
  'old-many': pod({ annotations: annotations(1_001) }),
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
