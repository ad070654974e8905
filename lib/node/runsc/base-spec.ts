import { posix } from 'node:path';
import type { Host } from '../host/host.ts';
import { isWithin } from '../host/paths.ts';
import USUAL from './base-spec.json' with { type: 'json' };
import { truncate, type Weakness, weaknessesOf } from './flags.ts';

/** The part that can weaken sandboxes; any of it may be absent. */
type BaseSpec = {
  readonly mounts?: readonly Mount[] | null;
  readonly annotations?: Readonly<Record<string, string>> | null;
  readonly hooks?: Readonly<Record<string, readonly { readonly path?: string }[] | null>> | null;
  readonly process?: {
    readonly capabilities?: Readonly<Record<string, readonly string[] | null>> | null;
  } | null;
  readonly linux?: { readonly devices?: readonly { readonly path?: string }[] | null } | null;
} | null;

type Mount = {
  readonly destination?: string;
  readonly type?: string;
  readonly source?: string;
  readonly options?: readonly string[] | null;
};

/** Throws if it cannot be read, since containerd has loaded it. */
export async function readBaseSpec(host: Host, path: string): Promise<readonly Weakness[]> {
  const text = await host.readText(path);
  if (text === undefined)
    throw new Error(`base_runtime_spec "${path}" is gone, though containerd has loaded it`);
  try {
    return weaknessesOfSpec(JSON.parse(text) as BaseSpec);
  } catch (cause) {
    throw new Error(`Cannot judge base_runtime_spec "${path}"`, { cause });
  }
}

const FLAG = 'dev.gvisor.flag.';

/**
 * Additions of a base spec to containerd's own, blockers first. Only bind mounts and annotations lead out of a
 * sandbox; containerd sets namespaces itself, and runsc ignores masked paths.
 * https://github.com/containerd/containerd/blob/v2.4.2/internal/cri/server/container_create.go
 * (buildLinuxSpec), https://github.com/google/gvisor/blob/release-20260223.0/runsc/cmd/gofer.go (setupMounts,
 * setupDev)
 */
export function weaknessesOfSpec(spec: BaseSpec): readonly Weakness[] {
  const annotations = new Map(Object.entries(spec?.annotations ?? {}));
  const flags = [...annotations].flatMap(([name, value]): [string, string][] =>
    name.startsWith(FLAG) ? [[name.slice(FLAG.length), value]] : [],
  );
  const more = (flag: string, names: readonly (string | undefined)[], why: string): readonly Weakness[] => {
    const value = truncate([...new Set(names)].join(', '));
    return names.length === 0 ? [] : [{ flag, value, severity: 'warning', why }];
  };
  const rights = Object.values(spec?.process?.capabilities ?? {}).flatMap((names) => names ?? []);
  const hooks = Object.values(spec?.hooks ?? {}).flatMap((each) => each ?? []);
  const paths = (items: readonly { readonly path?: string }[]) => items.map(({ path }) => path);
  const weak = [
    ...(spec?.mounts ?? []).filter(isBind).map(weaknessOfMount),
    ...weaknessesOf(new Map(flags), annotations),
    ...more('devices', paths(spec?.linux?.devices ?? []), 'each pod gets these devices'),
    ...more('hooks', paths(hooks), 'runsc runs these programs on the host for each container'),
    ...more(
      'capabilities',
      rights.filter((name) => !USUAL.capabilities.names.includes(name)),
      'each pod has these rights within its sandbox',
    ),
  ];
  return weak.sort((a, b) => Number(b.severity === 'blocker') - Number(a.severity === 'blocker'));
}

/** https://github.com/google/gvisor/blob/release-20260223.0/runsc/specutils/specutils.go (MaybeConvertToBindMount) */
function isBind({ type, options }: Mount): boolean {
  return type === 'bind' || (options ?? []).some((option) => option === 'bind' || option === 'rbind');
}

function weaknessOfMount({ source = '', destination = '', options }: Mount): Weakness {
  const from = posix.resolve('/', source);
  const isSensitive =
    from === '/' || USUAL.sensitive.paths.some((path) => isWithin(path, from) || isWithin(from, path));
  const isReadOnly = options?.includes('ro') ?? false;
  return {
    flag: truncate(`mount ${destination}`),
    value: truncate(from),
    severity: isSensitive || !isReadOnly ? 'blocker' : 'warning',
    why: `each pod can ${isReadOnly ? 'read' : 'write'} these files of the host`,
  };
}
