import { quotedProgram } from '../host/process.ts';
import { isAnnotation, sentryFlags, type Weakness, weaknessesOf } from '../runsc/flags.ts';

export type Pod = {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  /** The CRI handler of its runtime class; "" is containerd's default. */
  readonly handler: string;
  /** Whether it runs in gVisor; absent if unknown. */
  readonly sandboxed?: boolean;
  /** Whether a gVisor pod's sandbox is in the kubelet's cgroup for the pod; absent if unknown. */
  readonly limited?: boolean;
  /** Weaknesses of a gVisor pod's sandbox; absent if there are none. */
  readonly weak?: readonly Weakness[];
  /** Evidence for `sandboxed`, such as `process 812 is "pause"`. */
  readonly evidence: string;
};

/** Whether a pod is to be in gVisor: its handler is proven here, or its namespace requires it. */
export function mustBeInGvisor(
  { handler, namespace }: Pick<Pod, 'handler' | 'namespace'>,
  handlers: readonly string[],
  required: ReadonlySet<string>,
): boolean {
  return handlers.includes(handler) || required.has(namespace);
}

/** Facts about a sandbox; `pid` and `argv` are those of its first process, if it could be read. */
export type SandboxFacts = {
  readonly runtimeType: string;
  readonly pid?: number | undefined;
  readonly argv?: readonly string[] | undefined;
  /** PIDs in the sandbox as its runtime reports them, if requested. */
  readonly runtimePids?: readonly number[];
  readonly annotations?: ReadonlyMap<string, string>;
};

const GVISOR_TYPE = /(^|\.)runsc\./;

/**
 * Whether a sandbox's process claims to be gVisor's under another runtime type. If a node lets processes trace each other, a
 * container that shares its pod's PID namespace can rewrite that process's arguments, but not the runtime's response.
 */
export function isDoubtful({ runtimeType, argv }: SandboxFacts): boolean {
  return argv !== undefined && sentryFlags(argv) !== undefined && !GVISOR_TYPE.test(runtimeType);
}

/** By its process, since handler names and even runtime types can mislead; else by the type. */
export function judgeSandbox(facts: SandboxFacts): Pick<Pod, 'sandboxed' | 'weak' | 'evidence'> {
  const { runtimeType, pid, argv = [], runtimePids = [], annotations } = facts;
  const [program = ''] = argv;
  if (program !== '') {
    const evidence = `process ${pid} is ${quotedProgram(argv)}`;
    if (pid !== undefined && runtimePids.includes(pid))
      return { sandboxed: false, evidence: `${evidence}, and the runtime reports the host's own PID ${pid}` };
    const flags = sentryFlags(argv);
    if (flags === undefined) return { sandboxed: false, evidence };
    const weak = weaknessesOf(flags, annotations);
    return { sandboxed: true, ...(weak.length === 0 ? {} : { weak }), evidence };
  }
  if (/(^|\.)runc\./.test(runtimeType))
    return { sandboxed: false, evidence: `its runtime is ${runtimeType}` };
  if (GVISOR_TYPE.test(runtimeType)) return { sandboxed: true, evidence: `its runtime is ${runtimeType}` };
  return { evidence: `unknown runtime "${runtimeType}"` };
}

/** A gVisor pod whose sandbox is weakened; its evidence says how. */
export type WeakenedPod = Pod & Required<Pick<Pod, 'weak'>>;

/** A proven handler and the runsc flags of its last probe. */
export type ProbeFlags = { readonly handler: string; readonly flags: Readonly<Record<string, string>> };

/**
 * Pods whose sandbox is weakened: by a way out to the host, by an annotation of the pod, or by a flag that the probe of the
 * same handler does not have, for example because the configuration changed after they started.
 */
