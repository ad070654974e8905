import assert from 'node:assert/strict';
import { accepted, type Case, type Group, refused, warned } from './admission-case.ts';
import { create, pod, workload } from './admission-objects.ts';
import { mirrorPod } from './admission-pod-cases.ts';
import { START_GROUP } from './admission-write-cases.ts';

type Spec = {
  readonly runtimeClassName?: string;
  readonly nodeSelector?: object;
  readonly overhead?: object;
};
const plain = pod({ spec: { runtimeClassName: undefined } });
const other = pod({ spec: { runtimeClassName: 'plain' } });
const dry = (namespace: string, body = plain) => create(namespace, body, 'dryRun=All');

/** Asserts that a pod runs in this class. */
const runsIn = (className: string | undefined) => (made: unknown) =>
  assert.equal((made as { readonly spec: Spec }).spec.runtimeClassName, className);

const INJECTED: readonly Case[] = [
  accepted('a pod without a runtime class', dry('strict'), { as: 'dispatcher' }, (made) => {
    const { runtimeClassName, nodeSelector, overhead } = (made as { readonly spec: Spec }).spec;
    assert.deepEqual(
      { runtimeClassName, nodeSelector, overhead },
      {
        runtimeClassName: 'gvisor',
        nodeSelector: { 'gvisor.node-restriction.kubernetes.io/ready': 'true' },
        overhead: { memory: '32Mi' },
      },
    );
  }),
  accepted(
    'a template without a runtime class',
    create('strict', workload('Deployment', { spec: { runtimeClassName: undefined } }), 'dryRun=All'),
  ),
];

const CONDITIONS: readonly Case[] = [
  ...['no-kube-system', 'gvisor-ready-too'].map((namespace) =>
    accepted(
      `a pod without a runtime class in ${namespace}, which is set,`,
      dry(namespace),
      {},
      runsIn('gvisor'),
    ),
  ),
  ...['free', 'declined', 'kube-labelled', 'gvisor-ready'].map((namespace) =>
    accepted(`a pod without a runtime class in ${namespace}`, dry(namespace), {}, runsIn(undefined)),
  ),
  warned(
    'a pod without a runtime class and with require-gvisor: audit',
    dry('audited'),
    /runtimeClassName is not set/,
  ),
  accepted(
    'the mirror of a static pod',
    async (on) => dry('strict', await mirrorPod(on)),
    { as: 'kubelet' },
    runsIn(undefined),
  ),
  refused(
    'a mirror pod of another user, which has a node name,',
    async (on) =>
      dry('strict', {
        ...(await mirrorPod(on)),
        metadata: { name: 'm', annotations: { 'kubernetes.io/config.mirror': 'x' } },
      }),
    /enforce-pods.*would break that: spec\.nodeName is "node-9"/,
    { as: 'dispatcher' },
  ),
  refused('a pod with another runtime class', dry('strict', other), /runtimeClassName is "plain": write/),
  accepted('a pod with the runtime class of gVisor', dry('strict', pod()), {}, runsIn('gvisor')),
  warned(
    'a template with another runtime class',
    create('strict', workload('Deployment', { spec: { runtimeClassName: 'plain' } }), 'dryRun=All'),
    /spec\.template\.spec\.runtimeClassName is "plain": write runtimeClassName: gvisor/,
  ),
];

/** Cases for `enforce` with `inject`. */
export const INJECT_GROUPS: readonly Group[] = [
  { title: 'the runtime class of gVisor is injected into', cases: INJECTED },
  { title: 'injection depends on the namespace and the user', cases: CONDITIONS },
  START_GROUP,
];
