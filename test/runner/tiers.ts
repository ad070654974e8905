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
  /** Programs beside those that its files name in `ensureTools([...])`. */
  readonly programs?: readonly ToolGroup[];
  /** Prerequisites beside those of all tests. */
  readonly needs?: readonly Purpose[];
};

const NODE = ['containerd', 'gvisor'] as const;
const CLUSTER_NODE = ['cni', 'runc', ...NODE] as const;
const OLDER = ['containerd-1.7', 'gvisor-2025'] as const;
const EVERY = [...CLUSTER_NODE, ...OLDER, 'gvisor-2026-09'] as const;

const MINUTE = 60_000;
const UNIT = { testTimeoutMs: 3 * MINUTE, fileTimeoutMs: 5 * MINUTE, clusters: false, images: [] };
const API = { testTimeoutMs: 5 * MINUTE, fileTimeoutMs: 20 * MINUTE, clusters: true, images: [] };
const NODES = { ...API, images: ['pause', 'workload', 'agent'] as const };
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
  smoke: { ...NODES, directories: ['smoke'], concurrency: 1, programs: CLUSTER_NODE },

  manifests: {
    ...API,
    directories: ['artifacts', 'manifests', 'monitoring'],
    concurrency: 2,
    programs: ['helm'],
  },
  nodes: { ...NODES, directories: ['integration'], concurrency: 1, programs: EVERY },
  e2e: { ...NODES, directories: ['e2e'], concurrency: 2, programs: EVERY },
  waits: { ...NODES, directories: ['waits'], concurrency: 1, programs: EVERY },
  pages: { ...API, directories: ['pages'], concurrency: 1, needs: ['browsers'] },
  nightly: {
    ...LONG,
    directories: ['nightly'],
    concurrency: 1,
    programs: [...EVERY, 'prometheus-operator', 'alertmanager'],
  },
  vm: {
    ...LONG,
    directories: ['load', 'vm'],
    concurrency: 1,
    programs: [...CLUSTER_NODE, ...OLDER],
    needs: ['vms'],
  },
} as const satisfies Record<string, Tier>;

export type TierName = keyof typeof TIERS;

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
