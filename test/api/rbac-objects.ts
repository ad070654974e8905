const RBAC = { apiVersion: 'rbac.authorization.k8s.io/v1' };

export const user = (name: string) => ({ kind: 'User', apiGroup: 'rbac.authorization.k8s.io', name });
export const account = (name: string, namespace: string) => ({ kind: 'ServiceAccount', name, namespace });

/** What a role allows: `verbs` on `resources` of an API group (default: that of the core). */
export type Rule = {
  readonly verbs: readonly string[];
  readonly resources: readonly string[];
  readonly apiGroups?: readonly string[];
  readonly resourceNames?: readonly string[];
};

export const clusterRole = (name: string, ...rules: readonly Rule[]) => ({
  ...RBAC,
  kind: 'ClusterRole',
  metadata: { name },
  rules: rules.map((rule) => ({ apiGroups: [''], ...rule })),
});

/** A binding of a ClusterRole, in one namespace if given. */
export const bind = (name: string, subjects: readonly object[], namespace?: string) => ({
  ...RBAC,
  kind: namespace === undefined ? 'ClusterRoleBinding' : 'RoleBinding',
  metadata: { name: `test-${name}`, ...(namespace === undefined ? {} : { namespace }) },
  roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name },
  subjects,
});

export const serviceAccount = (name: string, namespace: string) => ({
  apiVersion: 'v1',
  kind: 'ServiceAccount',
  metadata: { name, namespace },
});

export const namespaceObject = (name: string, labels: Readonly<Record<string, string>> = {}) => ({
  apiVersion: 'v1',
  kind: 'Namespace',
  metadata: { name, labels },
});
