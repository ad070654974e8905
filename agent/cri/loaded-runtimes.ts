import type { Runtime } from './cri.ts';
import { text } from './sandbox-info.ts';

/**
 * Reads the handlers out of the `config` document of a verbose status. Only named fields are taken:
 * containerd 1.x puts registry credentials beside them.
 * Source: https://github.com/containerd/containerd/blob/v2.4.2/internal/cri/config/config.go
 */
export function loadedRuntimes(config: string | undefined): ReadonlyMap<string, Runtime> {
  if (config === undefined) throw new Error("containerd's status carries no configuration");
  let parsed: { containerd?: { runtimes?: Record<string, RawRuntime> } } | null;
  try {
    parsed = JSON.parse(config) as typeof parsed;
  } catch {
    throw new Error("containerd's status carries a configuration that is not JSON"); // its text may hold credentials
  }
  const runtimes = new Map<string, Runtime>();
  for (const [name, raw] of Object.entries(parsed?.containerd?.runtimes ?? {})) {
    runtimes.set(name, {
      runtimeType: text(raw?.runtimeType),
      runtimePath: text(raw?.runtimePath),
      options: typeof raw?.options === 'object' ? { ...raw.options } : {},
      snapshotter: text(raw?.snapshotter),
      podAnnotations: texts(raw?.PodAnnotations),
    });
  }
  return runtimes;
}

function texts(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.filter((each) => typeof each === 'string') : [];
}

type RawRuntime = Readonly<Record<string, unknown>> | null;
