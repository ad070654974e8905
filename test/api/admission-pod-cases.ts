import { MINOR } from '../kubernetes-minor.ts';
import { accepted, assertAccepted, type Case, createObject, type Group, refused } from './admission-case.ts';
import type { Admission } from './admission-cluster.ts';
import { container, create, createPod, FLAG, hostPath, pod, privileged } from './admission-objects.ts';

/** A mirror pod as a kubelet writes it for a static pod. */
export async function mirrorPod({ as }: Admission): Promise<object> {
  const { body } = await as('admin', { method: 'GET', path: '/api/v1/nodes/node-9' });
  const { uid } = (body as { readonly metadata: { readonly uid: string } }).metadata;
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: 'static-node-9',
      annotations: { 'kubernetes.io/config.mirror': 'x' },
      ownerReferences: [{ apiVersion: 'v1', kind: 'Node', name: 'node-9', uid, controller: true }],
    },
    spec: { nodeName: 'node-9', ...container() },
  };
}
const dry = (body: object) => create('strict', body, 'dryRun=All');
const MIRRORS: readonly Case[] = [
  accepted("the kubelet's own, of a static pod", async (on) => dry(await mirrorPod(on)), { as: 'kubelet' }),
  refused(
    'the same without the annotation',
    async (on) => dry({ ...(await mirrorPod(on)), metadata: { name: 'static-node-9' } }),
    /./,
    { as: 'kubelet' },
  ),
  refused(
    'the same from another user',
    async (on) =>
      dry({
        ...(await mirrorPod(on)),
        metadata: { name: 'm', annotations: { 'kubernetes.io/config.mirror': 'x' } },
      }),
    /is not set: write runtimeClassName: gvisor; spec\.nodeName is "node-9"/,
    { as: 'dispatcher' },
  ),
];

/** Mirror pods written by kubelets and by other users. */
export const MIRROR_GROUPS: readonly Group[] = [{ title: 'mirror pods', cases: MIRRORS }];

const ungated = { schedulingGates: undefined };
const plain = { spec: { runtimeClassName: undefined } };
const initContainer = (part: object) => ({
  initContainers: [{ name: 'first', image: 'localhost/none', ...part }],
});
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
/** Annotations whose problems exceed the API server's limit for a message. */
const many = Object.fromEntries(
  Array.from({ length: 150 }, (_, at) => [`dev.gvisor.${'x'.repeat(40)}${at}`, 'x']),
);

const annotations = (count: number) =>
  Object.fromEntries(Array.from({ length: count }, (_, at) => [`a${at}`, '']));

const GENERAL: readonly Case[] = [
  {
    what: 'admin: a pod with the runtime class is created without a dry run',
    run: async (on) => {
      const path = await createObject(on, create('strict', pod()));
      assertAccepted(await on.as('admin', { method: 'DELETE', path: `${path}?gracePeriodSeconds=0` }));
    },
  },
  refused(
    'a pod without a runtime class, without a dry run',
    create('strict', pod(plain)),
    /is not set: write/,
  ),
  refused(
    'a pod without a runtime class',
    createPod(plain),
    /^pods "case-\w+" is forbidden: .* the namespace "strict" requires gVisor, and this Pod would break that: spec\.runtimeClassName is not set: write runtimeClassName: gvisor$/,
  ),
  refused(
    'a pod with another runtime class',
    createPod({ spec: { runtimeClassName: 'plain' } }),
    /spec\.runtimeClassName is "plain": write runtimeClassName: gvisor$/,
  ),
  refused(
    'a pod whose runtime class only has the same prefix',
    createPod({ spec: { runtimeClassName: 'gvisor-x' } }),
    /is "gvisor-x": write/,
  ),
  refused(
    'a pod without a runtime class, by a program with the ClusterRole edit',
    createPod(plain),
    /is not set: write/,
    {
      as: 'dispatcher',
    },
  ),
  accepted('a gVisor pod, by that program', createPod(), { as: 'dispatcher' }),
  refused(
    'a pod without a runtime class, by the admin of the namespace',
    createPod(plain),
    /is not set: write runtimeClassName: gvisor/,
    { as: 'owner' },
  ),
  refused(
    'a pod that server-side apply would create',
    {
      method: 'PATCH',
      path: '/api/v1/namespaces/strict/pods/applied?dryRun=All&fieldManager=test',
      patch: 'apply-patch+yaml',
      body: { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'applied' }, spec: container() },
    },
    /^pods "applied" is forbidden: .*is not set: write/,
  ),
  refused(
    'a pod with spec.nodeName',
    createPod({ spec: { ...ungated, nodeName: 'node-9' } }),
    /would break that: spec\.nodeName is "node-9", which goes past the scheduler .*: remove it; nodeSelector can name a node by kubernetes\.io\/hostname$/,
  ),
  accepted(
    'a pod with a nodeSelector',
    createPod({ spec: { nodeSelector: { 'kubernetes.io/hostname': 'node-9' } } }),
  ),
  refused(
    'a pod with a flag for runsc',
    createPod({ annotations: { [FLAG]: 'host' } }),
    /would break that: metadata\.annotations has dev\.gvisor\.flag\.network, which changes the sandbox: remove it$/,
  ),
  refused(
    'a pod with a mount hint for runsc',
    createPod({ annotations: { 'dev.gvisor.spec.mount.a.type': 'bind' } }),
    /has dev\.gvisor\.spec\.mount\.a\.type/,
  ),
  accepted(
    'a pod named like the class',
    create('strict', { ...pod(), metadata: { name: 'gvisor' } }, 'dryRun=All'),
    { as: 'dispatcher' },
  ),
  ...['dev.gvisor/team', 'example.com/dev.gvisor.x'].map((key) =>
    accepted(`the foreign annotation ${key}`, createPod({ annotations: { [key]: 'x' } })),
  ),
  refused(
    'a pod with all problems at once',
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
  ),
  refused(
    'a pod with too many annotations',
    createPod({ annotations: annotations(1_001) }),
    /would break that: metadata\.annotations has more than 1000, which is more than can be checked: remove some$/,
  ),
  accepted('a pod with a thousand annotations', createPod({ annotations: annotations(1_000) })),
  refused(
    'a flag among a thousand annotations',
    createPod({ annotations: { ...annotations(999), [FLAG]: 'x' } }),
    /has dev\.gvisor\.flag\.network/,
  ),
  refused(
    'a pod with more problems than fit into a message',
    createPod({ annotations: many }),
    /this Pod would break that: metadata\.annotations has dev\.gvisor\..{3500,} \.\.\. and more$/,
  ),
];

