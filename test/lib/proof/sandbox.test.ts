import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { status } from '@grpc/grpc-js';
import { findPlace, isBelow, placeBeside, podIn, WrongRuntime } from '../../../lib/proof/sandbox.ts';
import { Refusal, refuses } from './containerd-scripts.ts';
import { POD_LABELS, scene } from './scene.ts';

describe('placeBeside', () => {
  const KUBELET = '/kubelet.slice/kubelet-kubepods.slice';
  const table: readonly [string, string][] = [
    ['/kubepods/besteffort/pod1234', '/kubepods/gvisor_ready'],
    ['/kubepods/burstable/pod0f-12', '/kubepods/gvisor_ready'],
    ['/kubepods/pod1234', '/kubepods/gvisor_ready'],
    ['/kubelet/kubepods/besteffort/pod1234', '/kubelet/kubepods/gvisor_ready'],
    ['/kubelet.slice/kubepods/podabc', '/kubelet.slice/kubepods/gvisor_ready'],
    ['kubepods-besteffort-pod12_34.slice', 'kubepods-gvisor_ready.slice'],
    ['kubepods-burstable-pod12_34.slice', 'kubepods-gvisor_ready.slice'],
    ['kubepods-pod12_34.slice', 'kubepods-gvisor_ready.slice'],
    ['kubelet-kubepods-besteffort-pod12_34.slice', 'kubelet-kubepods-gvisor_ready.slice'],
    [
      `${KUBELET}/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod1_2.slice`,
      'kubelet-kubepods-gvisor_ready.slice',
    ],
    ['', ''],
    ['/', ''],
    ['/pod1234', ''],
    ['/kubepods/besteffort', ''],
    ['kubepods-besteffort.slice', ''],
    ['/kubepods/pod1/pod2/container', ''],
    ['kubepods/besteffort/pod1', ''],
    ['-pod1.slice', ''],
    ['../../pod1', ''],
  ];
  for (const [cgroup, expected] of table) {
    it(`maps "${cgroup}" to "${expected}"`, () => assert.equal(placeBeside(cgroup), expected));
  }
});

describe('podIn', () => {
  it('names a pod where cgroups are directories, as gVisor finds it', () =>
    assert.match(podIn('/kubepods/gvisor_ready'), /^\/kubepods\/gvisor_ready\/pod[^/]+$/));
  for (const place of ['kubepods-gvisor_ready.slice', 'system.slice', ''])
    it(`is "${place}" itself`, () => assert.equal(podIn(place), place));
});

describe('isBelow', () => {
  const SLICE = 'kubepods-gvisor_ready.slice';
  const table: readonly [readonly string[], string, boolean][] = [
    [[`/kubepods.slice/${SLICE}/cri-containerd-1f.scope`], SLICE, true],
    [[`/../../kubepods.slice/${SLICE}/cri-containerd-1f.scope`], SLICE, true],
    [[`/system.slice/${SLICE}:cri-containerd:1f`], SLICE, false],
    [['/system.slice/containerd.service'], SLICE, false],
    [['/kubepods/gvisor_ready/1f'], '/kubepods/gvisor_ready', true],
    [['/../../../gvisor_ready/1f'], '/kubepods/gvisor_ready', true],
    [['/kubepods/gvisor_ready/1f', '/elsewhere/1f'], '/kubepods/gvisor_ready', false],
    [['/kubepods/pod12/1f'], '/kubepods/pod1', false],
    [[], '/kubepods/pod1', false],
  ];
  for (const [cgroups, parent, expected] of table) {
    it(`${cgroups.join(' and ') || 'nowhere'} is ${expected ? '' : 'not '}below ${parent}`, () => {
      assert.equal(isBelow(cgroups, parent), expected);
    });
  }
});

