import {
  type ConfigFault,
  type Kinds,
  parseTomlFile,
  TomlFault,
  tableAt,
  toFault,
} from '../containerd/toml.ts';
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
  readonly fault?: ConfigFault;
};

/** https://github.com/google/gvisor/blob/master/pkg/shim/v1/runsc/options.go */
const KINDS: Kinds = {
  shim_cgroup: 'a string',
  io_uid: 'an integer',
  io_gid: 'an integer',
  binary_name: 'a string',
  root: 'a string',
  log_level: 'a string',
  log_path: 'a string',
  grouping: 'a boolean',
  enable_hibernate_server: 'a boolean',
  runsc_config: 'a table',
};

/** For a handler without a ConfigPath. */
export const DEFAULT_RUNSC_CONFIG: RunscConfig = {
  binaryName: 'runsc',
  flags: new Map(),
  lines: new Map(),
  unknownKeys: new Map(),
};

/** A file that is absent or refused is a fault: the shim starts no sandbox with it. */
export async function readRunscConfig(host: Host, file: string): Promise<RunscConfig> {
  const text = await host.readText(file);
  const absent = { file, line: 1, problem: `"${file}" does not exist` };
  if (text === undefined) return { ...DEFAULT_RUNSC_CONFIG, file, fault: absent };
  try {
    return parseRunscConfig(text, file);
  } catch (cause) {
    return { ...DEFAULT_RUNSC_CONFIG, file, fault: toFault(cause) };
  }
}

/** Like the shim's decoder: values in [runsc_config] must be strings. Throws {@link TomlFault}. */
export function parseRunscConfig(text: string, file: string): RunscConfig {
  const { tree, lines: names } = parseTomlFile(text, file, KINDS);
  const unknown = [...tree.keys()].filter((key) => !Object.hasOwn(KINDS, key));
  const unknownKeys = new Map(unknown.map((key) => [key, names.find([key])]));
  const flags = new Map<string, string>();
  const lines = new Map<string, number>();
  for (const [flag, value] of tableAt(tree, ['runsc_config']) ?? []) {
    const line = names.find(['runsc_config', flag]);
    if (typeof value !== 'string') throw new TomlFault(file, line, `the value of ${flag} is not a string`);
    flags.set(flag, value);
    lines.set(flag, line);
  }
  const binaryName = String(tree.get('binary_name') ?? '') || DEFAULT_RUNSC_CONFIG.binaryName;
  return { file, binaryName, flags, lines, unknownKeys };
}
