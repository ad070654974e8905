import type { CriStatus, LoadedRuntime } from './cri.ts';

/**
 * Reads the handlers out of the `config` document of a verbose status. Only named fields are taken:
 * containerd 1.x puts registry credentials beside them.
 * Source: https://github.com/containerd/containerd/blob/v2.4.2/internal/cri/config/config.go
 */
export function loadedRuntimes(
  config: string | undefined,
): Pick<CriStatus, 'defaultRuntimeName' | 'stateDir' | 'runtimes'> {
  if (config === undefined) throw new Error("containerd's status carries no configuration");
  let parsed: { containerd?: RawContainerd; stateDir?: unknown } | null;
  try {
    parsed = JSON.parse(config) as typeof parsed;
  } catch {
    throw new Error("containerd's status carries a configuration that is not JSON"); // its text may hold credentials
  }
  const containerd = parsed?.containerd;
  const runtimes = new Map<string, LoadedRuntime>();
  for (const [name, raw] of Object.entries(containerd?.runtimes ?? {})) {
    runtimes.set(name, {
      runtimeType: text(raw?.runtimeType),
      runtimePath: text(raw?.runtimePath),
      options:
        typeof raw?.options === 'object' && raw.options !== null
          ? (raw.options as Record<string, unknown>)
          : {},
      snapshotter: text(raw?.snapshotter),
    });
  }
  const stateDir = text(parsed?.stateDir);
  return { defaultRuntimeName: text(containerd?.defaultRuntimeName), stateDir, runtimes };
}

type RawRuntime = {
  runtimeType?: unknown;
  runtimePath?: unknown;
  options?: unknown;
  snapshotter?: unknown;
} | null;
type RawContainerd = { defaultRuntimeName?: unknown; runtimes?: Record<string, RawRuntime> };

function text(value: unknown): string {
  return typeof value === 'string' ? value : '';
}
