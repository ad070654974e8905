/** Whether a value of the flag weakens the sandbox, and how. */
type Rules = Readonly<Record<string, readonly [weakens: (value: string) => boolean, why: string]>>;

/** A way out to the host or an attack on it. Source: https://github.com/google/gvisor/blob/master/runsc/config/flags.go */
const DECIDE: Rules = {
  network: [is('host'), "the pod's system calls for networking go to the host's kernel"],
  'host-uds': [unless('none'), 'pods can open or create Unix sockets that host processes serve'],
  'fsgofer-host-uds': [isTrue, 'pods can open Unix sockets that host processes serve'],
  'host-fifo': [unless('none'), 'pods can open named pipes that host processes serve'],
  'character-device-policy': [unless('emulated-only'), 'pods can reach character devices of the host'],
  'TESTONLY-unsafe-nonroot': [isTrue, 'the sandbox skips the measures that shut it off from the host'],
  'allow-flag-override': [
    isTrue,
    "a pod's annotations can set any flag, also the ones that weaken isolation",
  ],
};

/** Less protection, and often wanted. */
const ADVISE: Rules = {
  'allow-rootfs-tar-annotation': [
    isTrue,
    "a pod's annotation can name a file of the host as its root filesystem",
  ],
  profile: [isTrue, "the sandbox's seccomp filter is loosened for the profiler"],
  rootless: [isTrue, 'the sandbox gives up fewer rights'],
  'ignore-cgroups': [isTrue, "the pod's limits of CPU and memory do not hold"],
  nvproxy: [isTrue, 'calls to the NVIDIA driver are passed on to the host'],
  tpuproxy: [isTrue, 'calls to TPU devices are passed on to the host'],
  rdmaproxy: [isTrue, 'calls to RDMA devices are passed on to the host'],
  platform: [is('ptrace'), 'the ptrace platform is no longer supported'],
  'net-raw': [isTrue, 'pods can craft packets for the network that they share'],
  'allow-packet-socket-write': [isTrue, 'pods can craft packets for the network that they share'],
  'allow-suid': [isTrue, 'programs in the pod can raise their rights within the sandbox'],
};

/** The flags that weaken isolation, the deciding ones first, then in the order of the file. */
export function weakFlags(flags: ReadonlyMap<string, string>) {
  const found = (rules: Rules, weight: 'decides' | 'advises') =>
    [...flags].flatMap(([flag, value]) => {
      const [weakens, why] = (Object.hasOwn(rules, flag) ? rules[flag] : undefined) ?? [];
      return why !== undefined && weakens?.(value) ? [{ flag, value, weight, why }] : [];
    });
  return [...found(DECIDE, 'decides'), ...found(ADVISE, 'advises')];
}

/** Any value but this one; an empty one leaves the default. */
function unless(safe: string): (value: string) => boolean {
  return (value) => value !== safe && value !== '';
}

function is(weak: string): (value: string) => boolean {
  return (value) => value === weak;
}

/** What Go's flag package takes for true: https://pkg.go.dev/strconv#ParseBool */
function isTrue(value: string): boolean {
  return ['1', 't', 'T', 'true', 'TRUE', 'True'].includes(value);
}
