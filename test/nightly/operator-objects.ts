import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CONTROL_PLANE_ADDRESS } from '../../cluster/control-plane/control-plane.ts';
import { type ImageId, imageName } from '../../cluster/images.ts';
import { moduleDirectory } from '../../cluster/tool-groups.ts';
import { REPO } from '../../hack/paths.ts';

/** Where the operator's Prometheus and Alertmanager run, as docs/monitoring.md has it of Prometheus. */
export const MONITORING_NAMESPACE = 'monitoring';

/** The node that runs all pods of monitoring, so that their images are needed nowhere else. */
export const MONITORING_NODE = 'node-3';
const nodeSelector = { 'kubernetes.io/hostname': MONITORING_NODE };

/** The images of these pods. */
export const MONITORING_IMAGES: readonly ImageId[] = [
  'prometheus-operator',
  'prometheus-config-reloader',
  'prometheus',
  'alertmanager',
];

/** The port of the receiver of alerts in the control plane's machine. */
export const RECEIVER_PORT = 9900;

/** The directory of the operator's own module. */
export function operatorModule(): Promise<string> {
  const module = 'github.com/prometheus-operator/prometheus-operator';
  return moduleDirectory(module, join(REPO, 'cluster/tools/prometheus-operator'));
}

/** What that module installs the operator with: its CRDs, its rights and its Deployment (YAML), here with our images. */
export async function operatorBundle(): Promise<string> {
  const text = await readFile(join(await operatorModule(), 'bundle.yaml'), 'utf8');
  return text
    .replace(/^( +)kubernetes\.io\/os: linux$/m, `$1kubernetes.io/hostname: ${MONITORING_NODE}`)
    .replaceAll(/quay\.io\/prometheus-operator\/([\w-]+):v[\d.]+/g, (_, id) => imageName(id as ImageId));
}

const API = 'monitoring.coreos.com/v1';

/** The PodMonitors and PrometheusRules that docs/monitoring.md labels, in any namespace. */
const matchLabels = { release: 'kube-prometheus-stack' };

/** A Prometheus object that looks every second, and sends alerts to {@link ALERTMANAGER}. */
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

/** Alertmanager's configuration: alerts grouped as docs/monitoring.md says, sent to our receiver at once. */
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

/** Prometheus and Alertmanager with all that they need beside the operator and manifests/components/monitoring. */
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
