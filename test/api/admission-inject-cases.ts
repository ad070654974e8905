import assert from 'node:assert/strict';
import { accepted, type Group, refused, warned } from './admission-case.ts';
import { create, createPod, PLAIN, pod, podOf, workload } from './admission-objects.ts';
import { FORGED_MIRROR, MIRROR } from './admission-pod-cases.ts';
import { START_GROUP } from './admission-write-cases.ts';

type Made = {
  readonly spec: {
    readonly runtimeClassName?: string;
    readonly nodeSelector?: object;
    readonly overhead?: object;
  };
};

/** Asserts that a pod runs in this class. */
const runsIn = (className: string | undefined) => (made: unknown) =>
  assert.equal((made as Made).spec.runtimeClassName, className);

/** Pods without a runtime class in each of these namespaces. */
const plainIn = (...namespaces: readonly string[]) =>
  Object.fromEntries(
    namespaces.map((namespace) => [
      `a pod without a runtime class in ${namespace}`,
      create(namespace, pod(PLAIN)),
    ]),
  );

/** Cases for `enforce` with `inject`. */
export const INJECT_GROUPS: readonly Group[] = [
  {
    title: 'the runtime class of gVisor is injected into',
    cases: [
      ...accepted('dispatcher', { 'a pod without a runtime class': createPod(PLAIN) }, (made) => {
        const { runtimeClassName, nodeSelector, overhead } = (made as Made).spec;
        assert.deepEqual(
          { runtimeClassName, nodeSelector, overhead },
          {
            runtimeClassName: 'gvisor',
            nodeSelector: { 'gvisor.node-restriction.kubernetes.io/ready': 'true' },
            overhead: { memory: '36Mi' },
          },
        );
      }),
      ...accepted('admin', {
        'a template without a runtime class': create('strict', workload('Deployment', PLAIN)),
      }),
    ],
  },
  {
    title: 'injection depends on the namespace and the user',
    cases: [
      ...accepted('admin', plainIn('no-kube-system', 'gvisor-ready-too'), runsIn('gvisor')),
      ...accepted('admin', plainIn('free', 'declined', 'kube-labelled', 'gvisor-ready'), runsIn(undefined)),
      ...accepted('kubelet', { 'the mirror of a static pod': MIRROR }, runsIn(undefined)),
      ...accepted('admin', { 'a pod with the runtime class of gVisor': createPod() }, runsIn('gvisor')),
      ...refused('dispatcher', {
        'a mirror pod of another user, which has a node name,': [
          FORGED_MIRROR,
          /enforce-pods.*would break that: spec\.nodeName is "node-9"/,
        ],
      }),
      ...refused('admin', {
        'a pod with another runtime class': [podOf('plain'), /runtimeClassName is "plain": write/],
      }),
      ...warned('admin', {
        'a pod without a runtime class and with gvisor-ready.dev/require: audit': [
          create('audited', pod(PLAIN)),
          /runtimeClassName is not set/,
        ],
        'a template with another runtime class': [
          create('strict', workload('Deployment', { spec: { runtimeClassName: 'plain' } })),
          /spec\.template\.spec\.runtimeClassName is "plain": write runtimeClassName: gvisor/,
        ],
      }),
    ],
  },
  START_GROUP,
];
