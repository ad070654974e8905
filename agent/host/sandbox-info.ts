import type { CallOptions, CriClient } from './cri-client.ts';

/** What containerd knows of one sandbox beyond the CRI; "" and absent where it does not say. */
export type SandboxInfo = {
  /** The host's PID of the sandbox's first process. */
  readonly pid?: number;
  /** The runtime that it was started with, such as "io.containerd.runsc.v1", whatever is configured now. */
  readonly runtimeType: string;
  readonly cgroupParent: string;
  readonly image: string;
};

type Raw = {
  readonly pid?: unknown;
  readonly runtimeType?: unknown;
  readonly image?: unknown;
  readonly config?: { readonly linux?: { readonly cgroup_parent?: unknown } | null } | null;
} | null;

/**
 * Reads the document `info` of a verbose status.
 * Source: https://github.com/containerd/containerd/blob/v2.4.2/internal/cri/types/sandbox_info.go
 */
export async function readSandboxInfo(
  client: CriClient,
  id: string,
  options: CallOptions,
): Promise<SandboxInfo> {
  const request = { podSandboxId: id, verbose: true };
  const { info } = await client.call<{ info: Record<string, string> }>('PodSandboxStatus', request, options);
  const raw = parse(info.info);
  const pid = raw?.pid;
  return {
    ...(typeof pid === 'number' && pid > 0 ? { pid } : {}),
    runtimeType: text(raw?.runtimeType),
    cgroupParent: text(raw?.config?.linux?.cgroup_parent),
    image: text(raw?.image),
  };
}

function parse(document: string | undefined): Raw {
  try {
    return JSON.parse(document ?? 'null') as Raw;
  } catch {
    return null;
  }
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

/** Whether an image that is known by name is not on the node. */
export async function isImageMissing(client: CriClient, image: string): Promise<boolean> {
  if (image === '') return false;
  return client.call<{ image?: object | null }>('ImageStatus', { image: { image } }).then(
    (answer) => !answer.image,
    () => false,
  );
}
