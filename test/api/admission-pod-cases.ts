import assert from 'node:assert/strict';
import { MINOR } from '../kubernetes-minor.ts';
import {
  accepted,
  assertAccepted,
  type Case,
  createObject,
  type Group,
  refused,
  withMessage,
} from './admission-case.ts';
import type { Admission } from './admission-cluster.ts';
import {
  annotations,
  CLAIM,
  container,
  create,
  createPod,
  FLAG,
  hostPath,
  PLAIN,
  pod,
  podOf,
  privileged,
  remove,
} from './admission-objects.ts';

/** Creates a mirror pod as a kubelet does for a static pod, with changes. */
export const createMirror =
  (changes: object = {}, { node = 'node-9', namespace = 'strict', labels = {} } = {}) =>
  async ({ as }: Admission) => {
    const { body } = await as('admin', { method: 'GET', path: `/api/v1/nodes/${node}` });
    const { uid } = (body as { readonly metadata: { readonly uid: string } }).metadata;
    return create(namespace, {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: {
        name: `static-${node}`,
        labels,
        annotations: { 'kubernetes.io/config.mirror': 'x' },
        ownerReferences: [{ apiVersion: 'v1', kind: 'Node', name: node, uid, controller: true }],
      },
      spec: { nodeName: node, ...container() },
      ...changes,
    });
  };
export const MIRROR = createMirror();
/** A mirror pod of a class that other pods may not name. */
export const MIRROR_OF_CLASS = createMirror({
  spec: { nodeName: 'node-9', runtimeClassName: 'runc-ready', ...container() },
});
/** A mirror pod that another user than a kubelet may write. */
export const FORGED_MIRROR = createMirror({
  metadata: { name: 'm', annotations: { 'kubernetes.io/config.mirror': 'x' } },
});

/** Mirror pods written by kubelets and by other users. */
export const MIRROR_GROUPS: readonly Group[] = [
  {
    title: 'mirror pods',
    cases: [
      ...accepted('kubelet', { "the kubelet's own, of a static pod": MIRROR }),
      ...refused('kubelet', {
        'the same without the annotation': [createMirror({ metadata: { name: 'static-node-9' } }), /./],
      }),
      ...refused('dispatcher', {
        'the same from another user': [
          FORGED_MIRROR,
          /is not set: write runtimeClassName: gvisor; spec\.nodeName is "node-9"/,
        ],
      }),
    ],
  },
];

const ungated = { schedulingGates: undefined };
const containerWith = (part: object) => createPod({ spec: container(part) });
const initContainerWith = (part: object) =>
  createPod({ spec: { initContainers: [{ name: 'first', image: 'localhost/none', ...part }] } });
const sidecarWith = (part: object) => initContainerWith({ restartPolicy: 'Always', ...part });
const volumesWith = (...volumes: readonly object[]) => createPod({ spec: { volumes } });
const HOST_PORT = { ports: [{ containerPort: 80 }, { containerPort: 81, hostPort: 8081 }] };
/** Probes and hooks through which the kubelet connects to a host. */
const AIMED: readonly (readonly [what: string, part: (host: string | undefined) => object])[] = (
  ['livenessProbe', 'readinessProbe', 'startupProbe', 'postStart', 'preStop'] as const
).flatMap((where) =>
  (['httpGet', 'tcpSocket'] as const).map((how) => {
    const part = (host: string | undefined) => {
      const hook = { [where]: { [how]: { port: 80, host } } };
      return where.startsWith('p') ? { lifecycle: hook } : hook;
    };
    return [`${how} of ${where}`, part] as const;
  }),
);
/** Volumes that stay inside the cluster, and some of those that do not. */
const VOLUMES = {
  configMap: { name: 'c' },
  csi: { driver: 'example.com' },
  downwardAPI: {},
  emptyDir: {},
  ephemeral: {
    volumeClaimTemplate: {
      spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } },
    },
  },
  ...(MINOR < 35 ? {} : { image: { reference: 'localhost/none' } }),
  persistentVolumeClaim: { claimName: 'c' },
  projected: { sources: [] },
  secret: { secretName: 's' },
};
const OTHER_VOLUMES = {
  nfs: { server: 'a', path: '/' },
  iscsi: { targetPortal: '10.0.0.1:3260', iqn: 'iqn.2001-04.com.example:a', lun: 0 },
  flexVolume: { driver: 'example.com/a' },
  rbd: { monitors: ['a'], image: 'a' },
  cephfs: { monitors: ['a'] },
  fc: { targetWWNs: ['a'], lun: 0 },
};
const volumes = (sources: Readonly<Record<string, object>>) =>
  Object.fromEntries(
    Object.entries(sources).map(([kind, source]) => [
      `a volume of the kind ${kind}`,
      volumesWith({ name: 'v', [kind]: source }),
    ]),
  );
