import { quotedProgram } from '../host/process.ts';
import { isAnnotation, sentryFlags, type Weakness, weaknessesOf } from '../runsc/flags.ts';

/** A pod that runs on this node, and what it runs in. */
export type Pod = {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  /** The CRI handler that its runtime class names; "" is containerd's default. */
  readonly handler: string;
  /** Whether it runs in gVisor; absent when that could not be told. */
  readonly sandboxed?: boolean;
  /** Whether the sandbox of a gVisor pod is in the kubelet's cgroup for it; absent where that is not known. */
  readonly limited?: boolean;
  /** What weakens the sandbox of a gVisor pod; absent where nothing does. */
  readonly weak?: readonly Weakness[];
  /** What that is known from, such as `process 812 is "pause"`. */
  readonly evidence: string;
};

/** What is known of a sandbox: its runtime type, and its first process when that could be read. */
export type SandboxFacts = {
  readonly runtimeType: string;
  readonly pid?: number | undefined;
  readonly argv?: readonly string[] | undefined;
  /** What the runtime answers when it is asked for the PIDs in the sandbox, where it was asked. */
  readonly runtimePids?: readonly number[];
  /** The annotations of its OCI spec. */
  readonly annotations?: ReadonlyMap<string, string>;
};

const GVISOR_TYPE = /(^|\.)runsc\./;

/**
 * Whether the first process of a sandbox calls itself gVisor's where its runtime is another. On a node that lets processes
 * trace each other, a container that shares its pod's PID namespace can rewrite the arguments of that process; what
 * the runtime answers is out of its reach.
 */
export function isDoubtful({ runtimeType, argv }: SandboxFacts): boolean {
  return argv !== undefined && sentryFlags(argv) !== undefined && !GVISOR_TYPE.test(runtimeType);
}

/**
 * Whether a sandbox is gVisor's. Its process decides, because the handler's name, and even its runtime type, may
 * lead to a runtime in disguise; the type speaks only where no process could be looked at.
 */
export function judgeSandbox({
  runtimeType,
  pid,
  argv,
  runtimePids = [],
  annotations,
}: SandboxFacts): Pick<Pod, 'sandboxed' | 'weak' | 'evidence'> {
  const [program = ''] = argv ?? [];
  if (argv !== undefined && program !== '') {
    const evidence = `process ${pid} is ${quotedProgram(argv)}`;
    if (pid !== undefined && runtimePids.includes(pid))
      return { sandboxed: false, evidence: `${evidence}, and the runtime tells the host's own PID ${pid}` };
    const flags = sentryFlags(argv);
    if (flags === undefined) return { sandboxed: false, evidence };
    const weak = weaknessesOf(flags, annotations);
    return { sandboxed: true, ...(weak.length === 0 ? {} : { weak }), evidence };
  }
  if (/(^|\.)runc\./.test(runtimeType))
    return { sandboxed: false, evidence: `its runtime is ${runtimeType}` };
  if (GVISOR_TYPE.test(runtimeType)) return { sandboxed: true, evidence: `its runtime is ${runtimeType}` };
  return { evidence: `nothing tells what its runtime "${runtimeType}" is` };
}

/** A gVisor pod whose sandbox is weakened, which its evidence says as well. */
export type WeakenedPod = Pod & Required<Pick<Pod, 'weak'>>;

/** The handler that is proven on this node, and the flags of its last probe. */
export type ProbeFlags = { readonly handler: string; readonly flags: Readonly<Record<string, string>> };

/**
 * The pods whose sandbox is weakened: by a way out to the host, by an annotation of their own, or by a flag that the probe of
 * their handler does not have, such as one of a configuration that was changed after they started.
 */
export function weakenedPods(pods: readonly Pod[], probe: ProbeFlags | undefined): readonly WeakenedPod[] {
  const usual = weaknessesOf(new Map(Object.entries(probe?.flags ?? {})));
  return pods.flatMap((pod) => {
    const weak = (pod.weak ?? []).filter(
      ({ flag, value, severity }) =>
        severity === 'blocker' ||
        isAnnotation(flag) ||
        (pod.handler === probe?.handler && !usual.some((own) => own.flag === flag && own.value === value)),
    );
    if (weak.length === 0) return [];
    const how = weak.map(({ flag, value, why }) => `${flag}=${value}: ${why}`).join('; ');
    return [{ ...pod, weak, evidence: `${pod.evidence} with ${how}` }];
  });
}

/** Whether a pod's sandbox has a way out to the host. */
export function isOpen({ weak }: WeakenedPod): boolean {
  return weak.some(({ severity }) => severity === 'blocker');
}

/** The pods of this node, those of them that must run in gVisor and do not, and those whose sandbox is weakened; `atMs` is the wall clock's. */
export type ObservedPods = {
  readonly pods: readonly Pod[];
  readonly unsandboxed: readonly Pod[];
  readonly weakened: readonly WeakenedPod[];
  readonly atMs: number;
};

/** Which pods of this node run outside of gVisor, and which in it, for people and for the report. */
export type PodsReport = {
  /** When they were read last, ISO 8601. */
  readonly at: string;
  /** Whether that is so long ago that they must be taken as unreadable now. */
  readonly stale: boolean;
  /** How many pods run here in all. */
  readonly running: number;
  /** Whether it is known which namespaces require gVisor: only an API server tells. */
  readonly requirementsKnown: boolean;
  /** Those outside of gVisor in a namespace that requires it, */
  readonly violating: readonly Pod[];
  /** those outside of gVisor elsewhere, */
  readonly permitted: readonly Pod[];
  /** and those of which nobody could tell. */
  readonly unknown: readonly Pod[];
  /** Those in gVisor whose sandbox is weakened. */
  readonly weakened: readonly WeakenedPod[];
  /** The uids of those in gVisor: a pod in neither list is newer. */
  readonly sandboxedUids: readonly string[];
};

/** Pods are read at least so often, also where that takes long, */
export const MAX_READ_INTERVAL_MS = 30_000;
/** and have a while to be read in. */
const STALE_MS = 1.5 * MAX_READ_INTERVAL_MS;

/** Sorts pods as a person wants to know of them at `nowMs`, wall clock time. */
export function podsReport(
  { pods, unsandboxed, weakened, atMs }: ObservedPods,
  requirementsKnown: boolean,
  nowMs: number,
): PodsReport {
  return {
    at: new Date(atMs).toISOString(),
    stale: nowMs - atMs > STALE_MS,
    running: pods.length,
    requirementsKnown,
    violating: unsandboxed,
    permitted: pods.filter((pod) => pod.sandboxed === false && !unsandboxed.includes(pod)),
    unknown: pods.filter((pod) => pod.sandboxed === undefined),
    weakened,
    sandboxedUids: pods.filter((pod) => pod.sandboxed === true).map(({ uid }) => uid),
  };
}
