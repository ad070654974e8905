import { accepted, type Group, warned, withMessage } from './admission-case.ts';
import { workloadPath } from './admission-fixture.ts';
import {
  annotations,
  container,
  create,
  FLAG,
  hostPath,
  PLAIN,
  type PodPart,
  patch,
  privileged,
  WORKLOADS,
  type Workload,
  workload,
} from './admission-objects.ts';

const createIn = (kind: Workload, part: PodPart = {}, namespace = 'strict') =>
  create(namespace, workload(kind, part));

/** Creates a workload without the runtime class that another object owns. */
function createOwned(kind: Workload, owner: object) {
  const body = workload(kind, PLAIN, 'made') as { readonly metadata: object };
  const ownerReferences = [{ apiVersion: 'apps/v1', kind: 'Deployment', name: 'd', uid: 'u', ...owner }];
  return create('strict', { ...body, metadata: { ...body.metadata, ownerReferences } });
}

/** A flag for runsc in the template of a kind. */
function annotated(kind: Workload): object {
  const template = { metadata: { annotations: { [FLAG]: 'x' } } };
  return { spec: kind === 'CronJob' ? { jobTemplate: { spec: { template } } } : { template } };
}

export const TEMPLATE_GROUPS: readonly Group[] = [
  {
    title: 'workloads where gVisor is required',
    cases: (Object.keys(WORKLOADS) as Workload[]).flatMap((kind) => [
      ...accepted('dispatcher', { [`a ${kind} with the runtime class`]: createIn(kind) }),
      ...warned('dispatcher', {
        [`a ${kind} without the runtime class`]: [
          createIn(kind, PLAIN),
          new RegExp(
            `the namespace "strict" requires gVisor, and the pods of this ${kind} would break that: ${WORKLOADS[kind].path.replaceAll('.', '\\.')}spec\\.runtimeClassName is not set: write runtimeClassName: gvisor$`,
          ),
        ],
      }),
      ...warned('admin', {
        [`a ${kind} updated with a flag for runsc`]: [
          patch(workloadPath(kind), annotated(kind)),
          /metadata\.annotations has dev\.gvisor\.flag\.network/,
        ],
        [`a ${kind} with gvisor-ready.dev/require: audit`]: [
          createIn(kind, PLAIN, 'audited'),
          /the namespace "audited" requires gVisor/,
        ],
      }),
    ]),
  },
  {
    title: 'templates',
    cases: [
      ...warned('admin', {
        'a template with a node name': [
          createIn('DaemonSet', { spec: { nodeName: 'n' } }),
          /would break that: spec\.template\.spec\.nodeName is "n", which goes past/,
        ],
        'an update that adds a node name': [
          patch(workloadPath('DaemonSet'), { spec: { template: { spec: { nodeName: 'n' } } } }),
          /would break that: spec\.template\.spec\.nodeName is "n"/,
        ],
        'a Deployment with too many annotations': [
          createIn('Deployment', { annotations: annotations(1_001) }),
          /would break that: spec\.template\.metadata\.annotations has more than 1000/,
        ],
        'a template with a flag for runsc': [
          createIn('CronJob', { annotations: { [FLAG]: 'x' } }),
          /would break that: spec\.jobTemplate\.spec\.template\.metadata\.annotations has dev\.gvisor\.flag\.network/,
        ],
        'a template with a host namespace': [
          createIn('Deployment', { spec: { hostPID: true } }),
          /would break that: spec\.template\.spec sets hostPID/,
        ],
        'a template with a hostPath': [
          createIn('Deployment', { spec: hostPath }),
          /would break that: volumes of these kinds/,
        ],
        'a template with a privileged container': [
          createIn('Job', { spec: container(privileged) }),
          /would break that: privileged is/,
        ],
        'a template with several problems': [
          createIn('Deployment', {
            spec: { runtimeClassName: 'x', nodeName: 'n' },
            annotations: { [FLAG]: 'x' },
          }),
          /runtimeClassName is "x": .*; spec\.template\.spec\.nodeName is "n".*; spec\.template\.metadata\.annotations has/,
        ],
        ...withMessage(/is not set: write/, {
          'a Job with an owner that is not a controller': createOwned('Job', {}),
          'a StatefulSet of a foreign controller': createOwned('StatefulSet', { controller: true }),
        }),
      }),
      ...accepted('admin', {
        'a template without the requirement': createIn('Deployment', PLAIN, 'free'),
        'a template in a namespace kube-*': createIn('Deployment', PLAIN, 'kube-labelled'),
        'a ReplicaSet owned by a controller': createOwned('ReplicaSet', { controller: true }),
        'a Job owned by a controller': createOwned('Job', { controller: true }),
      }),
    ],
  },
];