/** Annotations whose problems exceed the API server's limit for a message. */
const many = Object.fromEntries(
  Array.from({ length: 150 }, (_, at) => [`dev.gvisor.${'x'.repeat(40)}${at}`, 'x']),
);
const NOT_SET = /is not set: write runtimeClassName: gvisor/;

const GENERAL: readonly Case[] = [
  {
    what: 'without a dry run, a pod with the runtime class is created, and none without',
    run: async (on) => {
      const path = await createObject(on, createPod());
      assertAccepted(await on.as('admin', remove(`${path}?gracePeriodSeconds=0`)));
      await assert.rejects(createObject(on, createPod(PLAIN)), NOT_SET);
    },
  },
  ...refused('admin', {
    'a pod without a runtime class': [
      createPod(PLAIN),
      /^pods "case-\w+" is forbidden: .* the namespace "strict" requires gVisor, and this Pod would break that: spec\.runtimeClassName is not set: write runtimeClassName: gvisor$/,
    ],
    'a pod with another runtime class': [
      podOf('plain'),
      /spec\.runtimeClassName is "plain": write runtimeClassName: gvisor$/,
    ],
    'a pod whose runtime class only has the same prefix': [podOf('gvisor-x'), /is "gvisor-x": write/],
    'a pod that server-side apply would create': [
      {
        method: 'PATCH',
        path: '/api/v1/namespaces/strict/pods/applied?fieldManager=test',
        patch: 'apply-patch+yaml',
        body: { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'applied' }, spec: container() },
      },
      /^pods "applied" is forbidden: .*is not set: write/,
    ],
    'a pod with spec.nodeName': [
      createPod({ spec: { ...ungated, nodeName: 'node-9' } }),
      /would break that: spec\.nodeName is "node-9", which goes past the scheduler .*: remove it; nodeSelector can name a node by kubernetes\.io\/hostname$/,
    ],
    'a pod with a flag for runsc': [
      createPod({ annotations: { [FLAG]: 'host' } }),
      /would break that: metadata\.annotations has dev\.gvisor\.flag\.network, which changes the sandbox: remove it$/,
    ],
    'a pod with a mount hint for runsc': [
      createPod({ annotations: { 'dev.gvisor.spec.mount.a.type': 'bind' } }),
      /has dev\.gvisor\.spec\.mount\.a\.type/,
    ],
    'a pod with all problems at once': [
      createPod({
        spec: {
          ...ungated,
          runtimeClassName: undefined,
          nodeName: 'n',
          hostPID: true,
          ...hostPath,
          ...container({
            ...privileged,
            ...HOST_PORT,
            livenessProbe: { httpGet: { host: '127.0.0.1', port: 1 } },
          }),
        },
        annotations: { [FLAG]: 'x' },
      }),
      /runtimeClassName is not set: .*; spec\.nodeName is "n".*; metadata\.annotations has dev\.gvisor.*; spec sets hostPID.*; volumes of.*; privileged is.*; hostPort is.*; a host in a probe/,
    ],
    'a pod with too many annotations': [
      createPod({ annotations: annotations(1_001) }),
      /would break that: metadata\.annotations has more than 1000, which is more than can be checked: remove some$/,
    ],
    'a flag among a thousand annotations': [
      createPod({ annotations: { ...annotations(999), [FLAG]: 'x' } }),
      /has dev\.gvisor\.flag\.network/,
    ],
    'a pod with more problems than fit into a message': [
      createPod({ annotations: many }),
      /this Pod would break that: metadata\.annotations has dev\.gvisor\..{3500,} \.\.\. and more$/,
    ],
  }),
  ...refused('dispatcher', {
    'a pod without a runtime class, with the ClusterRole edit,': [createPod(PLAIN), NOT_SET],
  }),
  ...refused('owner', {
    'a pod without a runtime class, as admin of the namespace,': [createPod(PLAIN), NOT_SET],
  }),
  ...accepted('dispatcher', {
    'a gVisor pod': createPod(),
    'a pod named like the class': create('strict', { ...pod(), metadata: { name: 'gvisor' } }),
  }),
  ...accepted('admin', {
    'a pod with a nodeSelector': createPod({
      spec: { nodeSelector: { 'kubernetes.io/hostname': 'node-9' } },
    }),
    'the foreign annotation dev.gvisor/team': createPod({ annotations: { 'dev.gvisor/team': 'x' } }),
    'the foreign annotation of a prefix': createPod({ annotations: { 'example.com/dev.gvisor.x': 'x' } }),
    'a pod with a thousand annotations': createPod({ annotations: annotations(1_000) }),
  }),
];

