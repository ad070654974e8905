import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { cgroupBeside } from '../../../agent/proof/place.ts';

describe('cgroupBeside', () => {
  const table: readonly [string, string][] = [
    ['/kubepods/besteffort/pod1234', '/kubepods/besteffort'],
    ['/kubepods/burstable/pod0f-12', '/kubepods/burstable'],
    ['/kubepods/pod1234', '/kubepods'],
    ['/kubelet/kubepods/besteffort/pod1234', '/kubelet/kubepods/besteffort'],
    ['/kubelet.slice/kubepods/podabc', '/kubelet.slice/kubepods'],
    ['kubepods-besteffort-pod12_34.slice', 'kubepods-besteffort.slice'],
    ['kubepods-pod12_34.slice', 'kubepods.slice'],
    ['kubelet-kubepods-besteffort-pod12_34.slice', 'kubelet-kubepods-besteffort.slice'],
    [
      '/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod1_2.slice',
      'kubelet-kubepods-burstable.slice',
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
    it(`"${cgroup}" gives "${expected}"`, () => assert.equal(cgroupBeside(cgroup), expected));
  }
});