const HOST: readonly Case[] = [
  refused(
    "the host's network",
    createPod({ spec: { hostNetwork: true } }),
    /would break that: spec sets hostNetwork: remove it, a namespace of the host is not allowed here$/,
  ),
  refused(
    "the host's PID and IPC namespaces",
    createPod({ spec: { hostPID: true, hostIPC: true } }),
    /spec sets hostPID, hostIPC: remove it/,
  ),
  accepted('a host namespace set to false', createPod({ spec: { hostNetwork: false } })),
  refused(
    'a hostPath, by a program with the ClusterRole edit',
    createPod({ spec: { volumes: [{ name: 'host', hostPath: { path: '/etc/kubernetes' } }] } }),
    /would break that: volumes of these kinds are not allowed here: host; use emptyDir, configMap or a PersistentVolumeClaim$/,
    { as: 'dispatcher' },
  ),
  refused(
    'a hostPath after another volume, as admin of the namespace',
    createPod({ spec: { volumes: [{ name: 'own', emptyDir: {} }, ...hostPath.volumes] } }),
    /volumes of these kinds are not allowed here: host;/,
    { as: 'owner' },
  ),
  refused(
    'a gitRepo volume',
    createPod({ spec: { volumes: [{ name: 'git', gitRepo: { repository: 'https://example.com' } }] } }),
    /volumes of these kinds are not allowed here: git;/,
  ),
  ...Object.entries(OTHER_VOLUMES).map(([kind, source]) =>
    refused(
      `a volume of the kind ${kind}`,
      createPod({ spec: { volumes: [{ name: 'v', [kind]: source }] } }),
      /volumes of these kinds are not allowed here: v;/,
    ),
  ),
  ...Object.entries(VOLUMES).map(([kind, source]) =>
    accepted(
      `a volume of the kind ${kind}`,
      createPod({ spec: { volumes: [{ name: 'v', [kind]: source }] } }),
    ),
  ),
  refused(
    'a privileged container',
    createPod({ spec: container(privileged) }),
    /would break that: privileged is not allowed here, and the containers main have it: remove securityContext\.privileged$/,
  ),
  refused(
    'a privileged init container',
    createPod({ spec: initContainer(privileged) }),
    /the containers first have it/,
  ),
  accepted(
    'a container with privileged: false',
    createPod({ spec: container({ securityContext: { privileged: false } }) }),
  ),
  refused(
    'a hostPort',
    createPod({ spec: container(HOST_PORT) }),
    /would break that: hostPort is not allowed here, and the containers main have it: remove it; a Service reaches the pod$/,
  ),
  refused(
    'a hostPort of a sidecar',
    createPod({ spec: initContainer({ restartPolicy: 'Always', ...HOST_PORT }) }),
    /hostPort is not allowed here, and the containers first have it/,
  ),
  accepted('a containerPort', createPod({ spec: container({ ports: [{ containerPort: 8080 }] }) })),
  ...AIMED.flatMap(([what, part]) => [
    refused(
      `${what} with a host`,
      createPod({ spec: container(part('127.0.0.1')) }),
      /would break that: a host in a probe or lifecycle hook is not allowed here, and the containers main have it: remove host, and the kubelet connects to the pod$/,
    ),
    refused(
      `${what} of a sidecar with a host`,
      createPod({ spec: initContainer({ restartPolicy: 'Always', ...part('10.0.0.1') }) }),
      /a host in a probe or lifecycle hook is not allowed here, and the containers first have it/,
    ),
    accepted(`${what} without a host`, createPod({ spec: container(part(undefined)) })),
    accepted(`${what} with an empty host`, createPod({ spec: container(part('')) })),
  ]),
];

const everything = pod({
  spec: { ...hostPath, ...container(privileged), runtimeClassName: undefined, hostPID: true },
  annotations: { [FLAG]: 'x' },
});
const ELSEWHERE: readonly Case[] = [
  accepted('everything without the label', create('free', everything, 'dryRun=All')),
  accepted('everything with require-gvisor: "false"', create('declined', everything, 'dryRun=All')),
  accepted('everything in a namespace kube-*', create('kube-labelled', everything, 'dryRun=All')),
  accepted('everything in gvisor-ready', create('gvisor-ready', everything, 'dryRun=All')),
  ...['no-kube-system', 'gvisor-ready-too'].map((namespace) =>
    refused(
      `a pod without a runtime class in ${namespace}`,
      create(namespace, pod(plain), 'dryRun=All'),
      /is not set: write/,
    ),
  ),
];

/** Pods that are created, with default settings. */
export const POD_GROUPS: readonly Group[] = [
  { title: 'a new pod where gVisor is required', cases: GENERAL },
  { title: 'host access', cases: HOST },
  {
    title: 'namespaces without the requirement, and system namespaces regardless of their label',
    cases: ELSEWHERE,
  },
];
