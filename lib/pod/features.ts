import type { V1Container, V1PodSpec, V1VolumeMount } from '@kubernetes/client-node';

/**
 * Compared with the same pod outside: the same; an error says no; the pod waits for ever; no error and no effect; less
 * than outside, or more than asked.
 */
export type Effect = 'works' | 'refused' | 'hangs' | 'ignored' | 'weaker';

/** A release of gVisor, and containerd. */
export const RUNTIMES = {
  '20250203 on 1.7': { gvisor: '2025', containerd: '1.7' },
  '20250203 on 2.4': { gvisor: '2025', containerd: '2' },
  '20260223 on 2.4': { gvisor: 'current', containerd: '2' },
  '20260831 on 2.4': { gvisor: '2026-09', containerd: '2' },
} as const;
export type RuntimeName = keyof typeof RUNTIMES;

export const COMPATIBILITY = 'docs/compatibility.md';

/** Something that a pod asks for, or that is done to it. */
export type Feature = {
  /** As a manifest writes it. */
  readonly field: string;
  readonly effect: Effect;
  /** Runtimes that differ; "neither" if the pod outside gVisor does not get it either. */
  readonly except?: Readonly<Partial<Record<RuntimeName, Effect | 'neither'>>>;
  readonly seen: string;
  readonly remedy?: string;
  /** With it no container of the pod starts. */
  readonly starts?: false;
  /** The containers that ask for it, or "pod"; absent if no manifest tells. */
  readonly askedBy?: (pod: PodParts) => readonly string[];
};

type PodParts = {
  readonly spec: V1PodSpec;
  readonly containers: readonly V1Container[];
};

const ofPod = (asks: (spec: V1PodSpec) => unknown) => (pod: PodParts) => (asks(pod.spec) ? ['pod'] : []);
const ofContainers = (asks: (container: V1Container, pod: PodParts) => unknown) => (pod: PodParts) =>
  pod.containers.filter((each) => asks(each, pod)).map(({ name }) => String(name));
const adds = (capability: string) =>
  ofContainers(({ securityContext }) =>
    listOf(securityContext?.capabilities?.add).some((each) =>
      ['ALL', capability].includes(String(each).replace('CAP_', '')),
    ),
  );
const mounts = (asks: (mount: V1VolumeMount) => unknown) =>
  ofContainers(({ volumeMounts }) => objectsOf(volumeMounts).some(asks));

