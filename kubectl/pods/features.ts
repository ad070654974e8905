import type { V1Container, V1PodSpec, V1Volume, V1VolumeMount } from '@kubernetes/client-node';

/**
 * Compared with the same pod outside: the same; an error says no; the pod waits for ever; no error and no effect; less
 * than outside, or more than asked; not run here.
 */
export type Effect = 'works' | 'refused' | 'hangs' | 'ignored' | 'weaker' | 'untried';

/** A release of gVisor, and containerd. */
export const RUNTIMES = {
  '20250203 on 1.7': { gvisor: '2025', containerd: '1.7' },
  '20250203 on 2.4': { gvisor: '2025', containerd: '2' },
  '20260223 on 2.4': { gvisor: 'current', containerd: '2' },
  '20260831 on 2.4': { gvisor: '2026-09', containerd: '2' },
} as const;
export type RuntimeName = keyof typeof RUNTIMES;

export const COMPATIBILITY = 'docs/compatibility.md';

type PodParts = {
  readonly spec: V1PodSpec;
  readonly volumes: readonly V1Volume[];
  readonly containers: readonly V1Container[];
  /** Without init containers that end before the others start. */
  readonly livingTogether: readonly V1Container[];
};

/** The names of the containers that ask, or "pod". */
type Ask = (pod: PodParts) => readonly string[];

type Row = {
  readonly id: string;
  /** As a manifest writes it. */
  readonly field: string;
  readonly effect: Effect;
  /** Runtimes that differ; "neither" if the pod outside gVisor does not get it either. */
  readonly except?: Readonly<Partial<Record<RuntimeName, Effect | 'neither'>>>;
  readonly seen: string;
  readonly remedy?: string;
  /** No container of the pod starts, and the dispatcher refuses it. */
  readonly starts?: false;
  /** Absent if no manifest tells. */
  readonly asks?: Ask;
};

const ofPod =
  (asks: (spec: V1PodSpec) => unknown): Ask =>
  ({ spec }) =>
    asks(spec) ? ['pod'] : [];
const ofVolumes =
  (asks: (volume: V1Volume) => unknown): Ask =>
  ({ volumes }) =>
    volumes.some(asks) ? ['pod'] : [];
const ofContainers =
  (asks: (container: V1Container) => unknown): Ask =>
  ({ containers }) =>
    containers.filter(asks).map(nameOf);
const mounts = (asks: (mount: V1VolumeMount) => unknown) =>
  ofContainers(({ volumeMounts }) => objectsOf(volumeMounts).some(asks));

/** containerd takes capabilities without regard to case: pkg/oci/spec_opts.go */
const adds = (...capabilities: readonly string[]) =>
  ofContainers(({ securityContext }) =>
    listOf(securityContext?.capabilities?.add)
      .map((each) => String(each).toUpperCase().replace(/^CAP_/, ''))
      .some((each) => each === 'ALL' || capabilities.includes(each)),
  );

const hasWord = (container: V1Container, word: RegExp) =>
  word.test([...listOf(container.command), ...listOf(container.args)].join(' '));
const runs = (word: RegExp) => ofContainers((container) => hasWord(container, word));

/** By its name, or by its image, which is that of the client too, but the daemon is privileged. */
const isDockerDaemon = (container: V1Container) =>
  hasWord(container, /\bdockerd\b/) ||
  /\bdind\b/.test(String(container.image)) ||
  (/(^|\/)docker[:@]/.test(String(container.image)) && container.securityContext?.privileged === true);

const hasResource = (wanted: (name: string) => boolean) =>
  ofContainers(({ resources }) => Object.keys({ ...resources?.limits, ...resources?.requests }).some(wanted));

const hasLocalProfile = ({ securityContext }: V1PodSpec | V1Container) =>
  securityContext?.seccompProfile?.type === 'Localhost';

