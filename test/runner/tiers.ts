import { globSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import type { ImageId } from '../../cluster/tools/images.ts';
import type { Purpose } from '../../cluster/tools/prerequisites.ts';
import type { ToolGroup } from '../../cluster/tools/tool-groups.ts';

/** Test files that run under the same conditions. Every test file belongs to one tier. */
export type Tier = {
  readonly directories: readonly string[];
  /** Files that run at the same time; each has clusters of its own. */
  readonly concurrency: number;
  /** Limit for a test that does not set its own, on a machine that no other work loads. */
  readonly testTimeoutMs: number;
  /** Limit for a file, likewise. */
  readonly fileTimeoutMs: number;
  /** Whether its files start clusters, which needs root. */
  readonly clusters: boolean;
  /** Images of its nodes. */
  readonly images: readonly ImageId[];
  /** Of all its files, which may ask for no others; see {@link programsOf}. */
  readonly programs: readonly ToolGroup[];
  /** Prerequisites beside those of all tests. */
  readonly needs?: readonly Purpose[];
};

const NODE = ['containerd', 'gvisor'] as const;
const CONTROL_PLANE = ['kubernetes', 'etcd'] as const;
const CLUSTER = [...CONTROL_PLANE, 'cni', 'runc', ...NODE] as const;
const OLDER = ['containerd-1.7', 'gvisor-2025'] as const;
const EVERY = [...CLUSTER, ...OLDER, 'gvisor-2026-09'] as const;

const MINUTE = 60_000;
const UNIT = {
  testTimeoutMs: 3 * MINUTE,
  fileTimeoutMs: 5 * MINUTE,
  clusters: false,
  images: [],
  programs: [],
};
const LIMITS = { testTimeoutMs: 5 * MINUTE, fileTimeoutMs: 20 * MINUTE };
const API = { ...LIMITS, clusters: true, images: [], programs: CONTROL_PLANE };
const NODES = { ...API, programs: EVERY, images: ['pause', 'workload', 'agent'] as const };
const LONG = { ...NODES, fileTimeoutMs: 60 * MINUTE };

export const TIERS = {
  unit: {
    ...UNIT,
    directories: [
      'agent',
      'cluster',
      'controller',
      'docs',
      'egress',
      'hack',
      'installer',
      'kubectl',
      'lib',
      'runner',
    ],
    // Many of them wait for programs that they start.
    concurrency: availableParallelism() + 1,
  },
  api: { ...API, directories: ['api'], concurrency: 2 },
  dispatcher: { ...UNIT, directories: ['dispatcher'], concurrency: 1 },
  /** One node without Kubernetes, so it runs while the builds for the others go on. */
  demo: { ...API, directories: ['demo'], concurrency: 1, programs: NODE, images: ['pause'] },
  smoke: { ...NODES, directories: ['smoke'], concurrency: 1, programs: CLUSTER },

  manifests: {
    ...API,
    directories: ['artifacts', 'manifests', 'monitoring'],
    concurrency: 2,
    programs: [...CONTROL_PLANE, 'helm'],
  },
  nodes: { ...NODES, directories: ['integration'], concurrency: 1 },
  e2e: { ...NODES, directories: ['e2e'], concurrency: 2 },
  waits: { ...NODES, directories: ['waits'], concurrency: 1 },
  pages: { ...API, directories: ['pages'], concurrency: 1, programs: [], needs: ['browsers'] },
  nightly: { ...LONG, directories: ['nightly'], concurrency: 1 },
  vm: {
    ...LONG,
    directories: ['load', 'vm'],
    concurrency: 1,
    programs: [...CLUSTER, ...OLDER],
    needs: ['vms'],
  },
} as const satisfies Record<string, Tier>;

export type TierName = keyof typeof TIERS;

const MONITORED = ['prometheus', 'kube-state-metrics'] as const;

/** Programs of a file beside those of its tier. */
export const PROGRAMS: Readonly<Record<string, readonly ToolGroup[]>> = {
  'test/api/fleet-controller.test.ts': ['helm'],
  'test/api/namespace.test.ts': ['helm'],
  'test/e2e/helm.test.ts': ['helm'],
  'test/manifests/containerd-forms.test.ts': ['containerd', 'containerd-1.7'],
  'test/manifests/helm-unittest.test.ts': ['helm-unittest'],
  'test/manifests/kubeconform.test.ts': ['kubeconform'],
  'test/manifests/snippets.test.ts': ['containerd', 'containerd-1.7'],
  'test/manifests/workflows.test.ts': ['actionlint'],
  'test/monitoring/alert-causes.test.ts': ['prometheus'],
  'test/monitoring/dashboard.test.ts': ['prometheus'],
  'test/monitoring/monitoring.test.ts': ['prometheus', 'schemas'],
  'test/monitoring/one-verdict.test.ts': ['prometheus'],
  'test/monitoring/taken-over-target.test.ts': [...EVERY, ...MONITORED],
  'test/nightly/alerts.test.ts': MONITORED,
  'test/nightly/dashboard.test.ts': MONITORED,
  'test/nightly/egress.test.ts': ['kube-router'],
  'test/nightly/evaluations.test.ts': ['helm'],
  'test/nightly/evidence-shipped.test.ts': ['otel-collector'],
  'test/nightly/guards.test.ts': MONITORED,
  'test/nightly/hanging-sandboxes.test.ts': MONITORED,
  'test/nightly/installer-toolkit.test.ts': ['nvidia-toolkit'],
  'test/nightly/karpenter.test.ts': ['karpenter'],
  'test/nightly/kind.test.ts': ['kind', 'kubeadm'],
  'test/nightly/kubeadm.test.ts': ['kubeadm'],
  'test/nightly/machine-health-check.test.ts': ['cluster-api'],
  'test/nightly/network-policy.test.ts': ['kube-router', 'helm-3'],
  'test/nightly/other-tiers.test.ts': ['helm', 'helm-3', 'kubeconform', ...MONITORED],
  'test/nightly/packages.test.ts': ['krew'],
  'test/nightly/platform-controllers.test.ts': ['argo-workflows', 'tekton'],
  'test/nightly/prometheus-operator.test.ts': [...MONITORED, 'prometheus-operator', 'alertmanager'],
  'test/nightly/release.test.ts': ['helm', 'registry', 'cosign'],
};

/** All that a file may ask for. `ensureTools` refuses others, because the limit of a test does not cover a build. */
export function programsOf(tier: Tier, file: string): readonly ToolGroup[] {
  return [...tier.programs, ...(PROGRAMS[file] ?? [])];
}

/** Files that share the cluster of their lane, which the others remove. `useCluster` refuses other files. */
export const SHARING: ReadonlySet<string> = new Set([
  'test/e2e/admission-live.test.ts',
  'test/e2e/agent-sandbox.test.ts',
  'test/e2e/dispatcher.test.ts',
  'test/e2e/isolation.test.ts',
  'test/e2e/kubectl-plugin.test.ts',
  'test/e2e/pods.test.ts',
  'test/e2e/reboot.test.ts',
  'test/e2e/taint.test.ts',
  'test/load/busy.test.ts',
  'test/monitoring/taken-over-target.test.ts',
  'test/nightly/alerts.test.ts',
  'test/nightly/busy-node.test.ts',
  'test/nightly/canary.test.ts',
  'test/nightly/dashboard.test.ts',
  'test/nightly/dispatcher-races.test.ts',
  'test/nightly/guards.test.ts',
  'test/nightly/hanging-sandboxes.test.ts',
  'test/nightly/prometheus-operator.test.ts',
  'test/nightly/runbooks.test.ts',
  'test/nightly/steady.test.ts',
  'test/nightly/tenant.test.ts',
  'test/nightly/weakened.test.ts',
  'test/waits/fleet-controller.test.ts',
  'test/waits/sandbox-problems.test.ts',
]);

/** Steps without test files of their own. */
export type Extra = 'versions' | 'mutations';

/**
 * Stages follow each other; the tracks of a stage run side by side, and the steps of a track follow each other. The tier
 * nodes uses about half a processor and waits mostly sleeps, so they run beside e2e. Four clusters at a time fill two
 * processors, since an idle one of three nodes takes up to a sixth of one. Load tests and virtual
 * machines need the whole machine, so they run alone at the end.
 */
export const STAGES: readonly (readonly (readonly (TierName | Extra)[])[])[] = [
  [['unit'], ['demo', 'smoke']],
  [
    ['nodes', 'dispatcher'],
    ['waits', 'manifests'],
    ['e2e', 'api'],
  ],
  [['pages', 'nightly', 'vm', 'versions', 'mutations']],
];

/** Files whose outcome depends on the version of Kubernetes: policies, writes to Nodes, manifests. */
const VERSION_FILES = [
  'test/api/admission*.test.ts',
  'test/api/node-writes.test.ts',
  'test/api/manifests.test.ts',
  'test/e2e/taint.test.ts',
  'test/e2e/pods.test.ts',
];

/** The files that `versions` runs on every other version of Kubernetes. */
export function versionFiles(root: string): readonly string[] {
  return VERSION_FILES.flatMap((pattern) => globSync(pattern, { cwd: root })).sort();
}

export function filesOf(tier: TierName, root: string): readonly string[] {
  return TIERS[tier].directories
    .flatMap((directory) => globSync(`test/${directory}/**/*.test.ts`, { cwd: root }))
    .sort();
}