describe('findPlace', { concurrency: true }, () => {
  const pod = (cgroupParent: string) => ({ config: { linux: { cgroupParent } } });

  it('derives the cgroup from a pod, not from a probe', async (t) => {
    const { containerd, client } = await scene(t);
    containerd.sandboxes.addProbe('probe');
    assert.equal(await findPlace(client), '');
    assert.equal(containerd.count('PodSandboxStatus'), 0);
    containerd.sandboxes.add('pod', POD_LABELS, pod('/kubepods/burstable/pod2'));
    assert.equal(await findPlace(client), '/kubepods/gvisor_ready');
  });

  it("reads the status of the agent's own pod first", async (t) => {
    const { containerd, client } = await scene(t);
    for (const id of ['a', 'b', 'own', 'c']) containerd.sandboxes.add(id, POD_LABELS, pod('/kubepods/pod2'));
    assert.equal(await findPlace(client, 'own'), '/kubepods/gvisor_ready');
    assert.equal(containerd.requests.at(-1)?.request.podSandboxId, 'own');
  });

  it("rejects a containerd that does not run the agent's own pod", async (t) => {
    const { containerd, client } = await scene(t);
    await assert.rejects(findPlace(client, 'own'), WrongRuntime);
    containerd.sandboxes.add('other', POD_LABELS, pod('/kubepods/pod2'));
    // Pods choose their names and labels, but not their UIDs.
    const metadata = { name: 'own', namespace: 'gvisor-ready', uid: 'liar' };
    containerd.sandboxes.add('liar', { 'io.kubernetes.pod.uid': 'own' }, { config: { metadata } });
    const message =
      /^WrongRuntime: the containerd at \/run\/containerd\/containerd.sock runs 2 pods, and this agent's own is not among them: the kubelet uses another runtime$/;
    await assert.rejects(findPlace(client, 'own'), message);
  });

  it('is "" without pods, or "system.slice" with the driver of systemd', async (t) => {
    const { containerd, client } = await scene(t);
    assert.equal(await findPlace(client), '');
    const runc = { runtimeType: 'io.containerd.runc.v2', options: { SystemdCgroup: true } };
    const config = JSON.stringify({ containerd: { runtimes: { runc } } });
    containerd.scripts = { Status: () => ({ info: { config } }) };
    assert.equal(await findPlace(client), 'system.slice');
  });

  for (const [what, code] of [
    ['is gone', status.NOT_FOUND],
    ['times out', status.DEADLINE_EXCEEDED],
    ['is refused', status.UNKNOWN],
  ] as const)
    it(`tries the next pod if one ${what} or has no cgroup parent`, async (t) => {
      const { containerd, client } = await scene(t);
      for (const id of ['odd', 'silent']) containerd.sandboxes.add(id, POD_LABELS);
      containerd.sandboxes.add('pod', POD_LABELS, pod('kubepods-pod2.slice'));
      containerd.scripts = {
        PodSandboxStatus: (request) => {
          if (request.podSandboxId === 'odd') throw new Refusal('no', code);
          return containerd.usual('PodSandboxStatus', request);
        },
      };
      assert.equal(await findPlace(client), 'kubepods-gvisor_ready.slice');
    });

  it('tries pods of the default handler first, since a gVisor pod can block its sentry', async (t) => {
    const { containerd, client } = await scene(t);
    for (let n = 0; n < 20; n++)
      containerd.sandboxes.add(`silent-${n}`, POD_LABELS, { ...pod('/kubepods/pod1'), handler: 'runsc' });
    containerd.sandboxes.add('sound', POD_LABELS, pod('/kubepods/pod2'));
    assert.equal(await findPlace(client), '/kubepods/gvisor_ready');
    assert.equal(containerd.requests.at(-1)?.request.podSandboxId, 'sound');
    assert.equal(containerd.count('PodSandboxStatus'), 1);
  });

  it('tries at most five pods', async (t) => {
    const { containerd, client } = await scene(t);
    for (let n = 0; n < 20; n++) containerd.sandboxes.add(`silent-${n}`, POD_LABELS);
    assert.equal(await findPlace(client), '');
    assert.equal(containerd.count('PodSandboxStatus'), 5);
  });

  it('rejects if containerd refuses', async (t) => {
    const { containerd, client } = await scene(t, { PodSandboxStatus: refuses('no') });
    containerd.sandboxes.add('pod', POD_LABELS);
    await assert.rejects(findPlace(client), /^CriError: no$/);
  });
});