/** Directories whose files are sockets. */
const SOCKETS =
  /\.sock$|^\/(var\/)?run\/(containerd|crio|dbus|docker|k3s\/containerd)\/?$|^\/var\/lib\/kubelet\/(device-plugins|plugins|plugins_registry|pod-resources)(\/|$)/;
/** Directories with sockets among other files. */
const WITH_SOCKETS = /^\/$|^(\/var)?\/run\/?$|^\/var\/lib\/kubelet\/?$/;

/** gVisor has the first ones itself; shm and pts are directories. */
const EMULATED = /^\/dev\/(null|zero|full|u?random|net\/tun|fuse|shm|tty|ptmx|pts)(\/|$)/;
const isDevice = ({ hostPath }: V1Volume) => {
  const path = String(hostPath?.path);
  if (hostPath?.type === 'BlockDevice' || EMULATED.test(path)) return false;
  return hostPath?.type === 'CharDevice' || /^\/dev(\/|$)/.test(path);
};

const READ_ONLY_VOLUMES = ['configMap', 'downwardAPI', 'image', 'projected', 'secret'];

/** The containers that mount one volume, if one of them can write to it. */
const whatShareVolumes: Ask = ({ volumes, livingTogether }) => {
  const fixed = volumes
    .filter((volume) => READ_ONLY_VOLUMES.some((kind) => kind in volume))
    .map(({ name }) => name);
  const mounted = livingTogether.flatMap((container) =>
    objectsOf(container.volumeMounts).map(({ name, readOnly }) => {
      return { volume: name, container: nameOf(container), writes: readOnly !== true };
    }),
  );
  const shared = mounted.filter(
    ({ volume, container }) =>
      !fixed.includes(volume) &&
      mounted.some((other) => other.volume === volume && other.container !== container) &&
      mounted.some((other) => other.volume === volume && other.writes),
  );
  return [...new Set(shared.map(({ container }) => container))];
};

