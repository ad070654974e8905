import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { copyFile, cp, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { killWithParent, partial, removeAbandoned } from '../hack/abandoned.ts';
import { CACHE, REPO } from '../hack/paths.ts';
import { progress } from '../hack/progress.ts';
import { run, runAll, UsageError } from '../hack/run.ts';
import { GROUPS, type Group, source, TOOL_GROUPS, type ToolGroup, versionOf } from './tool-groups.ts';

const MINIMUM_GO = [1, 26];
/** A build ends with linkers that have one thread, and begins with a wait for the network; another build uses the processors then. */
const AT_A_TIME = 2;
/** Where containerd keeps that file: its modules of 1.x and of 2. */
const VENDORED_OOM = [
  'vendor/github.com/containerd/containerd/sys/oom_linux.go',
  'vendor/github.com/containerd/containerd/v2/pkg/sys/oom_linux.go',
];

/**
 * Builds what is missing of the named groups from source, pinned by go.mod and go.sum, into a cache
 * outside the work tree keyed by all that determines the build. Gives each group's folder of programs.
 * An interrupted build goes on where Go's own build cache stands.
 */
export async function ensureTools<G extends ToolGroup>(groups: readonly G[]): Promise<Record<G, string>> {
  const go = await goVersion();
  const folders = await Promise.all(groups.map(async (group) => [group, await folderOf(group, go)] as const));
  const missing = folders
    .filter(([, folder]) => !existsSync(folder))
    .sort(([a], [b]) => TOOL_GROUPS.indexOf(a) - TOOL_GROUPS.indexOf(b));
  const done = new AbortController();
  for (const [group] of missing.slice(AT_A_TIME)) void download(group, done.signal);
  const queue = missing.entries();
  const work = async () => {
    for (const [index, [group, folder]] of queue) {
      const what = `building ${group} from source (${index + 1} of ${missing.length}, kept for next time)`;
      await progress(what, () => build(group, folder, done.signal)).catch((error) => {
        throw explainBuild(group, error);
      });
    }
  };
  try {
    await Promise.all(Array.from({ length: AT_A_TIME }, work));
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

async function build(name: ToolGroup, folder: string, signal: AbortSignal): Promise<void> {
  const group: Group = GROUPS[name];
  const work = partial(folder);
  await removeAbandoned(join(CACHE, 'tools'));
  await mkdir(join(work, 'bin'), { recursive: true });
  try {
    await buildIn(work, name, group, signal);
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

async function buildIn(work: string, name: ToolGroup, group: Group, signal: AbortSignal): Promise<void> {
  await cp(source(name), join(work, 'src'), { recursive: true });
  const options = { cwd: join(work, 'src'), env: await goEnvironment(name), timeoutMs: 60 * 60_000, signal };
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
