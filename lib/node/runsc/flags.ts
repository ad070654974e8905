import { posix } from 'node:path';
import { sanitizeLine } from '../../base/sanitize.ts';
import { matchesPattern } from '../host/glob.ts';

/**
 * The process name, and the program through which newer releases start it.
 * https://github.com/google/gvisor/blob/release-20260223.0/runsc/sandbox/sandbox.go (createSandboxProcess),
 * https://github.com/google/gvisor/issues/13718
 */
const SENTRY = 'runsc-sandbox';
const PREWARMER = 'gvisor-sentry-prewarmer';

/**
 * Undefined for any other process. The arguments contain every flag that differs from its default, whatever
 * set it. https://github.com/google/gvisor/blob/release-20260223.0/runsc/config/flags.go (ToFlags)
 */
export function sentryFlags(argv: readonly string[]): ReadonlyMap<string, string> | undefined {
  const [program = ''] = argv;
  const at = posix.basename(program) === PREWARMER ? argv.indexOf(SENTRY) : program === SENTRY ? 0 : -1;
  if (at === -1) return undefined;
  const flags = new Map<string, string>();
  for (const argument of argv.slice(at + 1)) {
    const [, name = '', value = 'true'] = /^--?([^=]+)(?:=(.*))?$/s.exec(argument) ?? [];
    if (name === '') break; // the command "boot"
    flags.set(name, value);
  }
  return flags;
}

export type Weakness = {
  readonly flag: string;
  readonly value: string;
  /** A `blocker` is a way out to the host, or to attack it; a `warning` is less protection, often intended. */
  readonly severity: 'blocker' | 'warning';
  readonly why: string;
};

/** The values of each flag or annotation that weaken, and why. */
type Rules = Readonly<Record<string, readonly [weakens: (value: string) => boolean, why: string]>>;

const CHECKPOINTS =
  'from a gVisor newer than February 2026 on, a pod can write checkpoints into a directory of the host';
const HOST_SOCKETS = 'pods can open or create Unix sockets that host processes serve';

/**
 * Flags: https://github.com/google/gvisor/blob/master/runsc/config/flags.go. Annotations:
 * https://github.com/google/gvisor/tree/master/runsc/boot (mount_hints.go, restore.go, fscheckpoint.go)
 */
const BLOCKERS: Rules = {
  network: [is('host'), "the pod's system calls for networking go to the host's kernel"],
  'EXPERIMENTAL-xdp': [startsWith('redirect:', 'tunnel:'), 'the pod takes over a network device of the host'],
  'host-uds': [unless('none'), HOST_SOCKETS],
  'fsgofer-host-uds': [isTrue, HOST_SOCKETS],
  'host-fifo': [unless('none'), 'pods can open named pipes that host processes serve'],
  'character-device-policy': [unless('emulated-only'), 'pods can reach character devices of the host'],
  'TESTONLY-unsafe-nonroot': [isTrue, 'the sandbox skips the measures that shut it off from the host'],
  'allow-flag-override': [
    isTrue,
    "a pod's annotations can set any flag, also the ones that weaken isolation",
  ],
  'dev.gvisor.spec.rootfs.source': [unless(''), 'a pod can read a file of the host as its root filesystem'],
  'dev.gvisor.internal.checkpoint.path': [unless(''), CHECKPOINTS],
  'dev.gvisor.internal.fscheckpoint.path': [unless(''), CHECKPOINTS],
};

const NVIDIA = 'calls to the NVIDIA driver are passed on to the host';
const TPU = 'calls to TPU devices are passed on to the host';

/**
 * Annotations: https://github.com/google/gvisor/tree/master/runsc/specutils (nvidia.go, specutils.go) and
 * runsc/container/container.go
 */
const WARNINGS: Rules = {
  network: [is('plugin'), "the pod's network stack is C code in the sandbox, under a looser seccomp filter"],
  'EXPERIMENTAL-xdp': [is('ns'), "the pod's packets bypass the host's network stack through AF_XDP"],
  'pod-init-config': [unless(''), 'the sandbox sends what the pod does to a process of the host'],
  'gofer-network-namespace': [
    unless('null', 'new'),
    "the process that opens the pod's files is in a network namespace of the host",
  ],
  'allow-rootfs-tar-annotation': [
    isTrue,
    "a pod's annotation can name a file of the host as its root filesystem",
  ],
  profile: [isTrue, "the sandbox's seccomp filter is loosened for the profiler"],
  rootless: [isTrue, 'the sandbox gives up fewer rights'],
  'ignore-cgroups': [isTrue, "the pod's limits of CPU and memory do not hold"],
  nvproxy: [isTrue, NVIDIA],
  'nvproxy-docker': [isTrue, "runsc runs NVIDIA's hook on the host for the pod"],
  'nvproxy-allow-unsupported-driver': [isTrue, `${NVIDIA}, also by a driver that gVisor does not support`],
  tpuproxy: [isTrue, TPU],
  rdmaproxy: [isTrue, 'calls to RDMA devices are passed on to the host'],
  iouring: [isTrue, 'the sandbox offers io_uring, which gVisor has for its tests alone'],
  platform: [is('ptrace'), 'the ptrace platform is no longer supported'],
  'net-raw': [isTrue, 'pods can craft packets for the network that they share'],
  'allow-packet-socket-write': [isTrue, 'pods can craft packets for the network that they share'],
  'allow-suid': [isTrue, 'programs in the pod can raise their rights within the sandbox'],
  'dev.gvisor.internal.nvproxy': [isTrue, NVIDIA],
  'dev.gvisor.internal.tpuproxy': [isTrue, TPU],
  'dev.gvisor.spec.cgroup-parent': [
    unless(''),
    "a pod can leave the kubelet's cgroup, so that no limit holds",
  ],
};

