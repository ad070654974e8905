import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { REPO } from '../hack/paths.ts';
import { UsageError } from '../hack/run.ts';

/** How a group of programs is built. */
export type Group = {
  /** Go packages to build; what the group's go.mod lists under `tool` unless told otherwise. */
  readonly packages?: string;
  readonly cgo?: boolean;
  readonly tags?: string;
  /** The linker's variable that holds the version, and a pattern that finds the version in go.mod. */
  readonly stamp?: readonly [variable: string, version: RegExp];
  /** Replace containerd's OOM score file where the machine may not lower scores. */
  readonly oomOverlay?: boolean;
  /** A file that the program embeds and its module lacks, in the vendor folder; an empty one takes its place. */
  readonly lacks?: string;
};

const CONTAINERD_TAGS = 'no_btrfs,no_devmapper,no_zfs';
const GVISOR: Group = {
  stamp: ['gvisor.dev/gvisor/runsc/version.version', /stamped as (release-\d{8}\.\d+)/],
  oomOverlay: true,
};

/**
 * Every group of programs: one Go module each under cluster/tools, because one go.mod cannot hold them all. They are
 * built in this order: the longest first, and etcd when most of what it shares with Kubernetes is compiled.
 */
export const GROUPS = {
  kubernetes: {
    stamp: ['k8s.io/component-base/version.gitVersion', /k8s.io\/kubernetes (v[\d.]+)/],
  },
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
} as const satisfies Record<string, Group>;

/** The name of a group of programs. */
export type ToolGroup = keyof typeof GROUPS;

/** All groups, for those who want to build everything. */
export const TOOL_GROUPS = Object.keys(GROUPS) as readonly ToolGroup[];

/**
 * The minor versions of Kubernetes that clusters of this process can have instead of the usual one, by the environment
 * variable KUBERNETES_VERSION. Each has a Go module of its own beside that of the group `kubernetes`.
 */
export const OTHER_KUBERNETES = ['1.34', '1.35', '1.37'] as const;

/** The folder with the Go module of a group. */
export function source(group: ToolGroup): string {
  const version = process.env.KUBERNETES_VERSION;
  if (group !== 'kubernetes' || version === undefined) return join(REPO, 'cluster/tools', group);
  if (OTHER_KUBERNETES.some((other) => other === version))
    return join(REPO, 'cluster/tools', `kubernetes-${version}`);
  throw new UsageError(
    `KUBERNETES_VERSION="${version}" cannot be built: use ${OTHER_KUBERNETES.join(' or ')}, or leave it unset.`,
  );
}

/** The version of a group of programs as its go.mod has it, which the programs are stamped with. */
export async function versionOf(name: ToolGroup): Promise<string> {
  const group: Group = GROUPS[name];
  const version = group.stamp?.[1].exec(await readFile(join(source(name), 'go.mod'), 'utf8'))?.[1];
  if (version === undefined) throw new Error(`No version of ${name} in its go.mod`);
  return version;
}