export function weakenedPods(pods: readonly Pod[], probes: readonly ProbeFlags[]): readonly WeakenedPod[] {
  const usual = new Map(
    probes.map(({ handler, flags }) => [handler, weaknessesOf(new Map(Object.entries(flags)))]),
  );
  return pods.flatMap((pod) => {
    const own = usual.get(pod.handler);
    const weak = (pod.weak ?? []).filter(
      ({ flag, value, severity }) =>
        severity === 'blocker' ||
        isAnnotation(flag) ||
        (own !== undefined && !own.some((each) => each.flag === flag && each.value === value)),
    );
    if (weak.length === 0) return [];
    const how = weak.map(({ flag, value, why }) => `${flag}=${value}: ${why}`).join('; ');
    return [{ ...pod, weak, evidence: `${pod.evidence} with ${how}` }];
  });
}

export function isOpen({ weak }: WeakenedPod): boolean {
  return weak.some(({ severity }) => severity === 'blocker');
}

export type ObservedPods = {
  readonly pods: readonly Pod[];
  /** Pods that do not run in gVisor, and whose namespace or handler requires it. */
  readonly unsandboxed: readonly Pod[];
  readonly weakened: readonly WeakenedPod[];
  /** Wall clock, milliseconds. */
  readonly atMs: number;
};

/** The node's pods as /report shows them. */
export type PodsReport = {
  readonly at: string;
  /** Whether that is too long ago, so that they count as unreadable. */
  readonly stale: boolean;
  readonly running: number;
  /** Whether an API server has listed the namespaces that require gVisor. */
  readonly requirementsKnown: boolean;
  /** Outside of gVisor, in a namespace that requires it or with a handler that is proven here. */
  readonly violating: readonly Pod[];
  /** Outside of gVisor, as they may be. */
  readonly permitted: readonly Pod[];
  /** Runtime unknown. */
  readonly unknown: readonly Pod[];
  /** How many of those are in a namespace that requires gVisor; absent in older reports. */
  readonly unknownRequired?: number;
  /** In gVisor, with a weakened sandbox. */
  readonly weakened: readonly WeakenedPod[];
  /** UIDs of all pods in gVisor; a pod in no list is newer than the report. */
  readonly sandboxedUids: readonly string[];
};

/** How many pods violate a requirement or have a weakened sandbox, and how many of those have a way out to the host. */
export type PodCounts = Readonly<Record<'violating' | 'weakened' | 'open', number>> & {
  /** Pods of an unknown runtime in namespaces that require gVisor; absent in the reports of agents that do not count them. */
  readonly unknown?: number;
};

/** The counts of a report; undefined if it is outdated, or does not know which namespaces require gVisor. */
export function podCounts(report: PodsReport | undefined): PodCounts | undefined {
  if (report === undefined || report.stale || !report.requirementsKnown) return undefined;
  const { violating, weakened, unknownRequired } = report;
  return {
    violating: violating.length,
    weakened: weakened.length,
    open: weakened.filter(isOpen).length,
    ...(unknownRequired !== undefined && { unknown: unknownRequired }),
  };
}

/** Upper limit of the time between two reads, however long they take. */
export const MAX_READ_INTERVAL_MS = 30_000;
/** Allows for the duration of a read. */
export const STALE_MS = 1.5 * MAX_READ_INTERVAL_MS;

/** Builds the report's view of pods. `required`: the namespaces that require gVisor, as far as known; `nowMs` is wall clock time. */
export function podsReport(
  { pods, unsandboxed, weakened, atMs }: ObservedPods,
  required: ReadonlySet<string> | undefined,
  nowMs: number,
): PodsReport {
  const unknown = pods.filter((pod) => pod.sandboxed === undefined);
  return {
    at: new Date(atMs).toISOString(),
    stale: nowMs - atMs > STALE_MS,
    running: pods.length,
    requirementsKnown: required !== undefined,
    violating: unsandboxed,
    permitted: pods.filter((pod) => pod.sandboxed === false && !unsandboxed.includes(pod)),
    unknown,
    unknownRequired: unknown.filter(({ namespace }) => required?.has(namespace)).length,
    weakened,
    sandboxedUids: pods.filter((pod) => pod.sandboxed === true).map(({ uid }) => uid),
  };
}
