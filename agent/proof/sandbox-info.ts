import type { CallOptions, CriClient } from '../host/cri-client.ts';

/** What containerd tells of a sandbox when it is asked verbosely; "" where it does not say. */
export type SandboxInfo = { readonly image: string; readonly cgroupParent: string };

/** Source: https://github.com/containerd/containerd/blob/v2.4.2/internal/cri/types/sandbox_info.go */
export async function readSandboxInfo(
  client: CriClient,
  podSandboxId: string,
  options: CallOptions,
): Promise<SandboxInfo> {
  const request = { podSandboxId, verbose: true };
  const { info } = await client.call<{ info: Record<string, string> }>('PodSandboxStatus', request, options);
  const parsed = parse(info.info);
  return { image: text(parsed?.image), cgroupParent: text(parsed?.config?.linux?.cgroup_parent) };
}

type Raw = { image?: unknown; config?: { linux?: { cgroup_parent?: unknown } | null } | null } | null;

function parse(info: string | undefined): Raw {
  try {
    return JSON.parse(info ?? 'null') as Raw;
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
