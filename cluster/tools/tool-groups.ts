import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { REPO } from '../../hack/paths.ts';
import { run, UsageError } from '../../hack/run.ts';

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
  /** Files for tests alone, without which the packages of fake clients are not built: a twentieth of Kubernetes. */
  readonly omits?: readonly string[];
};

/**
 * Each is a Go module because their dependencies conflict. Built in this order: the longest first, and etcd once the
 * packages that it shares with Kubernetes are compiled.
 */
const GROUPS = [
  [
    'kubernetes',
    {
      omits: [
        'vendor/k8s.io/apiserver/pkg/admission/plugin/policy/generic/policy_test_context.go',
        'vendor/k8s.io/kubernetes/pkg/scheduler/backend/queue/testing.go',
      ],
      stamp: ['k8s.io/component-base/version.gitVersion', /k8s.io\/kubernetes (v[\d.]+)/],
    },
  ],
  [
    'containerd',
    {
      tags: 'no_btrfs,no_devmapper,no_zfs,no_tracing,no_rdt,nri_no_wasm',
      stamp: ['github.com/containerd/containerd/v2/version.Version', /containerd\/v2 (v[\d.]+)/],
    },
  ],
  [
    'containerd-1.7',
    {
      tags: 'no_btrfs,no_devmapper,no_zfs',
      stamp: ['github.com/containerd/containerd/version.Version', /containerd\/containerd (v[\d.]+)/],
    },
  ],
  [
    'gvisor',
    {
      stamp: ['gvisor.dev/gvisor/runsc/version.version', /stamped as (release-\d{8}\.\d+)/],
      oomOverlay: true,
    },
  ],
  [
    'gvisor-2025',
    {
      stamp: ['gvisor.dev/gvisor/runsc/version.version', /stamped as (release-\d{8}\.\d+)/],
      oomOverlay: true,
    },
  ],
  [
    'gvisor-2026-09',
    {
      stamp: ['gvisor.dev/gvisor/runsc/version.version', /stamped as (release-\d{8}\.\d+)/],
      oomOverlay: true,
    },
  ],
  [
    'etcd',
    {
      packages: '.',
    },
  ],
  ['cni', {}],
  ['kind', {}],
  ['krew', {}],
  [
    'kubeadm',
    {
      stamp: ['k8s.io/component-base/version.gitVersion', /k8s.io\/kubernetes (v[\d.]+)/],
    },
  ],
  [
    'runc',
    {
      cgo: true,
      tags: 'seccomp,netgo,osusergo',
      stamp: ['main.version', /opencontainers\/runc v([\d.]+)/],
    },
  ],
  [
    'prometheus',
    {
      tags: 'remove_all_sd,enable_kubernetes_sd',
      stamp: ['github.com/prometheus/common/version.Version', /prometheus\/prometheus v([\d.]+)/],
    },
  ],
  [
    'prometheus-operator',
    {
      stamp: ['github.com/prometheus/common/version.Version', /prometheus-operator v([\d.]+)/],
    },
  ],
  [
    'alertmanager',
    {
      stamp: ['github.com/prometheus/common/version.Version', /prometheus\/alertmanager v([\d.]+)/],
      lacks: 'vendor/github.com/prometheus/alertmanager/ui/app/dist/index.html',
    },
  ],
  [
    'kube-state-metrics',
    {
      stamp: ['github.com/prometheus/common/version.Version', /kube-state-metrics\/v2 (v[\d.]+)/],
    },
  ],
  [
    'kube-router',
    {
      stamp: ['github.com/cloudnativelabs/kube-router/v2/pkg/version.Version', /kube-router\/v2 (v[\d.]+)/],
    },
  ],
  [
    'schemas',
    {
      packages: '.',
    },
  ],
  [
    'helm',
    {
      stamp: ['helm.sh/helm/v4/internal/version.version', /helm\/v4 (v[\d.]+)/],
    },
  ],
  [
    'helm-3',
    {
      stamp: ['helm.sh/helm/v3/internal/version.version', /helm\/v3 (v[\d.]+)/],
    },
  ],
  ['helm-unittest', {}],
  ['kubeconform', {}],
  ['actionlint', {}],
  ['pint', {}],
  ['karpenter', {}],
  ['cluster-api', {}],
  ['registry', {}],
  ['cosign', {}],
  ['otel-collector', { packages: '.' }],
  ['nvidia-toolkit', { packages: '.' }],
  ['argo-workflows', {}],
  ['tekton', {}],
] as const satisfies readonly (readonly [name: string, build: ToolBuild])[];

export type ToolGroup = (typeof GROUPS)[number][0];

/** In the order of their builds. */
export const TOOL_GROUPS: readonly ToolGroup[] = GROUPS.map(([name]) => name);

const BUILDS: ReadonlyMap<ToolGroup, ToolBuild> = new Map(GROUPS);

export function buildOf(name: ToolGroup): ToolBuild {
  return BUILDS.get(name) ?? {};
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
export async function toolVersion(name: ToolGroup): Promise<string> {
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
