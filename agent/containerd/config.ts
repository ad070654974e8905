import type { Runtime } from '../cri/cri.ts';
import type { Host } from '../host/host.ts';
import { type ConfigFault, type ContainerdFile, readContainerdFiles } from './files.ts';
import { type IgnoredMention, type Mention, mentionsIn, whyIgnored } from './handler-mentions.ts';
import { criSection, type MergeOptions, mergeFiles } from './merge.ts';
import {
  type ConfigRules,
  parseContainerdRelease,
  refusesNewerDropIn,
  rulesForConfigVersion,
  rulesOf,
} from './release.ts';
import { decodeRuntimes, disabledFault, type RuntimeTable } from './runtimes-table.ts';
import type { TomlTable } from './toml.ts';
import { readUnimported } from './unimported.ts';

/** A handler that containerd would load from disk. `file` and `line` are absent for the built-in "runc". */
export type ConfiguredRuntime = Runtime & { readonly file?: string; readonly line?: number };

/** What a containerd started now would make of the files on disk. */
export type ContainerdConfig = {
  /** Files in the order in which they are merged; none when the root file does not exist. */
  readonly files: readonly string[];
  readonly rules: ConfigRules;
  /** True when the release is not known and the rules are those of the files' own version. */
  readonly rulesAssumed: boolean;
  readonly runtimes: ReadonlyMap<string, ConfiguredRuntime>;
  /** Every place that names a handler and has no effect. */
  readonly ignored: readonly IgnoredMention[];
  /** Why containerd would not start, or would start without its CRI plugin; `runtimes` is then empty. */
  readonly fault?: ConfigFault;
};

/**
 * Reads containerd's configuration as the given release would; `release` is what CRI reports.
 * Throws when a file exists and cannot be read; what containerd itself would refuse is a `fault`, not a throw.
 */
export async function readContainerdConfig(
  host: Host,
  root: string,
  release?: string,
): Promise<ContainerdConfig> {
  const { files, fault } = await readContainerdFiles(host, root);
  const known = release === undefined ? undefined : parseContainerdRelease(release);
  const newest = Math.max(0, ...files.map((file) => file.version));
  const rules = known ? rulesOf(known) : rulesForConfigVersion(newest);
  const unimported = await readUnimported(host, root, files);
  const config = resolveConfig(files, { rules, refusesNewerDropIn: refusesNewerDropIn(known), unimported });
  const found = fault ?? config.fault;
  return { ...config, rulesAssumed: !known, ...(found && { fault: found, runtimes: new Map() }) };
}

/** The pure part of {@link readContainerdConfig}: the tables of `files` are changed by it. */
export function resolveConfig(
  files: readonly ContainerdFile[],
  options: MergeOptions & { readonly unimported?: readonly IgnoredMention[] },
): Omit<ContainerdConfig, 'rulesAssumed'> {
  const { rules } = options;
  const mentions = files.flatMap(mentionsIn);
  const origins = new Map<TomlTable, readonly Mention[]>(
    mentions.map((mention) => [mention.table, [mention]]),
  );
  const merged = mergeFiles(files, {
    ...options,
    onMerge: (to, from) => {
      const both = [...(origins.get(to) ?? []), ...(origins.get(from) ?? [])];
      if (both.length > 0) origins.set(to, both);
    },
  });
  const decoded = decodeRuntimes(merged, rules);
  const used = (runtime: RuntimeTable) => (runtime.table && origins.get(runtime.table)) ?? [];
  const effective = new Set([...decoded.runtimes.values()].flatMap(used));
  const unused = mentions.filter((mention) => !effective.has(mention));
  const ignored = unused.map((mention) => {
    const { handler, file, line } = mention;
    return { handler, file, line, why: whyIgnored(mention, rules, merged.version), isLoaded: true };
  });
  const { path = [], problem } = decoded.wrong ?? {};
  const keys = ['plugins', criSection(rules, merged.version), ...path];
  const file = files.findLast(({ lines }) => lines.has(keys)) ?? files.at(-1);
  const undecoded = problem && file ? { file: file.path, line: file.lines.find(keys), problem } : undefined;
  const fault = merged.fault ?? disabledFault(files, rules) ?? undecoded;
  return {
    files: files.map((file) => file.path),
    rules,
    runtimes: fault
      ? new Map()
      : new Map([...decoded.runtimes].map(([name, runtime]) => [name, configured(runtime, used(runtime))])),
    ignored: [...ignored, ...(options.unimported ?? [])],
    ...(fault && { fault }),
  };
}

function configured({ table: _, ...runtime }: RuntimeTable, from: readonly Mention[]): ConfiguredRuntime {
  // The last file that merged into the table is the one whose words count.
  const source = from.at(-1);
  return source ? { ...runtime, file: source.file, line: source.line } : runtime;
}
