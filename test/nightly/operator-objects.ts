import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CONTROL_PLANE_ADDRESS } from '../../cluster/control-plane/control-plane.ts';
import { type ImageId, imageName } from '../../cluster/images.ts';
import { moduleDirectory } from '../../cluster/tool-groups.ts';
import { REPO } from '../../hack/paths.ts';

/** The namespace of Prometheus, as in docs/monitoring.md, and of Alertmanager. */
export const MONITORING_NAMESPACE = 'monitoring';

/** The only node that needs the images of monitoring. */
export const MONITORING_NODE = 'node-3';
const nodeSelector = { 'kubernetes.io/hostname': MONITORING_NODE };

export const MONITORING_IMAGES: readonly ImageId[] = [
  'prometheus-operator',
  'prometheus-config-reloader',
  'prometheus',
  'alertmanager',
];

/** The port of alert-receiver.ts in the control plane's machine. */
export const RECEIVER_PORT = 9900;

/** The directory of the operator's Go module. */
export function operatorModule(): Promise<string> {
  const module = 'github.com/prometheus-operator/prometheus-operator';
  return moduleDirectory(module, join(REPO, 'cluster/tools/prometheus-operator'));
}

/** The operator's bundle.yaml with local images: CRDs, RBAC and Deployment. */
export async function operatorBundle(): Promise<string> {
  const text = await readFile(join(await operatorModule(), 'bundle.yaml'), 'utf8');
  return text
    .replace(/^( +)kubernetes\.io\/os: linux$/m, `$1kubernetes.io/hostname: ${MONITORING_NODE}`)
    .replaceAll(/quay\.io\/prometheus-operator\/([\w-]+):v[\d.]+/g, (_, id) => imageName(id as ImageId));
}

const API = 'monitoring.coreos.com/v1';

/** Selects the PodMonitors and PrometheusRules that docs/monitoring.md labels. */
const matchLabels = { release: 'kube-prometheus-stack' };

/** Scrapes and evaluates every second, and sends alerts to {@link ALERTMANAGER}. */
const PROMETHEUS = {
  apiVersion: API,
  kind: 'Prometheus',
  metadata: { name: 'prometheus', namespace: MONITORING_NAMESPACE },
  spec: {
    image: imageName('prometheus'),
    version: 'v3.16.0',
    serviceAccountName: 'prometheus',
    nodeSelector,
    scrapeInterval: '1s',
    evaluationInterval: '1s',
    podMonitorSelector: { matchLabels },
    podMonitorNamespaceSelector: {},
    ruleSelector: { matchLabels },
    ruleNamespaceSelector: {},
    alerting: {
      alertmanagers: [{ namespace: MONITORING_NAMESPACE, name: 'alertmanager-operated', port: 'web' }],
    },
  },
};

const ALERTMANAGER = {
  apiVersion: API,
  kind: 'Alertmanager',
  metadata: { name: 'alertmanager', namespace: MONITORING_NAMESPACE },
  spec: { image: imageName('alertmanager'), version: 'v0.34.2', nodeSelector },
};

/** Groups alerts as in docs/monitoring.md, and sends them to alert-receiver.ts without delay. */
const CONFIGURATION = {
  route: {
    receiver: 'test',
    group_by: ['alertname', 'cluster'],
    group_wait: '1s',
    group_interval: '1s',
    repeat_interval: '1h',
  },
  receivers: [
    {
      name: 'test',
      webhook_configs: [{ url: `http://${CONTROL_PLANE_ADDRESS}:${RECEIVER_PORT}/`, send_resolved: true }],
    },
  ],
};

const RIGHTS = 'rbac.authorization.k8s.io';
const FIND = { name: 'find-alertmanager', namespace: MONITORING_NAMESPACE };

/** Prometheus and Alertmanager with their configuration and RBAC. */
export const STACK: readonly object[] = [
  {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name: 'alertmanager-alertmanager', namespace: MONITORING_NAMESPACE },
    stringData: { 'alertmanager.yaml': JSON.stringify(CONFIGURATION) }, // JSON is YAML
  },
  {
    apiVersion: `${RIGHTS}/v1`,
    kind: 'Role',
    metadata: FIND,
    rules: [
      { apiGroups: [''], resources: ['services', 'endpoints', 'pods'], verbs: ['get', 'list', 'watch'] },
    ],
  },
  {
    apiVersion: `${RIGHTS}/v1`,
    kind: 'RoleBinding',
    metadata: FIND,
    roleRef: { apiGroup: RIGHTS, kind: 'Role', name: FIND.name },
    subjects: [{ kind: 'ServiceAccount', name: 'prometheus', namespace: MONITORING_NAMESPACE }],
  },
  ALERTMANAGER,
  PROMETHEUS,
];
