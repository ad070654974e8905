import { describe } from 'node:test';
import { useAdmission } from './admission-cluster.ts';
import {
  container,
  create,
  createPod,
  createRuntimeClass,
  FLAG,
  hostPath,
  pod,
  privileged,
} from './admission-objects.ts';
import { podsAreRefused, table } from './admission-table.ts';

const admission = useAdmission(['enforce'], async (ready) => {
  for (const name of ['gvisor-x', 'plain']) await ready.as('admin', createRuntimeClass(name));
  await podsAreRefused(ready);
});

const ungated = { schedulingGates: undefined };

describe('a namespace with require-gvisor: "true", by the default parameters', () => {
  table(admission, [
    ['a pod with the runtime class', createPod()],
    [
      'a pod without a runtime class',
      createPod({ spec: { runtimeClassName: undefined } }),
      /^pods "case-\w+" is forbidden: .* the namespace "strict" requires gVisor, and this Pod would break that: spec\.runtimeClassName is not set: write runtimeClassName: gvisor$/,
    ],
    [
      'a pod with another runtime class',
      createPod({ spec: { runtimeClassName: 'plain' } }),
      /spec\.runtimeClassName is "plain": write runtimeClassName: gvisor$/,
    ],
    [
      'a pod whose runtime class only begins alike',
      createPod({ spec: { runtimeClassName: 'gvisor-x' } }),
      /is "gvisor-x": write/,
    ],
    [
      'a pod that a program with the ClusterRole edit creates',
      createPod({ spec: { runtimeClassName: undefined } }),
      /is not set: write runtimeClassName: gvisor/,
      'dispatcher',
    ],
    ['the gVisor pod of that program', createPod(), undefined, 'dispatcher'],
    [
      'a pod, by a dry run on the server',
      create('strict', pod({ spec: { runtimeClassName: undefined } }), 'dryRun=All'),
      /is not set: write runtimeClassName: gvisor/,
    ],
    ['a gVisor pod, by a dry run on the server', create('strict', pod(), 'dryRun=All')],
    [
      'a pod that server-side apply would create',
      {
        method: 'PATCH',
        path: '/api/v1/namespaces/strict/pods/applied?fieldManager=test',
        patch: 'apply-patch+yaml',
        body: { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'applied' }, spec: container() },
      },
      /^pods "applied" is forbidden: .*is not set: write/,
    ],
    [
      'a pod that names its node',
      createPod({ spec: { ...ungated, nodeName: 'node-9' } }),
      /spec\.nodeName is "node-9", which goes past the scheduler .*: remove it; nodeSelector can name a node by kubernetes\.io\/hostname$/,
    ],
    [
      'a pod that chooses its node by a selector',
      createPod({ spec: { nodeSelector: { 'kubernetes.io/hostname': 'node-9' } } }),
    ],
    [
      'a pod with a flag for runsc',
      createPod({ annotations: { [FLAG]: 'host' } }),
      /metadata\.annotations has dev\.gvisor\.flag\.network, which changes the sandbox: remove it$/,
    ],
    [
      'a pod with a mount hint for runsc',
      createPod({ annotations: { 'dev.gvisor.spec.mount.a.type': 'bind' } }),
      /has dev\.gvisor\.spec\.mount\.a\.type/,
    ],
    ['a pod with an annotation of somebody else', createPod({ annotations: { 'dev.gvisor/team': 'x' } })],
    [
      'all problems of a pod at once',
      createPod({
        spec: { ...ungated, runtimeClassName: undefined, nodeName: 'n' },
        annotations: { [FLAG]: 'x' },
      }),
      /runtimeClassName is not set: .*; spec\.nodeName is "n".*; metadata\.annotations has dev\.gvisor/,
    ],
    [
      'host namespaces, which are not refused by default',
      createPod({ spec: { hostNetwork: true, hostPID: true } }),
    ],
    ['hostPath, which is not refused by default', createPod({ spec: hostPath })],
    ['privileged, which is not refused by default', createPod({ spec: container(privileged) })],
  ]);
});
