import type { V1Container, V1PodSpec, V1VolumeMount } from '@kubernetes/client-node';
import TABLE from './features.json' with { type: 'json' };

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
  readonly starts?: boolean;
};

export type FeatureId = keyof typeof TABLE;

/** `test/nightly/pod-features.test.ts` starts a pair of pods for each row, and docs/compatibility.md shows it. */
export const FEATURES = TABLE as Readonly<Record<FeatureId, Feature>>;

type PodParts = {
  readonly spec: V1PodSpec;
  readonly containers: readonly V1Container[];
};

const ofPod = (asks: (spec: V1PodSpec) => unknown) => (pod: PodParts) => (asks(pod.spec) ? ['pod'] : []);
const ofContainers = (asks: (container: V1Container) => unknown) => (pod: PodParts) =>
  pod.containers.filter(asks).map(({ name }) => String(name));
const adds = (capability: string) =>
  ofContainers(({ securityContext }) =>
    listOf(securityContext?.capabilities?.add).some((each) =>
      ['ALL', capability].includes(String(each).replace('CAP_', '')),
    ),
  );
const mounts = (asks: (mount: V1VolumeMount) => unknown) =>
  ofContainers(({ volumeMounts }) => objectsOf(volumeMounts).some(asks));

const hasLocalProfile = ({ securityContext }: V1PodSpec | V1Container) =>
  securityContext?.seccompProfile?.type === 'Localhost';

/** The containers of a pod that ask for a feature, or "pod"; no manifest tells of the others. */
const ASKED_BY = new Map<FeatureId, (pod: PodParts) => readonly string[]>([
  ['userNamespace', ofPod(({ hostUsers }) => hostUsers === false)],
  ['recursiveReadOnly', mounts(({ recursiveReadOnly }) => recursiveReadOnly === 'Enabled')],
  ['bidirectional', mounts(({ mountPropagation }) => mountPropagation === 'Bidirectional')],
  ['sysctls', ofPod(({ securityContext }) => listOf(securityContext?.sysctls).length > 0)],
  ['seccompProfile', (pod) => [...ofPod(hasLocalProfile)(pod), ...ofContainers(hasLocalProfile)(pod)]],
  ['imageVolume', ofPod(({ volumes }) => objectsOf(volumes).some(({ image }) => image !== undefined))],
  ['hostPID', ofPod(({ hostPID }) => hostPID)],
  ['hostIPC', ofPod(({ hostIPC }) => hostIPC)],
  ['hostNetwork', ofPod(({ hostNetwork }) => hostNetwork)],
  [
    'hostSocket',
    ofPod(({ volumes }) =>
      objectsOf(volumes).some(
        ({ hostPath }) => hostPath?.type === 'Socket' || /\.sock$/.test(String(hostPath?.path)),
      ),
    ),
  ],
  ['privileged', ofContainers(({ securityContext }) => securityContext?.privileged)],
  ['rawSocket', adds('NET_RAW')],
  ['iptables', adds('NET_ADMIN')],
  ['nestedContainers', adds('SYS_ADMIN')],
  ['ptrace', adds('SYS_PTRACE')],
  ['sharedProcesses', ofPod(({ shareProcessNamespace }) => shareProcessNamespace)],
  [
    'memoryLimit',
    (pod) =>
      objectsOf(pod.spec.containers).length < 2
        ? []
        : ofContainers(({ resources }) => resources?.limits?.memory !== undefined)(pod),
  ],
]);

/**
 * The rows that a pod spec of unknown origin asks for, and the containers that do; fields of a wrong type count as
 * absent.
 */
export function askedBy(
  spec: object,
): readonly { readonly id: FeatureId; readonly feature: Feature; readonly by: readonly string[] }[] {
  const given = spec as V1PodSpec;
  const containers = [given.initContainers, given.containers, given.ephemeralContainers].flatMap(objectsOf);
  return [...ASKED_BY].flatMap(([id, ask]) => {
    const by = ask({ spec: given, containers });
    return by.length === 0 ? [] : [{ id, feature: FEATURES[id], by }];
  });
}

function objectsOf<T extends object>(value: readonly T[] | undefined): readonly T[] {
  return listOf(value).filter((each): each is T => typeof each === 'object' && each !== null);
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}
