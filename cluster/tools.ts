import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { copyFile, cp, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { killWithParent, partial, removeAbandoned } from '../hack/abandoned.ts';
import { CACHE, REPO } from '../hack/paths.ts';
import { progress } from '../hack/progress.ts';
import { run, runAll, UsageError } from '../hack/run.ts';

const MINIMUM_GO = [1, 26];
/** Where containerd keeps that file: its modules of 1.x and of 2. */
const VENDORED_OOM = [
  'vendor/github.com/containerd/containerd/sys/oom_linux.go',
  'vendor/github.com/containerd/containerd/v2/pkg/sys/oom_linux.go',
];

type Group = {
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

/** Every group of programs: one Go module each under cluster/tools, because one go.mod cannot hold them all. */
const GROUPS = {
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
  schemas: { packages: '.' },
  helm: { stamp: ['helm.sh/helm/v4/internal/version.version', /helm\/v4 (v[\d.]+)/] },
  'helm-3': { stamp: ['helm.sh/helm/v3/internal/version.version', /helm\/v3 (v[\d.]+)/] },
} as const satisfies Record<string, Group>;

/** The name of a group of programs. */
export type ToolGroup = keyof typeof GROUPS;

/** All groups, for those who want to build everything. */
export const TOOL_GROUPS = Object.keys(GROUPS) as readonly ToolGroup[];

/**
 * The minor versions of Kubernetes that clusters of this process can have instead of the usual one, by the environment
 * variable KUBERNETES_VERSION. Each has a Go module of its own beside that of the group `kubernetes`.
 */
export const OTHER_KUBERNETES = ['1.34', '1.37'] as const;

/**
 * Builds what is missing of the named groups from source, pinned by go.mod and go.sum, into a cache
 * outside the work tree keyed by all that determines the build. Gives each group's folder of programs.
 * An interrupted build goes on where Go's own build cache stands.
 */
export async function ensureTools<G extends ToolGroup>(groups: readonly G[]): Promise<Record<G, string>> {
  const go = await goVersion();
  const folders = await Promise.all(groups.map(async (group) => [group, await folderOf(group, go)] as const));
  const missing = folders.filter(([, folder]) => !existsSync(folder));
  const done = new AbortController();
  for (const [group] of missing.slice(1)) void download(group, done.signal);
  try {
    for (const [index, [group, folder]] of missing.entries()) {
      const what = `building ${group} from source (${index + 1} of ${missing.length}, kept for next time)`;
      await progress(what, () => build(group, folder)).catch((error) => {
        throw explainBuild(group, error);
      });
    }
  } finally {
    done.abort();
  }
  return Object.fromEntries(folders) as Record<G, string>;
}

async function goVersion(): Promise<string> {
  const how = `Install Go ${MINIMUM_GO.join('.')} or newer and put its bin folder in PATH`;
  const seen = await runAll('go', ['version']).catch(() => undefined);
  if (seen === undefined || seen.code !== 0) {
    throw new UsageError(`Go is missing: the cluster's programs are built from source. ${how}.`);
  }
  const [, major = '0', minor = '0'] = /go(\d+)\.(\d+)/.exec(seen.stdout) ?? [];
  if (Number(major) === MINIMUM_GO[0] && Number(minor) < (MINIMUM_GO[1] ?? 0)) {
    throw new UsageError(`${seen.stdout.trim()} is too old. ${how}.`);
  }
  return seen.stdout.trim();
}

function source(group: ToolGroup): string {
  const version = process.env.KUBERNETES_VERSION;
  if (group !== 'kubernetes' || version === undefined) return join(REPO, 'cluster/tools', group);
  if (OTHER_KUBERNETES.some((other) => other === version))
    return join(REPO, 'cluster/tools', `kubernetes-${version}`);
  throw new UsageError(
    `KUBERNETES_VERSION="${version}" cannot be built: use ${OTHER_KUBERNETES.join(' or ')}, or leave it unset.`,
  );
}

function needsOverlay(group: Group): boolean {
  if (!group.oomOverlay) return false;
  const caps = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0';
  const CAP_SYS_RESOURCE = 24n;
  return ((BigInt(`0x${caps}`) >> CAP_SYS_RESOURCE) & 1n) === 0n;
}

async function folderOf(name: ToolGroup, go: string): Promise<string> {
  const group: Group = GROUPS[name];
  const hash = createHash('sha256').update(JSON.stringify([go, process.arch, String(group.stamp), group]));
  for (const file of (await readdir(source(name))).sort()) {
    hash.update(file).update(await readFile(join(source(name), file)));
  }
  if (needsOverlay(group)) hash.update(await readFile(join(REPO, 'cluster/tools/oom_linux.go.overlay')));
  return join(CACHE, 'tools', `${name}-${hash.digest('hex').slice(0, 12)}`);
}

async function build(name: ToolGroup, folder: string): Promise<void> {
  const group: Group = GROUPS[name];
  const work = partial(folder);
  await removeAbandoned(join(CACHE, 'tools'));
  await mkdir(join(work, 'bin'), { recursive: true });
  try {
    await buildIn(work, name, group);
    await rename(join(work, 'bin'), folder).catch((error) => {
      if (!existsSync(folder)) throw error; // else somebody else has built the same meanwhile
    });
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** Fetches a group's modules while another is built, so that no build waits for the network. A failure is the build's to tell. */
async function download(name: ToolGroup, signal: AbortSignal): Promise<void> {
  const options = { cwd: source(name), env: await goEnvironment(name), timeoutMs: 60 * 60_000, signal };
  await runAll(...killWithParent('go', ['mod', 'download']), options).catch(() => {});
}

async function goEnvironment(name: ToolGroup): Promise<NodeJS.ProcessEnv> {
  const group: Group = GROUPS[name];
  const toolchain = /^toolchain (\S+)$/m.exec(await readFile(join(source(name), 'go.mod'), 'utf8'))?.[1];
  return {
    ...process.env,
    CGO_ENABLED: group.cgo ? '1' : '0',
    GOFLAGS: '-trimpath -buildvcs=false',
    ...(toolchain === undefined ? {} : { GOTOOLCHAIN: toolchain }),
  };
}

async function buildIn(work: string, name: ToolGroup, group: Group): Promise<void> {
  await cp(source(name), join(work, 'src'), { recursive: true });
  const options = { cwd: join(work, 'src'), env: await goEnvironment(name), timeoutMs: 60 * 60_000 };
  const go = (...args: string[]) => run(...killWithParent('go', args), options);
  let mod: string[] = [];
  if (group.lacks !== undefined) {
    await go('mod', 'vendor', '-e');
    await mkdir(dirname(join(work, 'src', group.lacks)), { recursive: true });
    await writeFile(join(work, 'src', group.lacks), '');
    mod = ['-mod=vendor'];
  }
  if (needsOverlay(group)) {
    await go('mod', 'vendor');
    const [file] = VENDORED_OOM.map((path) => join(work, 'src', path)).filter((path) => existsSync(path));
    if (file === undefined) throw new Error(`No vendored ${VENDORED_OOM.join(' and no ')}`);
    await copyFile(join(REPO, 'cluster/tools/oom_linux.go.overlay'), file);
    mod = ['-mod=vendor'];
  }
  const ldflags = `-s -w ${await stampFlag(name, group)}`;
  const tags = group.tags ?? '';
  await go(
    'build',
    ...mod,
    '-gcflags=all=-dwarf=false', // the linker drops what debuggers read (-s -w); not to make it takes a seventh off a build
    '-tags',
    tags,
    '-ldflags',
    ldflags,
    '-o',
    join(work, 'bin/'),
    group.packages ?? 'tool',
  );
}

async function stampFlag(name: ToolGroup, group: Group): Promise<string> {
  return group.stamp === undefined ? '' : `-X ${group.stamp[0]}=${await versionOf(name)}`;
}

/** The version of a group of programs as its go.mod has it, which the programs are stamped with. */
export async function versionOf(name: ToolGroup): Promise<string> {
  const group: Group = GROUPS[name];
  const version = group.stamp?.[1].exec(await readFile(join(source(name), 'go.mod'), 'utf8'))?.[1];
  if (version === undefined) throw new Error(`No version of ${name} in its go.mod`);
  return version;
}

function explainBuild(group: ToolGroup, cause: unknown): Error {
  const text = cause instanceof Error ? cause.message : String(cause);
  if (/no space left on device/i.test(text)) {
    return new UsageError(
      `The disk is full: building ${group} needs up to 16 GB for Go's caches and ${CACHE}. Free some space and run the same command again; it goes on where it stopped.`,
    );
  }
  const last = text.trim().split('\n').at(-1) ?? '';
  return new Error(`Cannot build ${group}: ${last} (run it again; what was built is kept)`, { cause });
}
