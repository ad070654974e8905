/** A flag of runsc that takes something away from the sandbox. */
export type WeakFlag = {
  readonly flag: string;
  readonly value: string;
  /** `decides`: a way out to the host or an attack on it; `advises`: less protection, and often wanted. */
  readonly weight: 'decides' | 'advises';
  readonly why: string;
};

type Rule = Omit<WeakFlag, 'value'> & { readonly weakens: (value: string) => boolean };

const unless =
  (...safe: readonly string[]) =>
  (value: string) =>
    !safe.includes(value);

/** https://github.com/google/gvisor/blob/master/runsc/config/flags.go */
const RULES: readonly Rule[] = [
  {
    flag: 'network',
    weight: 'decides',
    why: "the pod's system calls for networking go to the host's kernel",
    weakens: (value) => value === 'host',
  },
  {
    flag: 'host-uds',
    weight: 'decides',
    why: 'pods can open or create Unix sockets that host processes serve',
    weakens: unless('none', ''),
  },
  {
    flag: 'fsgofer-host-uds',
    weight: 'decides',
    why: 'pods can open Unix sockets that host processes serve',
    weakens: isTrue,
  },
  {
    flag: 'host-fifo',
    weight: 'decides',
    why: 'pods can open named pipes that host processes serve',
    weakens: unless('none', ''),
  },
  {
    flag: 'character-device-policy',
    weight: 'decides',
    why: 'pods can reach character devices of the host',
    weakens: unless('emulated-only', ''),
  },
  {
    flag: 'TESTONLY-unsafe-nonroot',
    weight: 'decides',
    why: 'the sandbox skips the measures that shut it off from the host',
    weakens: isTrue,
  },
  {
    flag: 'allow-flag-override',
    weight: 'decides',
    why: "a pod's annotations can set any flag, also the ones that weaken isolation",
    weakens: isTrue,
  },
  {
    flag: 'allow-rootfs-tar-annotation',
    weight: 'advises',
    why: "a pod's annotation can name a file of the host as its root filesystem",
    weakens: isTrue,
  },
  {
    flag: 'profile',
    weight: 'advises',
    why: "the sandbox's seccomp filter is loosened for the profiler",
    weakens: isTrue,
  },
  { flag: 'rootless', weight: 'advises', why: 'the sandbox gives up fewer rights', weakens: isTrue },
  {
    flag: 'ignore-cgroups',
    weight: 'advises',
    why: "the pod's limits of CPU and memory do not hold",
    weakens: isTrue,
  },
  {
    flag: 'nvproxy',
    weight: 'advises',
    why: 'calls to the NVIDIA driver are passed on to the host',
    weakens: isTrue,
  },
  {
    flag: 'tpuproxy',
    weight: 'advises',
    why: 'calls to TPU devices are passed on to the host',
    weakens: isTrue,
  },
  {
    flag: 'rdmaproxy',
    weight: 'advises',
    why: 'calls to RDMA devices are passed on to the host',
    weakens: isTrue,
  },
  {
    flag: 'platform',
    weight: 'advises',
    why: 'the ptrace platform is no longer supported',
    weakens: (value) => value === 'ptrace',
  },
  {
    flag: 'net-raw',
    weight: 'advises',
    why: 'pods can craft packets for the network that they share',
    weakens: isTrue,
  },
  {
    flag: 'allow-packet-socket-write',
    weight: 'advises',
    why: 'pods can craft packets for the network that they share',
    weakens: isTrue,
  },
  {
    flag: 'allow-suid',
    weight: 'advises',
    why: 'programs in the pod can raise their rights within the sandbox',
    weakens: isTrue,
  },
];

/** The flags that weaken isolation, the deciding ones first, then in the order of the file. */
export function weakFlags(flags: ReadonlyMap<string, string>): readonly WeakFlag[] {
  const found = [...flags].flatMap(([flag, value]) => {
    const rule = RULES.find((candidate) => candidate.flag === flag);
    return rule?.weakens(value) ? [{ flag, value, weight: rule.weight, why: rule.why }] : [];
  });
  return [
    ...found.filter(({ weight }) => weight === 'decides'),
    ...found.filter(({ weight }) => weight === 'advises'),
  ];
}

/** What Go's flag package takes for true: https://pkg.go.dev/strconv#ParseBool */
function isTrue(value: string): boolean {
  return ['1', 't', 'T', 'true', 'TRUE', 'True'].includes(value);
}
