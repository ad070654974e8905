/** What a sandbox is, in the CRI's words. */
export type SandboxState = 'SANDBOX_READY' | 'SANDBOX_NOTREADY';

/** What containerd knows of one sandbox; "" and absent where it does not say. */
export type SandboxInfo = {
  readonly state: SandboxState;
  /** The PID of the sandbox's first process, in containerd's PID namespace. */
  readonly pid?: number;
  /** The runtime that it was started with, such as "io.containerd.runsc.v1", whatever is configured now. */
  readonly runtimeType: string;
  readonly cgroupParent: string;
  /** The annotations of its OCI spec: the CRI's, and those of the pod that its handler passes on. */
  readonly annotations: ReadonlyMap<string, string>;
};

type Linux = { readonly linux?: { readonly cgroup_parent?: unknown } | null };
type Raw = {
  readonly pid?: unknown;
  readonly runtimeType?: unknown;
  readonly config?: Linux | null;
  readonly runtimeSpec?: { readonly annotations?: Readonly<Record<string, unknown>> | null } | null;
} | null;

/**
 * Reads the document `info` of a verbose status; nothing is told by one that is no JSON.
 * Source: https://github.com/containerd/containerd/blob/v2.4.2/internal/cri/types/sandbox_info.go
 */
export function parseSandboxInfo(document: string | undefined): Omit<SandboxInfo, 'state'> {
  const raw = parse(document);
  const pid = raw?.pid;
  return {
    ...(typeof pid === 'number' && pid > 0 ? { pid } : {}),
    runtimeType: text(raw?.runtimeType),
    cgroupParent: text(raw?.config?.linux?.cgroup_parent),
    annotations: new Map(
      Object.entries(raw?.runtimeSpec?.annotations ?? {}).map(([key, value]) => [key, text(value)]),
    ),
  };
}

function parse(document: string | undefined): Raw {
  try {
    return JSON.parse(document ?? 'null') as Raw;
  } catch {
    return null;
  }
}

/** A text, "" for anything else. */
export function text(value: unknown): string {
  return typeof value === 'string' ? value : '';
}
