import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { REPO } from '../hack/paths.ts';
import { run, UsageError } from '../hack/run.ts';
import GROUPS from './tool-groups.json' with { type: 'json' };

export type ToolBuild = {
  /** Go packages to build; by default those under `tool` in the group's go.mod. */
  readonly packages?: string;
  readonly cgo?: boolean;
  readonly tags?: string;
  /** The Go variable that holds the version, and a pattern that finds the version in go.mod. */
  readonly stamp: readonly [variable: string, version: RegExp] | undefined;
  /** Replaces containerd's OOM score file on machines that may not lower scores. */
  readonly oomOverlay?: boolean;
  /** A file that the program embeds and its module lacks; an empty one takes its place. */
  readonly lacks?: string;
  /** Files for tests alone, without which the packages of fake clients are not built: a twentieth of Kubernetes. */
  readonly omits?: readonly string[];
};

export type ToolGroup = keyof typeof GROUPS;

/**
 * Each is a Go module because their dependencies conflict. Built in this order: the longest first, and etcd once the
 * packages that it shares with Kubernetes are compiled.
 */
export const TOOL_GROUPS = Object.keys(GROUPS) as readonly ToolGroup[];

export function buildOf(name: ToolGroup): ToolBuild {
  const group: Omit<ToolBuild, 'stamp'> & { readonly stamp?: readonly string[] } = GROUPS[name];
  const [variable = '', pattern = ''] = group.stamp ?? [];
  return { ...group, stamp: group.stamp && [variable, new RegExp(pattern)] };
}

/** Other values of KUBERNETES_VERSION; each has its own Go module. */
export const OTHER_KUBERNETES = ['1.34', '1.35', '1.37'] as const;

export function source(group: ToolGroup): string {
  const version = process.env.KUBERNETES_VERSION;
  if (group !== 'kubernetes' || version === undefined) return join(REPO, 'cluster/tools', group);
  if (OTHER_KUBERNETES.some((other) => other === version))
    return join(REPO, 'cluster/tools', `kubernetes-${version}`);
  throw new UsageError(
    `KUBERNETES_VERSION="${version}" cannot be built: use ${OTHER_KUBERNETES.join(' or ')}, or leave it unset.`,
  );
}

/** Finds the version in go.mod of a group that is not stamped with it. */
const UNSTAMPED: Partial<Record<ToolGroup, RegExp>> = {
  etcd: /etcd\/server\/v3 (v[\d.]+)/,
  cni: /containernetworking\/plugins (v[\d.]+)/,
};

/** Programs are stamped with the version in go.mod. */
export async function versionOf(name: ToolGroup): Promise<string> {
  const pattern = buildOf(name).stamp?.[1] ?? UNSTAMPED[name];
  const version = pattern?.exec(await readFile(join(source(name), 'go.mod'), 'utf8'))?.[1];
  if (version === undefined) throw new Error(`No version of ${name} in its go.mod`);
  return version;
}

/** Downloads a Go module and returns its directory: "PATH@VERSION", or a PATH that the go.mod in `cwd` pins. */
export async function moduleDirectory(module: string, cwd = REPO): Promise<string> {
  const text = await run('go', ['mod', 'download', '-json', module], { cwd, timeoutMs: 10 * 60_000 });
  return (JSON.parse(text) as { Dir: string }).Dir;
}
