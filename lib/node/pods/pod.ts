import { quotedProgram } from '../host/process.ts';
import { isAnnotation, sentryFlags, type Weakness, weaknessesOf } from '../runsc/flags.ts';

export type Pod = {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  /** "" is containerd's default. */
  readonly handler: string;
  /** Whether it runs in gVisor; absent if unknown. */
  readonly sandboxed?: boolean;
  /** Whether a gVisor sandbox is in the kubelet's cgroup for its pod; absent if unknown. */
  readonly limited?: boolean;
  /** Absent if there are none. */
  readonly weak?: readonly Weakness[];
  /** Such as `process 812 is "pause"`. */
  readonly evidence: string;
};

/** `pid` and `argv` are those of the first process, if it could be read. */
export type SandboxFacts = {
  readonly runtimeType: string;
  readonly pid?: number | undefined;
  readonly argv?: readonly string[] | undefined;
  /** Absent unless requested. */
  readonly runtimePids?: readonly number[];
  readonly annotations?: ReadonlyMap<string, string>;
};

const GVISOR_TYPE = /(^|\.)runsc\./;

/**
 * A process claims to be gVisor's under another runtime type: a container that shares its pod's PID namespace
 * may be able to rewrite that process's arguments, but not the runtime's response.
 */
export function isDoubtful({ runtimeType, argv }: SandboxFacts): boolean {
  return argv !== undefined && sentryFlags(argv) !== undefined && !GVISOR_TYPE.test(runtimeType);
}

/**
 * The process decides, because handler names and runtime types can mislead; the type counts only without a
 * process.
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

export type WeakenedPod = Pod & Required<Pick<Pod, 'weak'>>;

/** A proven handler and the runsc flags of its last probe. */
export type ProbeFlags = { readonly handler: string; readonly flags: Readonly<Record<string, string>> };

/**
 * By a way out to the host, an annotation, or a flag that the handler's probe lacks, as after a change of
 * configuration.
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
  /** Required to run in gVisor, and not in it. */
  readonly unsandboxed: readonly Pod[];
  readonly weakened: readonly WeakenedPod[];
  /** Wall clock, milliseconds. */
  readonly atMs: number;
};

/** The node's pods as /report shows them. */
export type PodsReport = {
  readonly at: string;
  /** True if that is too long ago to count. */
  readonly stale: boolean;
  readonly running: number;
  /** Whether an API server has listed the namespaces. */
  readonly requirementsKnown: boolean;
  /** In a namespace that requires gVisor. */
  readonly violating: readonly Pod[];
  /** Outside of gVisor, in any other namespace. */
  readonly permitted: readonly Pod[];
  /** Runtime unknown. */
  readonly unknown: readonly Pod[];
  /** In namespaces that require gVisor; absent in older reports. */
  readonly unknownRequired?: number;
  /** In gVisor, with a weakened sandbox. */
  readonly weakened: readonly WeakenedPod[];
  /** A pod in no list is newer than the report. */
  readonly sandboxedUids: readonly string[];
};

/** `open` counts the weakened pods with a way out to the host. */
export type PodCounts = Readonly<Record<'violating' | 'weakened' | 'open', number>> & {
  /** In namespaces that require gVisor; absent in older reports. */
  readonly unknown?: number;
};

/** Undefined if the report is outdated, or does not know which namespaces require gVisor. */
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

/** However long a read takes. */
export const MAX_READ_INTERVAL_MS = 30_000;
/** Allows for the duration of a read. */
const STALE_MS = 1.5 * MAX_READ_INTERVAL_MS;

/** `required`: the namespaces that require gVisor, as far as known; `nowMs` is wall clock time. */
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
