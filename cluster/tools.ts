import { createHash, hash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { copyFile, cp, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { CACHE, REPO } from '../hack/paths.ts';
import { progress } from '../hack/progress.ts';
import { pause, run, runAll, UsageError } from '../hack/run.ts';
import { makeOnce } from '../hack/unfinished.ts';
import { type Download, download, isPinned, officialBuild } from './downloads.ts';
import { tryLock } from './lock.ts';
import { buildOf, source, TOOL_GROUPS, type ToolBuild, type ToolGroup, versionOf } from './tool-groups.ts';

const MINIMUM_GO = [1, 26];
/** A second build uses the processors while the first one waits for the network or links, which is single-threaded. */
const MAX_BUILDS = 2;
/** Modules 1.x and 2. */
const VENDORED_OOM = [
  'vendor/github.com/containerd/containerd/sys/oom_linux.go',
  'vendor/github.com/containerd/containerd/v2/pkg/sys/oom_linux.go',
];

/**
 * Directories by group, in a cache keyed by everything that determines a build. A missing group is downloaded if its
 * project publishes a build that can be reached and checked, otherwise built as go.mod and go.sum pin it. An
 * interrupted build resumes from Go's own cache.
 */
export async function ensureTools<G extends ToolGroup>(groups: readonly G[]): Promise<Record<G, string>> {
  installedGo ??= goVersion();
  const version = await installedGo;
  const directories = await Promise.all(
    groups.map(async (group) => [group, await directoryOf(group, version)] as const),
  );
  const missing = directories
    .filter(([, directory]) => !existsSync(directory))
    .sort(([a], [b]) => TOOL_GROUPS.indexOf(a) - TOOL_GROUPS.indexOf(b));
  const done = new AbortController();
  for (const [group] of missing.slice(MAX_BUILDS)) void prefetchModules(group, done.signal);
  const queue = missing.entries();
  const work = async () => {
    for (const [index, [group, directory]] of queue) {
      await provide(group, directory, { turn: `${index + 1} of ${missing.length}`, signal: done.signal });
    }
  };
  try {
    await Promise.all(Array.from({ length: MAX_BUILDS }, work));
  } finally {
    done.abort();
  }
  return Object.fromEntries(directories) as Record<G, string>;
}

type ProvideOptions = { readonly turn: string; readonly signal: AbortSignal };

/** Downloads or builds a group, or waits while another process does. */
async function provide(group: ToolGroup, directory: string, { turn, signal }: ProvideOptions): Promise<void> {
  const release = await lockBuild(group, directory);
  try {
    await makeOnce(directory, async (work) => {
      await mkdir(join(work, 'bin'), { recursive: true });
      if (!(await downloadOfficial(group, work, turn))) {
        const what = `building ${group} (${turn}, kept for next time) from source`;
        await progress(what, () => build(group, work, signal)).catch((error) => {
          throw explainBuild(group, error);
        });
      }
      return join(work, 'bin');
    });
  } finally {
    release();
  }
}

async function lockBuild(group: ToolGroup, directory: string): Promise<() => void> {
  // The name of a socket has at most 108 bytes; another cache has other programs.
  const name = `${basename(directory)}-${hash('sha256', CACHE).slice(0, 12)}`;
  const first = await tryLock(name);
  if (first !== undefined) return first;
  return progress(`waiting for another run that builds ${group}`, async () => {
    for (;;) {
      await pause(0.5);
      const release = await tryLock(name);
      if (release !== undefined) return release;
    }
  });
}

/** Empty without an official build, or if this machine needs a change of it. */
async function downloadsOf(group: ToolGroup): Promise<readonly Download[]> {
  return needsOverlay(buildOf(group)) ? [] : officialBuild(group);
}

/** Whether the official build is now in `bin` of that directory. Says why not. */
async function downloadOfficial(group: ToolGroup, work: string, turn: string): Promise<boolean> {
  const files = await downloadsOf(group);
  if (files.length === 0) return false;
  const sum = files.every(isPinned) ? 'a pinned' : 'its published';
  const what = `downloading ${group} (${turn}), checked by ${sum} checksum`;
  try {
    await progress(what, () => download(files, work, join(work, 'bin')));
    return true;
  } catch (error) {
    console.error(`${group} is built from source: ${error instanceof Error ? error.message : error}`);
    await rm(join(work, 'bin'), { recursive: true });
    await mkdir(join(work, 'bin'));
    return false;
  }
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

/** Downloads modules while another group is built, which reports a failure. */
async function prefetchModules(name: ToolGroup, signal: AbortSignal): Promise<void> {
  if ((await downloadsOf(name)).length > 0) return;
  const options = { ...(await goOptions(name, source(name))), signal };
  await runAll('go', ['mod', 'download'], options).catch(() => {});
}

async function goOptions(name: ToolGroup, cwd: string) {
  const group = buildOf(name);
  const toolchain = /^toolchain (\S+)$/m.exec(await readFile(join(source(name), 'go.mod'), 'utf8'))?.[1];
  const env = {
    ...process.env,
    CGO_ENABLED: group.cgo ? '1' : '0',
    GOFLAGS: '-trimpath -buildvcs=false',
    GOGC: process.env.GOGC ?? '400',
    ...(toolchain === undefined ? {} : { GOTOOLCHAIN: toolchain }),
  };
  return { cwd, env, timeoutMs: 60 * 60_000, killOnExit: true };
}

async function build(name: ToolGroup, work: string, signal: AbortSignal): Promise<void> {
  const group = buildOf(name);
  await cp(source(name), join(work, 'src'), { recursive: true });
  const options = { ...(await goOptions(name, join(work, 'src'))), signal };
  const go = (...args: string[]) => run('go', args, options);
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
  const stamp = group.stamp === undefined ? '' : `-X ${group.stamp[0]}=${await versionOf(name)}`;
  // -s -w drops debug data anyway; not generating it saves a seventh of a build.
  const flags = [...mod, '-gcflags=all=-dwarf=false', '-tags', group.tags ?? ''];
  const output = ['-ldflags', `-s -w ${stamp}`, '-o', join(work, 'bin/')];
  await go('build', ...flags, ...output, group.packages ?? 'tool');
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
