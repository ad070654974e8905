import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { REPO } from '../hack/paths.ts';
import { run, UsageError } from '../hack/run.ts';

export type ToolBuild = {
  /** Go packages to build; by default those under `tool` in the group's go.mod. */
  readonly packages?: string;
  readonly cgo?: boolean;
  readonly tags?: string;
  /** The Go variable that holds the version, and a pattern that finds the version in go.mod. */
  readonly stamp?: readonly [variable: string, version: RegExp];
  /** Replaces containerd's OOM score file on machines that may not lower scores. */
  readonly oomOverlay?: boolean;
  /** A file that the program embeds and its module lacks; an empty one takes its place. */
  readonly lacks?: string;
};

const CONTAINERD_TAGS = 'no_btrfs,no_devmapper,no_zfs';
const KUBERNETES: ToolBuild = {
  stamp: ['k8s.io/component-base/version.gitVersion', /k8s.io\/kubernetes (v[\d.]+)/],
};
const GVISOR: ToolBuild = {
  stamp: ['gvisor.dev/gvisor/runsc/version.version', /stamped as (release-\d{8}\.\d+)/],
  oomOverlay: true,
};

/**
 * Each is a Go module because their dependencies conflict. Built in this order: the longest first, and etcd once the
 * packages that it shares with Kubernetes are compiled.
 */
export const GROUPS = {
  kubernetes: KUBERNETES,
  containerd: {
    tags: CONTAINERD_TAGS,
    stamp: ['github.com/containerd/containerd/v2/version.Version', /containerd\/v2 (v[\d.]+)/],
  },
  'containerd-1.7': {
    tags: CONTAINERD_TAGS,
    stamp: ['github.com/containerd/containerd/version.Version', /containerd\/containerd (v[\d.]+)/],
  },
  gvisor: GVISOR,
  'gvisor-2025': GVISOR,
  'gvisor-2026-09': GVISOR,
  etcd: { packages: '.' },
  cni: {},
  kind: {},
  kubeadm: KUBERNETES,
  runc: { cgo: true, tags: 'seccomp', stamp: ['main.version', /opencontainers\/runc v([\d.]+)/] },
  prometheus: {
    tags: 'remove_all_sd,enable_kubernetes_sd',
    stamp: ['github.com/prometheus/common/version.Version', /prometheus\/prometheus v([\d.]+)/],
  },
  'prometheus-operator': {
    stamp: ['github.com/prometheus/common/version.Version', /prometheus-operator v([\d.]+)/],
  },
  alertmanager: {
    stamp: ['github.com/prometheus/common/version.Version', /prometheus\/alertmanager v([\d.]+)/],
    lacks: 'vendor/github.com/prometheus/alertmanager/ui/app/dist/index.html', // its pages are built with npm
  },
  'kube-state-metrics': {
    stamp: ['github.com/prometheus/common/version.Version', /kube-state-metrics\/v2 (v[\d.]+)/],
  },
  'kube-router': {
    stamp: ['github.com/cloudnativelabs/kube-router/v2/pkg/version.Version', /kube-router\/v2 (v[\d.]+)/],
  },
  schemas: { packages: '.' },
  helm: { stamp: ['helm.sh/helm/v4/internal/version.version', /helm\/v4 (v[\d.]+)/] },
  'helm-3': { stamp: ['helm.sh/helm/v3/internal/version.version', /helm\/v3 (v[\d.]+)/] },
  'helm-unittest': {},
  kubeconform: {},
  actionlint: {},
  pint: {},
  karpenter: {},
  registry: {},
} as const satisfies Record<string, ToolBuild>;

export type ToolGroup = keyof typeof GROUPS;

export const TOOL_GROUPS = Object.keys(GROUPS) as readonly ToolGroup[];

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
  const group: ToolBuild = GROUPS[name];
  const pattern = group.stamp?.[1] ?? UNSTAMPED[name];
  const version = pattern?.exec(await readFile(join(source(name), 'go.mod'), 'utf8'))?.[1];
  if (version === undefined) throw new Error(`No version of ${name} in its go.mod`);
  return version;
}

/** Downloads a Go module and returns its directory: "PATH@VERSION", or a PATH that the go.mod in `cwd` pins. */
export async function moduleDirectory(module: string, cwd = REPO): Promise<string> {
  const text = await run('go', ['mod', 'download', '-json', module], { cwd, timeoutMs: 10 * 60_000 });
  return (JSON.parse(text) as { Dir: string }).Dir;
}
