import type { Pod, WeakenedPod } from './pod.ts';

/** The pods of this node, those of them that must run in gVisor and do not, and those whose sandbox is weakened; `atMs` is the wall clock's. */
export type PodsSeen = {
  readonly pods: readonly Pod[];
  readonly unsandboxed: readonly Pod[];
  readonly weakened: readonly WeakenedPod[];
  readonly atMs: number;
};

/** Which pods of this node run outside of gVisor, and which in it, for people and for the report. */
export type PodsOutside = {
  /** When they were read last, ISO 8601. */
  readonly at: string;
  /** Whether that is so long ago that they must be taken as unreadable now. */
  readonly stale: boolean;
  /** How many pods run here in all. */
  readonly running: number;
  /** Whether it is known which namespaces require gVisor: only an API server tells. */
  readonly requirementsKnown: boolean;
  /** Those outside of gVisor in a namespace that requires it, */
  readonly forbidden: readonly Pod[];
  /** those outside of gVisor elsewhere, */
  readonly allowed: readonly Pod[];
  /** and those of which nobody could tell. */
  readonly untold: readonly Pod[];
  /** Those in gVisor whose sandbox is weakened. */
  readonly weakened: readonly WeakenedPod[];
  /** The uids of those in gVisor: a pod in neither list is newer. */
  readonly inside: readonly string[];
};

/** Pods are read at least so often, also where that takes long, */
export const MOST_READ_MS = 30_000;
/** and have a while to be read in. */
const STALE_MS = 1.5 * MOST_READ_MS;

/** Sorts pods as a person wants to know of them at `nowMs`, wall clock time. */
export function podsOutside(
  { pods, unsandboxed, weakened, atMs }: PodsSeen,
  requirementsKnown: boolean,
  nowMs: number,
): PodsOutside {
  return {
    at: new Date(atMs).toISOString(),
    stale: nowMs - atMs > STALE_MS,
    running: pods.length,
    requirementsKnown,
    forbidden: unsandboxed,
    allowed: pods.filter((pod) => pod.sandboxed === false && !unsandboxed.includes(pod)),
    untold: pods.filter((pod) => pod.sandboxed === undefined),
    weakened,
    inside: pods.filter((pod) => pod.sandboxed === true).map(({ uid }) => uid),
  };
}
