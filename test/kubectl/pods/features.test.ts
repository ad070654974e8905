import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { askedBy } from '../../../kubectl/pods/features.ts';

const privileged = { securityContext: { privileged: true } };
const adds = (...add: readonly string[]) => ({
  containers: [{ name: 'c', securityContext: { capabilities: { add } } }],
});
const limits = (name: string) => ({ containers: [{ name: 'c', resources: { limits: { [name]: 1 } } }] });
const hostPath = (path: string, type?: string) => ({ volumes: [{ name: 'v', hostPath: { path, type } }] });
const mounting = (name: string, rest: object = {}) => ({
  name,
  volumeMounts: [{ name: 'v', mountPath: '/v', ...rest }],
});

/** Parts of a pod spec, and who asks for which row. */
const CASES: Readonly<
  Record<string, readonly [spec: object, asked: Readonly<Record<string, readonly string[]>>]>
> = {
  'nothing of the table': [{ containers: [{ name: 'c', command: ['sleep', 'infinity'] }] }, {}],
  'a capability with its prefix': [adds('CAP_NET_RAW'), { rawSocket: ['c'] }],
  'all capabilities in small letters': [
    adds('all'),
    {
      rawSocket: ['c'],
      netAdmin: ['c'],
      nestedContainers: ['c'],
      kernelCapabilities: ['c'],
      ptrace: ['c'],
    },
  ],
  'the capability BPF': [adds('BPF'), { kernelCapabilities: ['c'] }],
  'the network of the node': [{ hostNetwork: true }, { hostNetwork: ['pod'] }],
  'an NVIDIA GPU': [limits('nvidia.com/gpu'), { nvidiaGpu: ['c'] }],
  'another GPU': [limits('amd.com/gpu'), { otherResource: ['c'] }],
  'CPUs and huge pages': [
    { containers: [{ name: 'c', resources: { limits: { cpu: 1, 'hugepages-2Mi': 1 } } }] },
    {},
  ],
  'a claim of a device': [{ resourceClaims: [{ name: 'gpu' }] }, { resourceClaims: ['pod'] }],
  'a block volume': [
    { containers: [{ name: 'c', volumeDevices: [{ name: 'v' }] }] },
    { volumeDevices: ['c'] },
  ],
  '/dev/kvm': [hostPath('/dev/kvm', 'CharDevice'), { hostDevice: ['pod'] }],
  'all devices': [hostPath('/dev'), { hostDevice: ['pod'] }],
  'a disk': [hostPath('/mnt/disk', 'BlockDevice'), { blockDevice: ['pod'] }],
  'what gVisor has itself': [hostPath('/dev/net/tun', 'CharDevice'), {}],
  'a socket by its name': [hostPath('/run/x.sock'), { hostSocket: ['pod'] }],
  "the device plugins' directory": [hostPath('/var/lib/kubelet/device-plugins'), { hostSocket: ['pod'] }],
  "the CSI drivers' directory": [
    hostPath('/var/lib/kubelet/plugins/x/', 'DirectoryOrCreate'),
    { hostSocket: ['pod'] },
  ],
  'all of /run': [hostPath('/var/run/'), { hostDirectory: ['pod'] }],
  'a directory of files': [hostPath('/etc/ssl'), {}],
  'an init container that writes a sysctl': [
    { initContainers: [{ name: 'i', ...privileged, command: ['sysctl', '-w', 'vm.max_map_count=262144'] }] },
    { sysctlWrite: ['i'], privileged: ['i'] },
  ],
  'the init container of a mesh': [
    { initContainers: [{ name: 'i', args: ['istio-iptables', '-p', '15001'] }] },
    { iptables: ['i'] },
  ],
  'Docker without iptables': [
    { containers: [{ name: 'd', image: 'docker:27-dind', args: ['--iptables=false'] }] },
    {},
  ],
  'Docker by its image': [{ containers: [{ name: 'd', image: 'docker:27-dind' }] }, { docker: ['d'] }],
  'Docker by its command': [
    { containers: [{ name: 'd', command: ['sh', '-c', 'dockerd & sleep 9'] }] },
    { docker: ['d'] },
  ],
  'Docker by its digest': [
    { containers: [{ name: 'd', image: 'x/library/docker@sha256:0', ...privileged }] },
    { privileged: ['d'], docker: ['d'] },
  ],
  'a client of Docker': [{ containers: [{ name: 'd', image: 'docker:27' }] }, {}],
  sudo: [{ containers: [{ name: 'c', args: ['-c', 'sudo apt-get update'] }] }, { setuid: ['c'] }],
  'a volume of two containers': [
    {
      containers: [mounting('a'), mounting('b', { readOnly: true })],
      volumes: [{ name: 'v', emptyDir: {} }],
    },
    { sharedVolume: ['a', 'b'] },
  ],
  'a volume of a claim template': [
    { containers: [mounting('a'), mounting('b')] },
    { sharedVolume: ['a', 'b'] },
  ],
  'a volume that no container writes': [
    { containers: [mounting('a', { readOnly: true }), mounting('b', { readOnly: true })] },
    {},
  ],
  'a Secret of two containers': [
    { containers: [mounting('a'), mounting('b')], volumes: [{ name: 'v', secret: {} }] },
    {},
  ],
  'a volume that an init container fills': [
    { initContainers: [mounting('i')], containers: [mounting('a')] },
    {},
  ],
  'a volume of a native sidecar': [
    { initContainers: [{ ...mounting('i'), restartPolicy: 'Always' }], containers: [mounting('a')] },
    { sharedVolume: ['i', 'a'] },
  ],
  'a volume that one container mounts twice': [
    { containers: [{ name: 'a', volumeMounts: [{ name: 'v' }, { name: 'v', subPath: 's' }] }] },
    {},
  ],
  'a memory limit beside an init container': [
    {
      initContainers: [{ name: 'i' }],
      containers: [{ name: 'a', resources: { limits: { memory: '1Gi' } } }],
    },
    {},
  ],
};

describe('askedBy', () => {
  for (const [what, [spec, expected]] of Object.entries(CASES))
    it(`reads ${what}`, () => {
      const asked = askedBy(spec).map(({ feature, by }) => [feature.id, by]);
      assert.deepEqual(Object.fromEntries(asked), expected);
    });
});
