import type { ApiCall } from './api-user.ts';

/** The parts of a pod that a test changes. */
export type PodPart = {
  readonly spec?: Readonly<Record<string, unknown>>;
  readonly annotations?: Readonly<Record<string, string>>;
};

/** A gVisor pod with a scheduling gate. Undefined fields of `spec` are omitted. */
export function pod({ spec = {}, annotations = {} }: PodPart = {}): object {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { generateName: 'case-', annotations },
    spec: {
      runtimeClassName: 'gvisor',
      schedulingGates: [{ name: 'example.com/never' }],
      ...container(),
      ...spec,
    },
  };
}

/** The `containers` of a pod with one container. */
export const container = (part: object = {}) => ({
  containers: [{ name: 'main', image: 'localhost/none', ...part }],
});

/** Creates an object in a namespace. */
export function create(namespace: string, body: object): ApiCall {
  const { apiVersion, kind } = body as { readonly apiVersion: string; readonly kind: string };
  const group = apiVersion === 'v1' ? '/api/v1' : `/apis/${apiVersion}`;
  return { method: 'POST', path: `${group}/namespaces/${namespace}/${kind.toLowerCase()}s`, body };
}

/** Creates a pod in the namespace `strict`. */
export const createPod = (part?: PodPart) => create('strict', pod(part));

/** Creates a pod that names a class, and may select nodes itself. */
export const podOf = (runtimeClassName: string, namespace = 'strict', nodeSelector?: object) =>
  create(namespace, pod({ spec: { runtimeClassName, nodeSelector } }));

/** A JSON merge patch of the object at a path. */
export const patch = (path: string, body: object): ApiCall => ({ method: 'PATCH', path, body });

/** A strategic merge patch of the object at a path, as agents and kubectl send it. */
export const strategicPatch = (path: string, body: object): ApiCall => ({
  ...patch(path, body),
  patch: 'strategic-merge-patch+json',
});

/** Deletes the object at a path. */
export const remove = (path: string): ApiCall => ({ method: 'DELETE', path });

/** A pod or template without a RuntimeClass. */
export const PLAIN: PodPart = { spec: { runtimeClassName: undefined } };

/** Kinds with a pod template, and its path. */
export const WORKLOADS = {
  Deployment: { apiVersion: 'apps/v1', path: 'spec.template.', selector: true },
  ReplicaSet: { apiVersion: 'apps/v1', path: 'spec.template.', selector: true },
  StatefulSet: { apiVersion: 'apps/v1', path: 'spec.template.', selector: true },
  DaemonSet: { apiVersion: 'apps/v1', path: 'spec.template.', selector: true },
  Job: { apiVersion: 'batch/v1', path: 'spec.template.', selector: false },
  CronJob: { apiVersion: 'batch/v1', path: 'spec.jobTemplate.spec.template.', selector: false },
  ReplicationController: { apiVersion: 'v1', path: 'spec.template.', selector: false },
} as const;
export type Workload = keyof typeof WORKLOADS;

/** A workload with the spec and annotations of a pod. Its default name is derived from the kind. */
export function workload(
  kind: Workload,
  { spec = {}, annotations = {} }: PodPart = {},
  name?: string,
): object {
  const { apiVersion, selector } = WORKLOADS[kind];
  const labels = { app: 'case' };
  const restart = kind === 'Job' || kind === 'CronJob' ? { restartPolicy: 'Never' } : {};
  const template = {
    metadata: { labels, annotations },
    spec: { runtimeClassName: 'gvisor', ...container(), ...restart, ...spec },
  };
  return {
    apiVersion,
    kind,
    metadata: name === undefined ? { generateName: `${kind.toLowerCase()}-` } : { name },
    spec:
      kind === 'CronJob'
        ? { schedule: '0 0 1 1 *', jobTemplate: { spec: { template } } }
        : {
            template,
            ...(selector ? { selector: { matchLabels: labels } } : {}),
            ...(kind === 'Job' ? { suspend: true } : {}), // so that its template can be written again
          },
  };
}

export const createRuntimeClass = (name: string, handler = 'runsc', nodeSelector?: object): ApiCall => ({
  method: 'POST',
  path: '/apis/node.k8s.io/v1/runtimeclasses',
  body: {
    apiVersion: 'node.k8s.io/v1',
    kind: 'RuntimeClass',
    metadata: { name },
    handler,
    ...(nodeSelector === undefined ? {} : { scheduling: { nodeSelector } }),
  },
});

/** Adds an ephemeral container to the pod at a path, as `kubectl debug` does. */
export const addEphemeral = (path: string, part: object = {}) =>
  strategicPatch(`${path}/ephemeralcontainers`, {
    spec: { ephemeralContainers: [{ name: 'debug', image: 'localhost/none', ...part }] },
  });

export const privileged = { securityContext: { privileged: true } };
export const hostPath = { volumes: [{ name: 'host', hostPath: { path: '/' } }] };
export const CLAIM = { resourceClaims: [{ name: 'gpu', resourceClaimName: 'gpu' }] };
/** An annotation that would switch off gVisor's network stack. */
export const FLAG = 'dev.gvisor.flag.network';

/** So many annotations or labels without a meaning. */
export const annotations = (count: number) =>
  Object.fromEntries(Array.from({ length: count }, (_, at) => [`a${at}`, '']));