/** Logging, profiling, speed, the guest's view, and flags without effect. */
const HARMLESS: ReadonlySet<string> = new Set(
  `EXPERIMENTAL-xdp-need-wakeup allow-connected-on-save allow-live-tcp-migration alsologtostderr app-huge-pages
  buffer-pooling cgroupfs control-rpc-stop-timeout coverage-fd coverage-report cpu-num-from-quota dcache debug
  debug-command debug-log debug-log-fd debug-log-format debug-to-user-log directfs enable-core-tags fdlimit file-access
  file-access-mounts final-metrics-log fuse gso gvisor-gro gvisor-marker-file host-settings in-sandbox-cgroup
  kvm-use-cpu-nums lisafs log log-fd log-format log-packets metric-server mount-cgroup-v2 net-disconnect-ok
  network-processors-per-channel num-network-channels nvproxy-allowed-driver-capabilities nvproxy-driver-version oci-seccomp
  overlay overlay2 override-procs panic-log panic-log-fd panic-signal pause-external-networking pcap-log
  platform_device_path profile-block profile-cpu profile-gc-interval profile-heap profile-mutex profiling-metrics
  profiling-metrics-log profiling-metrics-rate-us qdisc qdisc-tbf-burst qdisc-tbf-rate ref-leak-mode reproduce-nat
  reproduce-nftables restore-spec-validation root rx-checksum-offload save-restore-netstack shared-root
  sidecar-release-enforcement-policy sidecar-usage-policy software-gso strace strace-event strace-log-size strace-syscalls
  systemd-cgroup systrap-disable-fast-path systrap-disable-syscall-patching trace traceback tx-checksum-offload vfs2
  watchdog-action`.split(/\s+/),
);

const ANNOTATION = 'dev.gvisor.';
const MAX_CHARACTERS = 100;
export const UNKNOWN = 'this agent does not know whether the flag is harmless';

/** Blockers first. An unknown flag is a warning, because a newer gVisor may have flags that weaken. */
export function weaknessesOf(
  flags: ReadonlyMap<string, string>,
  annotations: ReadonlyMap<string, string> = new Map(),
): readonly Weakness[] {
  const weakness = (flag: string, value: string, severity: Weakness['severity'], why: string): Weakness => {
    return { flag: truncate(flag), value: truncate(value), severity, why };
  };
  const found = (rules: Rules, severity: Weakness['severity']) =>
    [...flags, ...annotations].flatMap(([flag, value]) => {
      const [weakens, why] = ruleOf(rules, flag) ?? [];
      return why !== undefined && weakens?.(value) ? [weakness(flag, value, severity, why)] : [];
    });
  const unknown = [...flags].filter(([flag]) => !isKnown(flag));
  return [
    ...found(BLOCKERS, 'blocker'),
    ...found(WARNINGS, 'warning'),
    ...unknown.map(([flag, value]) => weakness(flag, value, 'warning', UNKNOWN)),
  ];
}

/** Truncates untrusted text; copies, because V8 slices retain the parent string. */
export function truncate(text: string): string {
  return Buffer.from(sanitizeLine(text.slice(0, MAX_CHARACTERS))).toString();
}

export function isAnnotation(name: string): boolean {
  return name.startsWith(ANNOTATION);
}

function isKnown(flag: string): boolean {
  return HARMLESS.has(flag) || (ruleOf(BLOCKERS, flag) ?? ruleOf(WARNINGS, flag)) !== undefined;
}

function ruleOf(rules: Rules, flag: string): Rules[string] | undefined {
  return Object.hasOwn(rules, flag) ? rules[flag] : undefined;
}

/**
 * Annotations that weaken a pod's own sandbox. runsc accepts some without `allow-flag-override`; of these
 * only host-uds weakens, in gVisor 2025-02, 2026-02 and 2026-09.
 * https://github.com/google/gvisor/blob/release-20260223.0/runsc/config/flags.go (overrideAllowlist),
 * https://github.com/google/gvisor/blob/release-20260223.0/runsc/specutils/specutils.go (fixSpec)
 */
const ANNOTATIONS: ReadonlyMap<string, string> = new Map([
  [`${ANNOTATION}flag.host-uds`, HOST_SOCKETS],
  ...Object.entries({ ...BLOCKERS, ...WARNINGS }).flatMap(([name, [, why]]): [string, string][] =>
    isAnnotation(name) ? [[name, why]] : [],
  ),
]);

/** Those that containerd copies into the OCI spec under these patterns. */
export function annotationsPassed(
  patterns: readonly string[],
): readonly { readonly pattern: string; readonly annotation: string; readonly why: string }[] {
  return patterns.flatMap((pattern) =>
    [...ANNOTATIONS]
      .filter(([annotation]) => matchesPattern(pattern, annotation))
      .map(([annotation, why]) => ({ pattern, annotation, why })),
  );
}

/** An empty value keeps the default. */
function unless(...safe: readonly string[]): (value: string) => boolean {
  return (value) => !safe.includes(value) && value !== '';
}

function is(weak: string): (value: string) => boolean {
  return (value) => value === weak;
}

function startsWith(...weak: readonly string[]): (value: string) => boolean {
  return (value) => weak.some((start) => value.startsWith(start));
}

/** As Go's flag package parses a bool: https://pkg.go.dev/strconv#ParseBool */
export function isTrue(value: string): boolean {
  return ['1', 't', 'T', 'true', 'TRUE', 'True'].includes(value);
}
