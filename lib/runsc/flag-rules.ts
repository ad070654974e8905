import { matchesPattern } from '../host/glob.ts';

/** Whether a value of a flag or annotation weakens the sandbox. An empty one keeps the default. */
type Weakens = (value: string) => boolean;

type FlagRule = readonly [name: string, weakens: Weakens, why: string];

/** As Go's flag package parses a bool: https://pkg.go.dev/strconv#ParseBool */
export function isTrue(value: string): boolean {
  return ['1', 't', 'T', 'true', 'TRUE', 'True'].includes(value);
}

function notEmpty(value: string): boolean {
  return value !== '';
}

/** Of values or patterns of them. */
function among(...weak: readonly string[]): Weakens {
  return (value) => weak.some((pattern) => matchesPattern(pattern, value));
}

function otherThan(...safe: readonly string[]): Weakens {
  return (value) => value !== '' && !safe.includes(value);
}

export const WHY_HOST_UDS = 'pods can open or create Unix sockets that host processes serve';

/*
 * Sources: runsc/config/flags.go, runsc/boot (mount_hints.go, restore.go, fscheckpoint.go), runsc/specutils (nvidia.go,
 * specutils.go) and runsc/container/container.go of https://github.com/google/gvisor.
 */

/** A way out to the host, or to attack it. */
export const BLOCKERS: readonly FlagRule[] = [
  ['network', among('host'), "the pod's system calls for networking go to the host's kernel"],
  ['EXPERIMENTAL-xdp', among('redirect:*', 'tunnel:*'), 'the pod takes over a network device of the host'],
  ['host-uds', otherThan('none'), WHY_HOST_UDS],
  ['fsgofer-host-uds', isTrue, WHY_HOST_UDS],
  ['host-fifo', otherThan('none'), 'pods can open named pipes that host processes serve'],
  ['character-device-policy', otherThan('emulated-only'), 'pods can reach character devices of the host'],
  ['TESTONLY-unsafe-nonroot', isTrue, 'the sandbox skips the measures that shut it off from the host'],
  [
    'allow-flag-override',
    isTrue,
    "a pod's annotations can set any flag, also the ones that weaken isolation",
  ],
  ['dev.gvisor.spec.rootfs.source', notEmpty, 'a pod can read a file of the host as its root filesystem'],
  [
    'dev.gvisor.internal.checkpoint.path',
    notEmpty,
    'from a gVisor newer than February 2026 on, a pod can write checkpoints into a directory of the host',
  ],
  [
    'dev.gvisor.internal.fscheckpoint.path',
    notEmpty,
    'from a gVisor newer than February 2026 on, a pod can write checkpoints into a directory of the host',
  ],
];

/** Less protection, often intended. */
export const WARNINGS: readonly FlagRule[] = [
  [
    'network',
    among('plugin'),
    "the pod's network stack is C code in the sandbox, under a looser seccomp filter",
  ],
  ['EXPERIMENTAL-xdp', among('ns'), "the pod's packets bypass the host's network stack through AF_XDP"],
  ['pod-init-config', notEmpty, 'the sandbox sends what the pod does to a process of the host'],
  [
    'gofer-network-namespace',
    otherThan('null', 'new'),
    "the process that opens the pod's files is in a network namespace of the host",
  ],
  [
    'allow-rootfs-tar-annotation',
    isTrue,
    "a pod's annotation can name a file of the host as its root filesystem",
  ],
  ['profile', isTrue, "the sandbox's seccomp filter is loosened for the profiler"],
  ['rootless', isTrue, 'the sandbox gives up fewer rights'],
  ['ignore-cgroups', isTrue, "the pod's limits of CPU and memory do not hold"],
  ['nvproxy', isTrue, 'calls to the NVIDIA driver are passed on to the host'],
  ['nvproxy-docker', isTrue, "runsc runs NVIDIA's hook on the host for the pod"],
  [
    'nvproxy-allow-unsupported-driver',
    isTrue,
    'calls to the NVIDIA driver are passed on to the host, also by a driver that gVisor does not support',
  ],
  ['tpuproxy', isTrue, 'calls to TPU devices are passed on to the host'],
  ['rdmaproxy', isTrue, 'calls to RDMA devices are passed on to the host'],
  ['iouring', isTrue, 'the sandbox offers io_uring, which gVisor has for its tests alone'],
  ['platform', among('ptrace'), 'the ptrace platform is no longer supported'],
  ['net-raw', isTrue, 'pods can craft packets for the network that they share'],
  ['allow-packet-socket-write', isTrue, 'pods can craft packets for the network that they share'],
  ['allow-suid', isTrue, 'programs in the pod can raise their rights within the sandbox'],
  ['dev.gvisor.internal.nvproxy', isTrue, 'calls to the NVIDIA driver are passed on to the host'],
  ['dev.gvisor.internal.tpuproxy', isTrue, 'calls to TPU devices are passed on to the host'],
  ['dev.gvisor.spec.cgroup-parent', notEmpty, "a pod can leave the kubelet's cgroup, so that no limit holds"],
];

/** Flags of logging, profiling, speed and the guest's view, or without effect. */
export const HARMLESS: readonly string[] = [
  'EXPERIMENTAL-xdp-need-wakeup',
  'allow-connected-on-save',
  'allow-live-tcp-migration',
  'alsologtostderr',
  'app-huge-pages',
  'buffer-pooling',
  'cgroupfs',
  'control-rpc-stop-timeout',
  'coverage-fd',
  'coverage-report',
  'cpu-num-from-quota',
  'dcache',
  'debug',
  'debug-command',
  'debug-log',
  'debug-log-fd',
  'debug-log-format',
  'debug-to-user-log',
  'directfs',
  'enable-core-tags',
  'fdlimit',
  'file-access',
  'file-access-mounts',
  'final-metrics-log',
  'fuse',
  'gso',
  'gvisor-gro',
  'gvisor-marker-file',
  'host-settings',
  'in-sandbox-cgroup',
  'kvm-use-cpu-nums',
  'lisafs',
  'log',
  'log-fd',
  'log-format',
  'log-packets',
  'metric-server',
  'mount-cgroup-v2',
  'net-disconnect-ok',
  'network-processors-per-channel',
  'num-network-channels',
  'nvproxy-allowed-driver-capabilities',
  'nvproxy-driver-version',
  'oci-seccomp',
  'overlay',
  'overlay2',
  'override-procs',
  'panic-log',
  'panic-log-fd',
  'panic-signal',
  'pause-external-networking',
  'pcap-log',
  'platform_device_path',
  'profile-block',
  'profile-cpu',
  'profile-gc-interval',
  'profile-heap',
  'profile-mutex',
  'profiling-metrics',
  'profiling-metrics-log',
  'profiling-metrics-rate-us',
  'qdisc',
  'qdisc-tbf-burst',
  'qdisc-tbf-rate',
  'ref-leak-mode',
  'reproduce-nat',
  'reproduce-nftables',
  'restore-spec-validation',
  'root',
  'rx-checksum-offload',
  'save-restore-netstack',
  'shared-root',
  'sidecar-release-enforcement-policy',
  'sidecar-usage-policy',
  'software-gso',
  'strace',
  'strace-event',
  'strace-log-size',
  'strace-syscalls',
  'systemd-cgroup',
  'systrap-disable-fast-path',
  'systrap-disable-syscall-patching',
  'trace',
  'traceback',
  'tx-checksum-offload',
  'vfs2',
  'watchdog-action',
];