/** `test/nightly/pod-features.test.ts` starts a pair of pods for each row, and docs/compatibility.md shows it. */
export const FEATURES = {
  userNamespace: {
    field: 'hostUsers: false',
    effect: 'hangs',
    starts: false,
    except: { '20250203 on 1.7': 'neither' },
    seen: 'The pod stays in ContainerCreating. With 20260831 the kubelet takes the handler to have user namespaces, and runsc fails.',
    remedy: 'Remove it, and procMount: Unmasked, which needs it. Root in gVisor has no rights on the host.',
    askedBy: ofPod(({ hostUsers }) => hostUsers === false),
  },
  recursiveReadOnly: {
    field: 'recursiveReadOnly: Enabled',
    effect: 'hangs',
    starts: false,
    except: { '20250203 on 1.7': 'neither' },
    seen: 'The container stays in CreateContainerConfigError.',
    remedy: 'Write IfPossible, or remove it.',
    askedBy: mounts(({ recursiveReadOnly }) => recursiveReadOnly === 'Enabled'),
  },
  bidirectional: {
    field: 'mountPropagation: Bidirectional',
    effect: 'refused',
    starts: false,
    seen: 'The container does not start: the root mount must be private or slave.',
    remedy: 'Mount in the container that uses the mount, or keep this pod outside gVisor.',
    askedBy: mounts(({ mountPropagation }) => mountPropagation === 'Bidirectional'),
  },
  sysctls: {
    field: 'securityContext.sysctls',
    effect: 'ignored',
    seen: "The pod runs with gVisor's own values, and nothing says so.",
    remedy: 'Set what the program needs in the program, and remove the sysctls.',
    askedBy: ofPod(({ securityContext }) => listOf(securityContext?.sysctls).length > 0),
  },
  seccompProfile: {
    field: 'seccompProfile of type Localhost',
    effect: 'ignored',
    seen: "The profile does not restrict the container; what it forbids succeeds, in gVisor's own kernel.",
    remedy: 'Do not count on the profile.',
    askedBy: (pod) => [
      ...ofPod(({ securityContext }) => securityContext?.seccompProfile?.type === 'Localhost')(pod),
      ...ofContainers(({ securityContext }) => securityContext?.seccompProfile?.type === 'Localhost')(pod),
    ],
  },
  imageVolume: {
    field: 'a volume of the kind image',
    effect: 'works',
    except: { '20250203 on 1.7': 'neither' },
    seen: 'The files of the image are there. containerd 1.7 has no image volumes, with gVisor or without.',
    askedBy: ofPod(({ volumes }) => objectsOf(volumes).some(({ image }) => image !== undefined)),
  },
  hostPID: {
    field: 'hostPID: true',
    effect: 'ignored',
    seen: 'The pod runs, and sees its own processes only.',
    remedy: "Keep pods that watch the host's processes outside gVisor.",
    askedBy: ofPod(({ hostPID }) => hostPID),
  },
  hostIPC: {
    field: 'hostIPC: true',
    effect: 'ignored',
    seen: 'The pod runs, and sees no shared memory of the host.',
    remedy: 'Put what shares memory into one pod.',
    askedBy: ofPod(({ hostIPC }) => hostIPC),
  },
  hostNetwork: {
    field: 'hostNetwork: true',
    effect: 'ignored',
    seen: 'The pod runs without the interfaces of the node.',
    remedy: 'Keep pods that need the network of the node outside gVisor.',
    askedBy: ofPod(({ hostNetwork }) => hostNetwork),
  },
  hostSocket: {
    field: 'a socket in a hostPath',
    effect: 'refused',
    seen: 'The file is there, and a connection is refused.',
    remedy: 'Reach the service over TCP. For containerd or Docker, build images without a daemon.',
    askedBy: ofPod(({ volumes }) =>
      objectsOf(volumes).some(
        ({ hostPath }) => hostPath?.type === 'Socket' || /\.sock$/.test(String(hostPath?.path)),
      ),
    ),
  },
  privileged: {
    field: 'privileged: true',
    effect: 'weaker',
    seen: 'The container may mount in gVisor, and cannot open a device of the host (tried: /dev/kmsg).',
    remedy: 'Ask for single capabilities. Keep what drives a device outside gVisor.',
    askedBy: ofContainers(({ securityContext }) => securityContext?.privileged),
  },
  rawSocket: {
    field: 'the capability NET_RAW',
    effect: 'refused',
    seen: 'Raw sockets fail: Operation not permitted.',
    remedy: 'Use a program that needs no raw sockets.',
    askedBy: adds('NET_RAW'),
  },
  iptables: {
    field: 'the capability NET_ADMIN',
    effect: 'refused',
    seen: 'The nat table of iptables cannot be read (Operation not permitted), which the init containers of meshes need.',
    remedy: 'Use a mesh whose CNI plugin redirects, or a proxy that the program is told of.',
    askedBy: adds('NET_ADMIN'),
  },
  nestedContainers: {
    field: 'the capability SYS_ADMIN',
    effect: 'works',
    seen: 'A program can mount an overlay in a mount namespace of its own; its paths must be absolute.',
    askedBy: adds('SYS_ADMIN'),
  },
  ptrace: {
    field: 'the capability SYS_PTRACE',
    effect: 'works',
    seen: 'A program can attach to another of its container.',
    askedBy: adds('SYS_PTRACE'),
  },
  sharedProcesses: {
    field: 'shareProcessNamespace: true',
    effect: 'works',
    seen: 'The container sees the first process of the pod.',
    askedBy: ofPod(({ shareProcessNamespace }) => shareProcessNamespace),
  },
  memoryLimit: {
    field: 'a memory limit beside other containers',
    effect: 'weaker',
    seen: 'A container over its limit ends the whole pod (OOMKilled), not itself alone.',
    remedy: 'Put what may need too much memory into a pod of its own.',
    askedBy: (pod) =>
      objectsOf(pod.spec.containers).length < 2
        ? []
        : ofContainers(({ resources }) => resources?.limits?.memory !== undefined)(pod),
  },
  ioUring: {
    field: 'io_uring',
    effect: 'refused',
    seen: 'io_uring_setup fails; programs that can fall back to epoll.',
  },
  portForward: {
    field: 'kubectl port-forward',
    effect: 'refused',
    seen: 'Connection refused, though the program in the pod listens.',
    remedy: 'Use a Service, or kubectl exec.',
  },
  ephemeralContainer: {
    field: 'an ephemeral container',
    effect: 'works',
    seen: 'It runs in the running pod, as kubectl debug needs.',
  },
} as const satisfies Readonly<Record<string, Feature>>;

export type FeatureId = keyof typeof FEATURES;

/**
 * The rows that a pod spec of unknown origin asks for, and the containers that do; fields of a wrong type count as
 * absent.
 */
export function askedBy(
  spec: object,
): readonly { readonly id: FeatureId; readonly feature: Feature; readonly by: readonly string[] }[] {
  const given = spec as V1PodSpec;
  const containers = [given.initContainers, given.containers, given.ephemeralContainers].flatMap(objectsOf);
  return (Object.entries(FEATURES) as [FeatureId, Feature][]).flatMap(([id, feature]) => {
    const by = feature.askedBy?.({ spec: given, containers }) ?? [];
    return by.length === 0 ? [] : [{ id, feature, by }];
  });
}

function objectsOf<T extends object>(value: readonly T[] | undefined): readonly T[] {
  return listOf(value).filter((each): each is T => typeof each === 'object' && each !== null);
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}
