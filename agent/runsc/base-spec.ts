import { posix } from 'node:path';
import type { Host } from '../../lib/host/host.ts';
import { isWithin } from '../../lib/host/paths.ts';
import { shorten, type Weakness, weaknessesOf } from '../../lib/runsc/flags.ts';
import USUAL from './base-spec.json' with { type: 'json' };

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

/** Of a spec that containerd has loaded. */
export type LoadedSpec = {
  readonly weak: readonly Weakness[];
  /** Programs that runsc runs on the host for each container. */
  readonly hooks: readonly string[];
  /** Whether the file is another one now, which containerd has not read. */
  readonly changed: boolean;
};

type Remembered = Omit<LoadedSpec, 'changed'> & { readonly startedMs: number };

/** Knows base specs as containerd has loaded them: it reads these files only when it starts. */
export class BaseSpecs {
  readonly #remembered = new Map<string, Remembered>();

  /**
   * Undefined if the file was changed since containerd started, and was never read before. Throws if it cannot be read,
   * or if containerd's socket, which it makes anew when it starts, is not there.
   */
  async loaded(host: Host, path: string, socket: string): Promise<LoadedSpec | undefined> {
    const startedMs = (await host.statEntry(socket))?.changedMs;
    if (startedMs === undefined)
      throw new Error(`Cannot tell when containerd started: no socket "${socket}"`);
    const before = this.#remembered.get(path);
    const known = before?.startedMs === startedMs ? before : undefined;
    const stats = await Promise.all([host.statEntry(path), host.stat(path)]);
    const isCurrent = stats.every((stat) => stat !== undefined && stat.changedMs <= startedMs);
    if (!isCurrent) return known && { ...known, changed: true };
    const read = known ?? { ...(await readBaseSpec(host, path)), startedMs };
    this.#remembered.set(path, read);
    return { ...read, changed: false };
  }
}

async function readBaseSpec(host: Host, path: string): Promise<Omit<LoadedSpec, 'changed'>> {
  const text = await host.readText(path);
  try {
    const spec = JSON.parse(text ?? '') as BaseSpec;
    return { weak: weaknessesOfSpec(spec), hooks: hooksOf(spec) };
  } catch (cause) {
    throw new Error(`Cannot judge base_runtime_spec "${path}"`, { cause });
  }
}

function hooksOf(spec: BaseSpec): readonly string[] {
  return Object.values(spec?.hooks ?? {}).flatMap((hooks) => (hooks ?? []).flatMap(({ path }) => path ?? []));
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
    const value = shorten([...new Set(names)].join(', '));
    return names.length === 0 ? [] : [{ flag, value, severity: 'warning', why }];
  };
  const rights = Object.values(spec?.process?.capabilities ?? {}).flatMap((names) => names ?? []);
  const paths = (items: readonly { readonly path?: string }[]) => items.map(({ path }) => path);
  const weak = [
    ...(spec?.mounts ?? []).filter(isBind).map(weaknessOfMount),
    ...weaknessesOf(new Map(flags), annotations),
    ...more('devices', paths(spec?.linux?.devices ?? []), 'each pod gets these devices'),
    ...more('hooks', hooksOf(spec), 'runsc runs these programs on the host for each container'),
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
    flag: shorten(`mount ${destination}`),
    value: shorten(from),
    severity: isSensitive || !isReadOnly ? 'blocker' : 'warning',
    why: `each pod can ${isReadOnly ? 'read' : 'write'} these files of the host`,
  };
}
