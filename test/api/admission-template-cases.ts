import { accepted, type Case, type Group, warned } from './admission-case.ts';
import { workloadPath } from './admission-fixture.ts';
import {
  container,
  create,
  FLAG,
  hostPath,
  type PodPart,
  privileged,
  WORKLOADS,
  type Workload,
  workload,
} from './admission-objects.ts';

const unset: PodPart = { spec: { runtimeClassName: undefined } };
const dry = (kind: Workload, part: PodPart = {}, namespace = 'strict') =>
  create(namespace, workload(kind, part), 'dryRun=All');

/** A workload that another object owns. */
function made(kind: Workload, owner: object): object {
  const body = workload(kind, unset, 'made') as { readonly metadata: object };
  const ownerReferences = [{ apiVersion: 'apps/v1', kind: 'Deployment', name: 'd', uid: 'u', ...owner }];
  return { ...body, metadata: { ...body.metadata, ownerReferences } };
}

const KINDS: readonly Case[] = (Object.keys(WORKLOADS) as Workload[]).flatMap((kind) => [
  warned(
    `a ${kind} without the runtime class`,
    dry(kind, unset),
    new RegExp(
      `the namespace "strict" requires gVisor, and the pods of this ${kind} would break that: ${WORKLOADS[kind].path.replaceAll('.', '\\.')}spec\\.runtimeClassName is not set: write runtimeClassName: gvisor$`,
    ),
    { as: 'dispatcher' },
  ),
  accepted(`a ${kind} with the runtime class`, dry(kind), { as: 'dispatcher' }),
  warned(
    `a ${kind} updated with a flag for runsc`,
    { method: 'PATCH', path: `${workloadPath(kind)}?dryRun=All`, body: annotated(kind) },
    /metadata\.annotations has dev\.gvisor\.flag\.network/,
  ),
  warned(
    `a ${kind} with require-gvisor: audit`,
    dry(kind, unset, 'audited'),
    /the namespace "audited" requires gVisor/,
  ),
]);

/** A flag for runsc in the template of a kind. */
function annotated(kind: Workload): object {
  const template = { metadata: { annotations: { [FLAG]: 'x' } } };
  return { spec: kind === 'CronJob' ? { jobTemplate: { spec: { template } } } : { template } };
}

const RULES: readonly Case[] = [
  warned(
    'a template with a node name',
    dry('DaemonSet', { spec: { nodeName: 'n' } }),
    /would break that: spec\.template\.spec\.nodeName is "n", which goes past/,
  ),
  warned(
    'an update that adds a node name',
    {
      method: 'PATCH',
      path: `${workloadPath('DaemonSet')}?dryRun=All`,
      body: { spec: { template: { spec: { nodeName: 'n' } } } },
    },
    /would break that: spec\.template\.spec\.nodeName is "n"/,
  ),
  warned(
    'a Deployment with too many annotations',
    dry('Deployment', {
      annotations: Object.fromEntries(Array.from({ length: 1_001 }, (_, n) => [`a${n}`, ''])),
    }),
    /would break that: spec\.template\.metadata\.annotations has more than 1000/,
  ),
  warned(
    'a template with a flag for runsc',
    dry('CronJob', { annotations: { [FLAG]: 'x' } }),
    /would break that: spec\.jobTemplate\.spec\.template\.metadata\.annotations has dev\.gvisor\.flag\.network/,
  ),
  warned(
    'a template with a host namespace',
    dry('Deployment', { spec: { hostPID: true } }),
    /would break that: spec\.template\.spec sets hostPID/,
  ),
  warned(
    'a template with a hostPath',
    dry('Deployment', { spec: hostPath }),
    /would break that: volumes of these kinds/,
  ),
  warned(
    'a template with a privileged container',
    dry('Job', { spec: container(privileged) }),
    /would break that: privileged is/,
  ),
  warned(
    'a template with several problems',
    dry('Deployment', { spec: { runtimeClassName: 'x', nodeName: 'n' }, annotations: { [FLAG]: 'x' } }),
    /runtimeClassName is "x": .*; spec\.template\.spec\.nodeName is "n".*; spec\.template\.metadata\.annotations has/,
  ),
  accepted('a template without the requirement', dry('Deployment', unset, 'free')),
  accepted('a template in a namespace kube-*', dry('Deployment', unset, 'kube-labelled')),
  ...(['ReplicaSet', 'Job'] as const).map((kind) =>
    accepted(
      `a ${kind} owned by a controller`,
      create('strict', made(kind, { controller: true }), 'dryRun=All'),
    ),
  ),
  warned(
    'a Job with an owner that is not a controller',
    create('strict', made('Job', {}), 'dryRun=All'),
    /is not set: write/,
  ),
  warned(
    'a StatefulSet of a foreign controller',
    create('strict', made('StatefulSet', { controller: true }), 'dryRun=All'),
    /is not set: write/,
  ),
];

export const TEMPLATE_GROUPS: readonly Group[] = [
  { title: 'workloads where gVisor is required', cases: KINDS },
  { title: 'templates', cases: RULES },
];
