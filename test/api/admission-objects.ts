import type { ApiCall } from './api-user.ts';

/** The parts of a pod, or of a pod template, that a test changes. */
export type PodPart = { readonly metadata?: object; readonly spec?: object };

/** A gVisor pod with a scheduling gate, which has the other fields too; it lacks those of `spec` that are null. */
export function pod({ metadata, spec }: PodPart = {}): object {
  const fields = {
    runtimeClassName: 'gvisor',
    schedulingGates: [{ name: 'example.com/never' }],
    ...container(),
    ...spec,
  };
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { generateName: 'case-', ...metadata },
    spec: Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== null)),
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
export const PLAIN: PodPart = { spec: { runtimeClassName: null } };

/** The API versions of kinds with a pod template. */
export const WORKLOADS = {
  Deployment: 'apps/v1',
  ReplicaSet: 'apps/v1',
  StatefulSet: 'apps/v1',
  DaemonSet: 'apps/v1',
  Job: 'batch/v1',
  CronJob: 'batch/v1',
  ReplicationController: 'v1',
} as const;
export type Workload = keyof typeof WORKLOADS;
export const KINDS = Object.keys(WORKLOADS) as Workload[];

/** A workload whose pods are gVisor pods, which have the other parts of a template too. */
export function workload(
  kind: Workload,
  { metadata, spec }: PodPart = {},
  name: object = { generateName: `${kind.toLowerCase()}-` },
): object {
  const apiVersion = WORKLOADS[kind];
  const labels = { app: 'case' };
  const restart = apiVersion === 'batch/v1' ? { restartPolicy: 'Never' } : {};
  const template = {
    metadata: { labels, ...metadata },
    spec: { runtimeClassName: 'gvisor', ...container(), ...restart, ...spec },
  };
  const whole = {
    template,
    ...(apiVersion === 'apps/v1' ? { selector: { matchLabels: labels } } : {}),
    ...(kind === 'Job' ? { suspend: true } : {}), // so that its template can be written again
  };
  return {
    apiVersion,
    kind,
    metadata: name,
    spec: kind === 'CronJob' ? { schedule: '0 0 1 1 *', jobTemplate: { spec: { template } } } : whole,
  };
}