const HOST: readonly Case[] = [
  ...refused('admin', {
    "the host's network": [
      createPod({ spec: { hostNetwork: true } }),
      /would break that: spec sets hostNetwork: remove it, a namespace of the host is not allowed here$/,
    ],
    "the host's PID and IPC namespaces": [
      createPod({ spec: { hostPID: true, hostIPC: true } }),
      /spec sets hostPID, hostIPC: remove it/,
    ],
    'a gitRepo volume': [
      volumesWith({ name: 'git', gitRepo: { repository: 'https://example.com' } }),
      /volumes of these kinds are not allowed here: git;/,
    ],
    ...withMessage(/volumes of these kinds are not allowed here: v;/, volumes(OTHER_VOLUMES)),
    'a privileged container': [
      containerWith(privileged),
      /would break that: privileged is not allowed here, and the containers main have it: remove securityContext\.privileged$/,
    ],
    'a privileged init container': [initContainerWith(privileged), /the containers first have it/],
    'a claim for a device': [
      createPod({ spec: CLAIM }),
      /would break that: claims of devices are not allowed here: gpu; remove spec\.resourceClaims, a device plugin/,
    ],
    'a hostPort': [
      containerWith(HOST_PORT),
      /would break that: hostPort is not allowed here, and the containers main have it: remove it; a Service reaches the pod$/,
    ],
    'a hostPort of a sidecar': [
      sidecarWith(HOST_PORT),
      /hostPort is not allowed here, and the containers first have it/,
    ],
  }),
  ...refused('dispatcher', {
    'a hostPath, with the ClusterRole edit,': [
      volumesWith({ name: 'host', hostPath: { path: '/etc/kubernetes' } }),
      /would break that: volumes of these kinds are not allowed here: host; use emptyDir, configMap or a PersistentVolumeClaim$/,
    ],
  }),
  ...refused('owner', {
    'a hostPath after another volume, as admin of the namespace,': [
      volumesWith({ name: 'own', emptyDir: {} }, ...hostPath.volumes),
      /volumes of these kinds are not allowed here: host;/,
    ],
  }),
  ...accepted('admin', {
    'a host namespace set to false': createPod({ spec: { hostNetwork: false } }),
    ...volumes(VOLUMES),
    'a container with privileged: false': containerWith({ securityContext: { privileged: false } }),
    'a containerPort': containerWith({ ports: [{ containerPort: 8080 }] }),
  }),
  ...AIMED.flatMap(([what, part]) => [
    ...refused('admin', {
      [`${what} with a host`]: [
        containerWith(part('127.0.0.1')),
        /would break that: a host in a probe or lifecycle hook is not allowed here, and the containers main have it: remove host, and the kubelet connects to the pod$/,
      ],
      [`${what} of a sidecar with a host`]: [
        sidecarWith(part('10.0.0.1')),
        /a host in a probe or lifecycle hook is not allowed here, and the containers first have it/,
      ],
    }),
    ...accepted('admin', {
      [`${what} without a host`]: containerWith(part(undefined)),
      [`${what} with an empty host`]: containerWith(part('')),
    }),
  ]),
];

const everything = pod({
  spec: { ...hostPath, ...container(privileged), runtimeClassName: undefined, hostPID: true },
  annotations: { [FLAG]: 'x' },
});

/** Pods that are created, with default settings. */
export const POD_GROUPS: readonly Group[] = [
  { title: 'a new pod where gVisor is required', cases: GENERAL },
  { title: 'host access', cases: HOST },
  {
    title: 'namespaces without the requirement, and system namespaces regardless of their label',
    cases: [
      ...accepted('admin', {
        'everything without the label': create('free', everything),
        'everything with gvisor-ready.dev/require: "false"': create('declined', everything),
        'everything in a namespace kube-*': create('kube-labelled', everything),
        'everything in gvisor-ready': create('gvisor-ready', everything),
      }),
      ...refused(
        'admin',
        withMessage(NOT_SET, {
          'a pod without a runtime class in no-kube-system': create('no-kube-system', pod(PLAIN)),
          'a pod without a runtime class in gvisor-ready-too': create('gvisor-ready-too', pod(PLAIN)),
        }),
      ),
    ],
  },
];