/** `test/nightly/pod-features.test.ts` starts a pair of pods for each row that was tried, and docs/compatibility.md shows it. */
const TABLE = [
  {
    id: 'userNamespace',
    field: 'hostUsers: false',
    effect: 'hangs',
    starts: false,
    except: { '20250203 on 1.7': 'neither' },
    seen: 'The pod stays in ContainerCreating. With 20260831 the kubelet takes the handler to have user namespaces, and runsc fails.',
    remedy: 'Remove it, and procMount: Unmasked, which needs it. Root in gVisor has no rights on the host.',
    asks: ofPod(({ hostUsers }) => hostUsers === false),
  },
  {
    id: 'recursiveReadOnly',
    field: 'recursiveReadOnly: Enabled',
    effect: 'hangs',
    starts: false,
    except: { '20250203 on 1.7': 'neither' },
    seen: 'The container stays in CreateContainerConfigError.',
    remedy: 'Write IfPossible, or remove it.',
    asks: mounts(({ recursiveReadOnly }) => recursiveReadOnly === 'Enabled'),
  },
  {
    id: 'bidirectional',
    field: 'mountPropagation: Bidirectional',
    effect: 'refused',
    starts: false,
    seen: 'The container does not start: the root mount must be private or slave.',
    remedy: 'Mount in the container that uses the mount, or keep this pod outside gVisor.',
    asks: mounts(({ mountPropagation }) => mountPropagation === 'Bidirectional'),
  },
  {
    id: 'sharedVolume',
    field: 'a volume that two containers share',
    effect: 'weaker',
    seen: 'Both read and write the same files. Unix sockets, named pipes and inotify events do not pass from one container to the other, and flock locks do not exclude each other.',
    remedy: 'Talk over localhost, and put programs that share locks into one container.',
    asks: whatShareVolumes,
  },
  {
    id: 'sysctls',
    field: 'securityContext.sysctls',
    effect: 'ignored',
    seen: "The pod runs with gVisor's own values, and nothing says so.",
    remedy: 'Set what the program needs in the program, and remove the sysctls.',
    asks: ofPod(({ securityContext }) => listOf(securityContext?.sysctls).length > 0),
  },
  {
    id: 'sysctlWrite',
    field: 'a write to /proc/sys',
    effect: 'refused',
    seen: 'vm.max_map_count cannot be written: Input/output error, with privileged: true as well.',
    remedy: 'Remove the init container that calls sysctl.',
    asks: runs(/\bsysctl\b|\/proc\/sys\//),
  },
  {
    id: 'seccompProfile',
    field: 'seccompProfile of type Localhost',
    effect: 'ignored',
    seen: "The profile does not restrict the container; what it forbids succeeds, in gVisor's own kernel.",
    remedy: 'Do not count on the profile.',
    asks: (pod) => [...ofPod(hasLocalProfile)(pod), ...ofContainers(hasLocalProfile)(pod)],
  },
  {
    id: 'imageVolume',
    field: 'a volume of the kind image',
    effect: 'works',
    except: { '20250203 on 1.7': 'neither' },
    seen: 'The files of the image are there. containerd 1.7 has no image volumes, with gVisor or without.',
    asks: ofVolumes(({ image }) => image !== undefined),
  },
  {
    id: 'hostPID',
    field: 'hostPID: true',
    effect: 'ignored',
    seen: 'The pod runs, and sees its own processes only.',
    remedy: "Keep pods that watch the host's processes outside gVisor.",
    asks: ofPod(({ hostPID }) => hostPID),
  },
  {
    id: 'hostIPC',
    field: 'hostIPC: true',
    effect: 'ignored',
    seen: 'The pod runs, and sees no shared memory of the host.',
    remedy: 'Put what shares memory into one pod.',
    asks: ofPod(({ hostIPC }) => hostIPC),
  },
  {
    id: 'hostNetwork',
    field: 'hostNetwork: true',
    effect: 'refused',
    seen: 'The pod has no network at all, not even lo: Network is unreachable.',
    remedy: 'Remove it; keep pods that need the network of the node outside gVisor.',
    asks: ofPod(({ hostNetwork }) => hostNetwork),
  },
  {
    id: 'hostSocket',
    field: 'a socket in a hostPath',
    effect: 'refused',
    seen: 'The file is there, and a connection is refused.',
    remedy: 'Reach the service over TCP. For containerd or Docker, build images without a daemon.',
    asks: ofVolumes(({ hostPath }) => hostPath?.type === 'Socket' || SOCKETS.test(String(hostPath?.path))),
  },
  {
    id: 'hostDirectory',
    field: 'a hostPath with sockets among its files, such as /run',
    effect: 'weaker',
    seen: 'Its files can be read. A connection to a socket in it is refused.',
    remedy: 'Mount only the files that the program reads.',
    asks: ofVolumes(({ hostPath }) => WITH_SOCKETS.test(String(hostPath?.path))),
  },
  {
    id: 'hostDevice',
    field: 'a device in a hostPath, such as /dev/kvm',
    effect: 'refused',
    seen: 'It cannot be opened, or answers no request of its driver.',
    remedy: 'Keep what drives a device outside gVisor.',
    asks: ofVolumes(isDevice),
  },
  {
    id: 'blockDevice',
    field: 'a hostPath of type BlockDevice',
    effect: 'refused',
    seen: 'The container does not start: Operation not permitted.',
    remedy: 'Mount a file system of the device instead.',
    asks: ofVolumes(({ hostPath }) => hostPath?.type === 'BlockDevice'),
  },
  {
    id: 'volumeDevices',
    field: 'volumeDevices',
    effect: 'refused',
    seen: 'The device is there, and cannot be opened: No such device or address.',
    remedy: 'Claim the volume with volumeMode: Filesystem.',
    asks: ofContainers(({ volumeDevices }) => listOf(volumeDevices).length > 0),
  },
  {
    id: 'nvidiaGpu',
    field: 'nvidia.com/gpu',
    effect: 'untried',
    seen: 'gVisor forwards the calls to drivers that it supports, and not of a part of a GPU (MIG).',
    remedy: 'Select nodes with the label gpu: see docs/gpu.md.',
    asks: hasResource((name) => name.startsWith('nvidia.com/')),
  },
  {
    id: 'otherResource',
    field: 'another extended resource, such as amd.com/gpu',
    effect: 'untried',
    seen: "gVisor's guides name NVIDIA's GPUs and Google's TPUs as the devices that it can drive.",
    remedy: 'Keep what drives another device outside gVisor.',
    asks: hasResource(
      (name) => /\//.test(name) && !/^nvidia\.com\/|(^|\.)kubernetes\.io\/|^requests\./.test(name),
    ),
  },
  {
    id: 'resourceClaims',
    field: 'resourceClaims, or a resource of deviceclass.resource.kubernetes.io',
    effect: 'untried',
    seen: 'A claim of one GPU is reported to give a pod all of the host (google/gvisor#13621); enforce refuses claims.',
    remedy: 'Let a device plugin give single devices: see docs/gpu.md.',
    asks: (pod) => [
      ...ofPod(({ resourceClaims }) => listOf(resourceClaims).length > 0)(pod),
      ...hasResource((name) => name.startsWith('deviceclass.resource.kubernetes.io/'))(pod),
    ],
  },
  {
    id: 'privileged',
    field: 'privileged: true',
    effect: 'weaker',
    seen: 'The container may mount in gVisor. It cannot open a device of the host (tried: /dev/kmsg), open a raw socket, use iptables, or write sysctls.',
    remedy: 'Ask for single capabilities. Keep what drives a device outside gVisor.',
    asks: ofContainers(({ securityContext }) => securityContext?.privileged),
  },
  {
    id: 'rawSocket',
    field: 'the capability NET_RAW',
    effect: 'refused',
    seen: 'Raw sockets fail: Operation not permitted.',
    remedy:
      'Use a program that needs no raw sockets. The flag net-raw of runsc gives them, and the agent warns of it (IsolationWeakened).',
    asks: adds('NET_RAW'),
  },
  {
    id: 'netAdmin',
    field: 'the capability NET_ADMIN',
    effect: 'weaker',
    seen: 'Bridges can be made. iptables cannot read its nat table: it needs a raw socket.',
    remedy: 'Use it without iptables, or with what NET_RAW needs.',
    asks: adds('NET_ADMIN'),
  },
  {
    id: 'iptables',
    field: 'iptables',
    effect: 'refused',
    seen: 'The nat table cannot be read (Operation not permitted), which the init containers of meshes need.',
    remedy: 'Use a mesh whose CNI plugin redirects, or a proxy that the program is told of.',
    asks: runs(/(?<!--)\bip6?tables\b/),
  },
  {
    id: 'docker',
    field: 'Docker in the pod, without --iptables=false',
    effect: 'refused',
    seen: "With NET_ADMIN and SYS_ADMIN a daemon can make its bridge and, on a tmpfs, its overlay, but cannot read iptables' nat table. dockerd itself was not run.",
    remedy:
      'Give dockerd both capabilities, --iptables=false --ip6tables=false and a tmpfs on /var/lib/docker, or its handler the flag net-raw of runsc, or build images without a daemon.',
    asks: ofContainers((container) => isDockerDaemon(container) && !hasWord(container, /--iptables=false/)),
  },
  {
    id: 'nestedContainers',
    field: 'the capability SYS_ADMIN',
    effect: 'works',
    seen: 'A program can mount an overlay in a mount namespace of its own; its paths must be absolute.',
    asks: adds('SYS_ADMIN'),
  },
  {
    id: 'kernelCapabilities',
    field: 'the capability BPF, PERFMON, SYS_MODULE or SYS_TIME',
    effect: 'refused',
    seen: 'No BPF map, perf event or module can be made, and no clock set.',
    remedy: "Keep what observes or changes the node's kernel outside gVisor.",
    asks: adds('BPF', 'PERFMON', 'SYS_MODULE', 'SYS_TIME'),
  },
  {
    id: 'ptrace',
    field: 'the capability SYS_PTRACE',
    effect: 'works',
    seen: 'A program can attach to another of its container.',
    asks: adds('SYS_PTRACE'),
  },
  {
    id: 'setuid',
    field: 'a setuid program, such as sudo',
    effect: 'ignored',
    seen: 'It runs as the user who started it. Newer releases of runsc have the flag allow-suid.',
    remedy: 'Run as root in the sandbox, where root has no rights on the host.',
    asks: runs(/\bsudo\b|\bnew[ug]idmap\b/),
  },
  {
    id: 'sharedProcesses',
    field: 'shareProcessNamespace: true',
    effect: 'works',
    seen: 'The container sees the first process of the pod.',
    asks: ofPod(({ shareProcessNamespace }) => shareProcessNamespace),
  },
  {
    id: 'memoryLimit',
    field: 'a memory limit beside other containers',
    effect: 'weaker',
    seen: 'A container over its limit ends the whole pod (OOMKilled), not itself alone.',
    remedy: 'Put what may need too much memory into a pod of its own.',
    asks: ({ livingTogether }) =>
      livingTogether.length < 2
        ? []
        : livingTogether.filter(({ resources }) => resources?.limits?.memory !== undefined).map(nameOf),
  },
  {
    id: 'volumeOfPods',
    field: 'a volume that two pods share',
    effect: 'weaker',
    seen: 'As between two containers: files alone, no locks, no inotify events.',
    remedy: 'Let no lock in a volume guard what two pods write, such as a cache of models.',
  },
  {
    id: 'ioUring',
    field: 'io_uring',
    effect: 'refused',
    seen: 'io_uring_setup fails; programs that can fall back to epoll.',
  },
  {
    id: 'defaultSysctls',
    field: 'sysctls that the kubelet gives to all pods (alpha in Kubernetes 1.37)',
    effect: 'untried',
    seen: 'gVisor ignores the sysctls of a pod, and these reach it in the same way.',
  },
  {
    id: 'portForward',
    field: 'kubectl port-forward',
    effect: 'refused',
    seen: 'Connection refused, though the program in the pod listens.',
    remedy: 'Use a Service, or kubectl exec.',
  },
  {
    id: 'ephemeralContainer',
    field: 'an ephemeral container',
    effect: 'works',
    seen: 'It runs in the running pod, as kubectl debug needs.',
  },
] as const satisfies readonly Row[];

export type FeatureId = (typeof TABLE)[number]['id'];

/** Something that a pod asks for, or that is done to it. */
export type Feature = Row & { readonly id: FeatureId };

export const FEATURES: readonly Feature[] = TABLE;

/**
 * The rows that a pod spec of unknown origin asks for, and the containers that do; fields of a wrong type count as
 * absent.
 */
export function askedBy(
  spec: object,
): readonly { readonly feature: Feature; readonly by: readonly string[] }[] {
  const given = spec as V1PodSpec;
  const initContainers = objectsOf(given.initContainers);
  const containers = objectsOf(given.containers);
  const pod: PodParts = {
    spec: given,
    volumes: objectsOf(given.volumes),
    containers: [...initContainers, ...containers, ...objectsOf(given.ephemeralContainers)],
    livingTogether: [
      ...initContainers.filter(({ restartPolicy }) => restartPolicy === 'Always'),
      ...containers,
    ],
  };
  return FEATURES.flatMap((feature) => {
    const by = feature.asks?.(pod) ?? [];
    return by.length === 0 ? [] : [{ feature, by }];
  });
}

function nameOf({ name }: V1Container): string {
  return String(name);
}

function objectsOf<T extends object>(value: readonly T[] | undefined): readonly T[] {
  return listOf(value).filter((each): each is T => typeof each === 'object' && each !== null);
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}
