import { parseToml, TomlFault, TomlLines, type TomlValue } from '../containerd/toml.ts';
import type { Host } from '../host/host.ts';

/** runsc's default: https://gvisor.dev/docs/architecture_guide/platforms/ */
export const DEFAULT_PLATFORM = 'systrap';

/** From the file in the handler's ConfigPath. */
export type RunscConfig = {
  readonly file?: string;
  /** A name or an absolute path. */
  readonly binaryName: string;
  /** Flags for runsc, without dashes. */
  readonly flags: ReadonlyMap<string, string>;
  /** 1-based lines of the flags. */
  readonly lines: ReadonlyMap<string, number>;
  /** Top-level keys that the shim ignores, with their lines. */
  readonly unknownKeys: ReadonlyMap<string, number>;
  /** Why the shim starts no sandbox; `flags` and `binaryName` are then the defaults. */
  readonly fault?: { readonly line: number; readonly problem: string };
};

/** https://github.com/google/gvisor/blob/master/pkg/shim/v1/runsc/options.go */
const KNOWN_KEYS: Readonly<Record<string, 'string' | 'number' | 'boolean' | 'table'>> = {
  shim_cgroup: 'string',
  io_uid: 'number',
  io_gid: 'number',
  binary_name: 'string',
  root: 'string',
  log_level: 'string',
  log_path: 'string',
  grouping: 'boolean',
  enable_hibernate_server: 'boolean',
  runsc_config: 'table',
};

/** For a handler without a ConfigPath. */
export const DEFAULT_RUNSC_CONFIG: RunscConfig = {
  binaryName: 'runsc',
  flags: new Map(),
  lines: new Map(),
  unknownKeys: new Map(),
};

/** An absent file is a fault: the shim starts no sandbox without it. */
export async function readRunscConfig(host: Host, file: string): Promise<RunscConfig> {
  const text = await host.readText(file);
  if (text === undefined) {
    return { ...DEFAULT_RUNSC_CONFIG, file, fault: { line: 1, problem: `"${file}" does not exist` } };
  }
  return parseRunscConfig(text, file);
}

/** Like the shim's decoder: values in [runsc_config] must be strings. */
export function parseRunscConfig(text: string, file: string): RunscConfig {
  try {
    return decode(text, file);
  } catch (cause) {
    if (!(cause instanceof TomlFault)) throw cause;
    return { ...DEFAULT_RUNSC_CONFIG, file, fault: { line: cause.line, problem: cause.message } };
  }
}

function decode(text: string, file: string): RunscConfig {
  const table = parseToml(text, file);
  const names = new TomlLines(text);
  const unknownKeys = new Map<string, number>();
  for (const [key, value] of table) {
    const kind = Object.hasOwn(KNOWN_KEYS, key) ? KNOWN_KEYS[key] : undefined;
    if (kind === undefined) unknownKeys.set(key, names.find([key]));
    else if (kindOf(value) !== kind) throw new TomlFault(file, names.find([key]), `${key} is not a ${kind}`);
  }
  const flags = new Map<string, string>();
  const lines = new Map<string, number>();
  const given = table.get('runsc_config');
  for (const [flag, value] of given instanceof Map ? given : []) {
    const line = names.find(['runsc_config', flag]);
    if (typeof value !== 'string') throw new TomlFault(file, line, `the value of ${flag} is not a string`);
    flags.set(flag, value);
    lines.set(flag, line);
  }
  const binaryName = String(table.get('binary_name') ?? '') || DEFAULT_RUNSC_CONFIG.binaryName;
  return { file, binaryName, flags, lines, unknownKeys };
}

function kindOf(value: TomlValue): string {
  if (value instanceof Map) return 'table';
  return typeof value === 'bigint' ? 'number' : typeof value;
}
