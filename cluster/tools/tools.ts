import { createHash, hash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { copyFile, cp, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { CACHE, REPO } from '../../hack/paths.ts';
import { note, progress, type Tell } from '../../hack/progress.ts';
import { run, runAll, UsageError } from '../../hack/run.ts';
import { makeOnce } from '../../hack/unfinished.ts';
import { waitForLock } from '../plan/lock.ts';
import type { ForeignArch } from '../plan/nodes.ts';
import { type Download, download, isPinned, officialBuild } from './downloads.ts';
import { buildOf, source, TOOL_GROUPS, type ToolBuild, type ToolGroup, toolVersion } from './tool-groups.ts';

const MINIMUM_GO = [1, 26];
/** A second build uses the processors while the first one waits for the network or links, which is single-threaded. */
const MAX_BUILDS = 2;
/** Modules 1.x and 2. */
const VENDORED_OOM = [
  'vendor/github.com/containerd/containerd/sys/oom_linux.go',
  'vendor/github.com/containerd/containerd/v2/pkg/sys/oom_linux.go',
];

/** Builds and downloads for later leave the processors to the work of now, and have them all while it waits. */
const LATER_NICENESS = 19;

/** A group to provide: its promise resolves with the directory of its programs. */
type Job = PromiseWithResolvers<string> & { readonly group: ToolGroup; readonly niceness: number };

type Directories<G extends ToolGroup> = Record<G, string>;

/**
 * Directories by group, in a cache keyed by everything that determines a build. A missing group is downloaded if its
 * project publishes a build that can be reached and checked, otherwise built as go.mod and go.sum pin it. An
 * interrupted build resumes from Go's own cache.
 */
export function ensureTools<G extends ToolGroup>(groups: readonly G[]): Promise<Directories<G>> {
  const order = (group: G) => TOOL_GROUPS.indexOf(group);
  return startTools(
    [...new Set(groups)].sort((a, b) => order(a) - order(b)),
    [],
  ).first;
}

/**
 * Provides the groups of `first` in their order, two at a time, and then those of `later`, which are built while the
 * caller works with the first. Builds that need a C compiler wait for `prerequisites`.
 */
export function startTools<F extends ToolGroup, L extends ToolGroup>(
  first: readonly F[],
  later: readonly L[],
  prerequisites: Promise<void> = Promise.resolve(),
): { readonly first: Promise<Directories<F>>; readonly later: Promise<Directories<L>> } {
  requirePrepared([...first, ...later]);
  const jobsOf = (groups: readonly ToolGroup[], niceness: number): Job[] =>
    groups.map((group) => ({ group, niceness, ...Promise.withResolvers<string>() }));
  const jobs = [...jobsOf(first, 0), ...jobsOf(later, LATER_NICENESS)];
  const directoriesOf = async <G extends ToolGroup>(groups: readonly G[]) => {
    const found = jobs.filter(({ group }) => groups.some((each) => each === group));
    const entries = await Promise.all(found.map(async ({ group, promise }) => [group, await promise]));
    return Object.fromEntries(entries) as Directories<G>;
  };
  const result = { first: directoriesOf(first), later: directoriesOf(later) };
  for (const each of [result.first, result.later]) each.catch(() => {}); // thrown where the caller waits for it
  void provideAll(jobs, prerequisites);
  return result;
}

/** Comma-separated groups that are there already; a test may ask for no others, because its limit does not cover a build. */
const PREPARED = process.env.PREPARED_TOOLS?.split(',');

function requirePrepared(groups: readonly ToolGroup[]): void {
  const missing = groups.find((group) => PREPARED?.includes(group) === false);
  if (missing !== undefined)
    throw new UsageError(`Nobody prepared "${missing}" for this test: name it in test/runner/tiers.ts`);
}

async function provideAll(jobs: readonly Job[], prerequisites: Promise<void>): Promise<void> {
  const done = new AbortController();
  const { signal } = done;
  try {
    installedGo ??= goVersion();
    const version = await installedGo;
    const missing: (Job & { readonly directory: string })[] = [];
    for (const job of jobs) {
      const directory = await directoryOf(job.group, version);
      if (existsSync(directory)) job.resolve(directory);
      else missing.push({ ...job, directory });
    }
    for (const { group } of missing.slice(MAX_BUILDS)) void prefetchModules(group, signal);
    const waiting = [...missing];
    const next = () => waiting.map(({ group }) => group).join(', ');
    const work = async () => {
      for (let job = waiting.shift(); job !== undefined; job = waiting.shift()) {
        const { group, directory, niceness, resolve } = job;
        await provide(group, directory, { next, prerequisites, niceness, signal });
        resolve(directory);
      }
    };
    await Promise.all(Array.from({ length: MAX_BUILDS }, work));
  } catch (error) {
    for (const { reject } of jobs) reject(error); // does nothing to those that are there
  } finally {
    done.abort();
  }
}

type ProvideOptions = {
  /** Names what waits for it. */
  readonly next: () => string;
  readonly prerequisites: Promise<void>;
  readonly niceness: number;
  readonly signal: AbortSignal;
};

/** Downloads or builds a group, or waits while another process does. */
async function provide(group: ToolGroup, directory: string, options: ProvideOptions): Promise<void> {
  const release = await lockBuild(group, directory);
  try {
    await makeOnce(directory, async (work) => {
      await mkdir(join(work, 'bin'), { recursive: true });
      if (await downloadOfficial(group, work)) return join(work, 'bin');
      await progress(`building ${group} from source`, (tell) => build(group, work, { ...options, tell }), {
        next: options.next,
      }).catch((error) => {
        throw explainBuild(group, error);
      });
      return join(work, 'bin');
    });
  } finally {
    release();
  }
}

function lockBuild(group: ToolGroup, directory: string): Promise<() => void> {
  // The name of a socket has at most 108 bytes; another cache has other programs.
  const name = `${basename(directory)}-${hash('sha256', CACHE).slice(0, 12)}`;
  return waitForLock(name, `builds ${group}`);
}

/** Empty without an official build, or if this machine needs a change of it. */
async function downloadsOf(group: ToolGroup): Promise<readonly Download[]> {
  return needsOverlay(buildOf(group)) ? [] : officialBuild(group);
}

/** Whether the official build is now in `bin` of that directory. Says why not. */
async function downloadOfficial(group: ToolGroup, work: string): Promise<boolean> {
  const files = await downloadsOf(group);
  if (files.length === 0) return false;
  const sum = files.every(isPinned) ? 'a pinned' : 'its published';
  const what = `downloading ${group}, checked by ${sum} checksum`;
  try {
    await progress(what, () => download(files, work, join(work, 'bin')));
    return true;
  } catch (error) {
    note(`${group} is built from source: ${error instanceof Error ? error.message : error}`);
    await rm(join(work, 'bin'), { recursive: true });
    await mkdir(join(work, 'bin'));
    return false;
  }
}

/** As {@link ensureTools}; the programs of another architecture are built by a compiler of this machine. */
export async function toolsFor<G extends ToolGroup>(
  arch: ForeignArch | undefined,
  groups: readonly G[],
): Promise<Directories<G>> {
  if (arch === undefined) return ensureTools(groups);
  const entries: [G, string][] = [];
  for (const group of groups) entries.push([group, await crossBuild(group, arch)]);
  return Object.fromEntries(entries) as Directories<G>;
}

/** A node runs one program of Kubernetes. */
const NODE_PACKAGES: Partial<Record<ToolGroup, string>> = { kubernetes: 'k8s.io/kubernetes/cmd/kubelet' };

async function crossBuild(group: ToolGroup, arch: ForeignArch): Promise<string> {
  installedGo ??= goVersion();
  const directory = `${await directoryOf(group, await installedGo)}-${arch}`;
  const release = await lockBuild(group, directory);
  const target = { arch, packages: NODE_PACKAGES[group] };
  const options = { prerequisites: Promise.resolve(), niceness: 0, signal: new AbortController().signal };
  try {
    await makeOnce(directory, async (work) => {
      await mkdir(join(work, 'bin'), { recursive: true });
      await progress(`building ${group} for ${arch} from source`, (tell) =>
        build(group, work, { ...options, tell, target }),
      );
      return join(work, 'bin');
    });
  } finally {
    release();
  }
  return directory;
}

/** Asked once a process. */
let installedGo: Promise<string> | undefined;

async function goVersion(): Promise<string> {
  const how = `Install Go ${MINIMUM_GO.join('.')} or newer and put its bin directory in PATH`;
  const seen = await run('go', ['version']).catch((error: Error) => {
    throw new UsageError(`Go cannot be run, which builds the cluster's programs: ${error.message}. ${how}.`);
  });
  const [, major = '0', minor = '0'] = /go(\d+)\.(\d+)/.exec(seen) ?? [];
  if (Number(major) === MINIMUM_GO[0] && Number(minor) < (MINIMUM_GO[1] ?? 0)) {
    throw new UsageError(`${seen.trim()} is too old. ${how}.`);
  }
  return seen.trim();
}

function needsOverlay(group: ToolBuild): boolean {
  if (!group.oomOverlay) return false;
  const caps = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0';
  const CAP_SYS_RESOURCE = 24n;
  return ((BigInt(`0x${caps}`) >> CAP_SYS_RESOURCE) & 1n) === 0n;
}

async function directoryOf(name: ToolGroup, go: string): Promise<string> {
  const group = buildOf(name);
  const key = createHash('sha256').update(JSON.stringify([go, process.arch, String(group.stamp), group]));
  for (const file of (await readdir(source(name))).sort()) {
    key.update(file).update(await readFile(join(source(name), file)));
  }
  if (needsOverlay(group)) key.update(await readFile(join(REPO, 'cluster/tools/oom_linux.go.overlay')));
  return join(CACHE, 'tools', `${name}-${key.digest('hex').slice(0, 12)}`);
}

/**
 * Downloads modules while another group is built, which reports a failure. Not `go mod download`: the modules of go.mod
 * are many more than the programs need.
 */
async function prefetchModules(name: ToolGroup, signal: AbortSignal): Promise<void> {
  if ((await downloadsOf(name)).length > 0) return;
  const { packages = 'tool', tags = '' } = buildOf(name);
  const options = { ...(await goOptions(name, source(name))), niceness: LATER_NICENESS, signal };
  await runAll('go', ['list', '-deps', '-tags', tags, packages], options).catch(() => {});
}

async function goOptions(name: ToolGroup, cwd: string, arch?: ForeignArch) {
  const group = buildOf(name);
  const toolchain = /^toolchain (\S+)$/m.exec(await readFile(join(source(name), 'go.mod'), 'utf8'))?.[1];
  const env = {
    ...process.env,
    CGO_ENABLED: group.cgo ? '1' : '0',
    GOFLAGS: '-trimpath -buildvcs=false',
    GOGC: process.env.GOGC ?? '400',
    ...(toolchain === undefined ? {} : { GOTOOLCHAIN: toolchain }),
    ...(arch === undefined ? {} : { GOARCH: arch }),
  };
  return { cwd, env, timeoutMs: 60 * 60_000, killOnExit: true };
}

type BuildOptions = Omit<ProvideOptions, 'next'> & {
  readonly tell: Tell;
  /** For another architecture, all packages of the group by default. */
  readonly target?: { readonly arch: ForeignArch; readonly packages: string | undefined };
};

async function build(name: ToolGroup, work: string, options: BuildOptions): Promise<void> {
  const { tell, prerequisites, niceness, signal, target } = options;
  const group = buildOf(name);
  compiledLibrary ??= compileLibrary({ niceness, signal });
  await cp(source(name), join(work, 'src'), { recursive: true });
  const goOptionsOf = await goOptions(name, join(work, 'src'), target?.arch);
  const go = (args: readonly string[], onErrorLine = (_: string) => {}) =>
    run('go', args, { ...goOptionsOf, niceness, signal, onErrorLine });
  const inSource = (path: string) => join(work, 'src', path);
  const isVendored = group.lacks !== undefined || group.omits !== undefined || needsOverlay(group);
  const mod = isVendored ? ['-mod=vendor'] : [];
  if (isVendored) await go(['mod', 'vendor', ...(group.lacks === undefined ? [] : ['-e'])]);
  for (const path of group.omits ?? []) await rm(inSource(path), { force: true });
  if (group.lacks !== undefined) {
    await mkdir(dirname(inSource(group.lacks)), { recursive: true });
    await writeFile(inSource(group.lacks), '');
  }
  if (needsOverlay(group)) {
    const file = VENDORED_OOM.map(inSource).find((path) => existsSync(path));
    if (file === undefined) throw new Error(`No vendored ${VENDORED_OOM.join(' and no ')}`);
    await copyFile(join(REPO, 'cluster/tools/oom_linux.go.overlay'), file);
  }
  const stamp = group.stamp === undefined ? '' : `-X ${group.stamp[0]}=${await toolVersion(name)}`;
  const selected = [...mod, '-tags', group.tags ?? ''];
  const programs = target?.packages ?? group.packages ?? 'tool';
  const packages = (await go(['list', '-deps', ...selected, programs])).trim().split('\n');
  const flags = ['-v', NO_DEBUG_DATA, '-ldflags', `-s -w ${stamp}`, '-o', join(work, 'bin/')];
  await compiledLibrary;
  if (group.cgo) await prerequisites;
  await go(['build', ...selected, ...flags, programs], tellPackages(packages, tell));
}

/** The linker drops it anyway with -s -w; not generating it saves a seventh of a build. */
const NO_DEBUG_DATA = '-gcflags=all=-dwarf=false';

/** Needs most of what programs use of Go's library. */
const MOST_OF_LIBRARY = 'net/http';

/** Once a process, while modules are downloaded: two builds that begin together would each compile it. */
let compiledLibrary: Promise<void> | undefined;

/** Without cgo, as most programs are built. The builds report a failure, since they compile what is missing. */
async function compileLibrary(options: Pick<BuildOptions, 'niceness' | 'signal'>): Promise<void> {
  const goOptionsOf = await goOptions('cni', source('cni'));
  await runAll('go', ['build', NO_DEBUG_DATA, MOST_OF_LIBRARY], { ...goOptionsOf, ...options }).catch(
    () => {},
  );
}

/** Tells how far a build is by the lines of `go build -v`: one for each package that it compiles, the program's last. */
function tellPackages(packages: readonly string[], tell: Tell): (line: string) => void {
  const left = new Set(packages);
  const count = (many: number) => many.toLocaleString('en');
  return (line) => {
    if (!left.delete(line)) return;
    const isLast = line === packages.at(-1);
    tell(isLast ? 'linking' : `${count(packages.length - left.size)} of ${count(packages.length)} packages`);
  };
}

function explainBuild(group: ToolGroup, cause: unknown): Error {
  const text = cause instanceof Error ? cause.message : String(cause);
  if (/no space left on device/i.test(text)) {
    return new UsageError(
      `The disk is full: building ${group} needs up to 16 GB for Go's caches and ${CACHE}. Free some space and run the same command again; it goes on where it stopped.`,
    );
  }
  if (/dial tcp|proxyconnect|i\/o timeout|TLS handshake|no such host/i.test(text)) {
    return new UsageError(
      `The sources of ${group} cannot be downloaded: ${lastLine(text)}. Check the network, and the proxy that \`go env GOPROXY\` names, and run the same command again; it goes on where it stopped.`,
    );
  }
  if (/signal: killed/.test(text)) {
    return new UsageError(
      `The compiler was killed while it built ${group}, usually for lack of memory: it needs up to 4 GB. Run the same command again with less beside it; it goes on where it stopped.`,
    );
  }
  return new Error(`Cannot build ${group}: ${lastLine(text)} (run it again; what was built is kept)`, {
    cause,
  });
}

function lastLine(text: string): string {
  return text.trim().split('\n').at(-1) ?? '';
}
