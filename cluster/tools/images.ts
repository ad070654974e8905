import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { copyFile, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { BUNDLES, bundle, bundleInstaller, CHANGES } from '../../hack/bundle.ts';
import { packBuilt } from '../../hack/gvisor-release.ts';
import { buildInstaller } from '../../hack/installer.ts';
import { CACHE, REPO } from '../../hack/paths.ts';
import { progress } from '../../hack/progress.ts';
import { run, runAll, UsageError } from '../../hack/run.ts';
import { makeOnce, partial, removeAbandoned } from '../../hack/unfinished.ts';
import { VERSION } from '../../lib/base/version.ts';
import type { ForeignArch } from '../plan/nodes.ts';
import { nodeBinaryFor } from './node-binary.ts';
import type { ToolGroup } from './tool-groups.ts';
import { ensureTools } from './tools.ts';

/** Node's libraries, a shell for debugging, and the installer's nsenter. */
const BASE_PACKAGES = ['base-files', 'libc6', 'libstdc++6', 'coreutils', 'dash', 'util-linux'];
const BASE_SUITE = 'bookworm';

/** Each image has a build context, or holds a single program. */
const IMAGES = {
  base: { name: 'localhost/gvisor-ready-base:2', context: 'cluster/images/base' },
  pause: { name: 'localhost/gvisor-ready-pause:2', context: 'cluster/images/pause' },
  workload: { name: 'localhost/gvisor-ready-workload:1', context: 'cluster/images/workload' },
  agent: { name: 'localhost/gvisor-ready:0.1.0', context: '.' },
  'agent-next': { name: 'localhost/gvisor-ready:0.2.0', context: '.', changes: CHANGES.next },
  'agent-hurried': { name: 'localhost/gvisor-ready-hurried:1', context: '.', changes: CHANGES.hurried },
  installer: installer('20260223.0', 'gvisor'),
  'installer-2025': installer('20250203.0', 'gvisor-2025'),
  /** Its runsc cannot boot. */
  'installer-broken': installer('20260224.0', undefined),
  prometheus: program('prometheus', 'prometheus'),
  alertmanager: program('alertmanager', 'alertmanager'),
  'prometheus-operator': program('prometheus-operator', 'operator'),
  'prometheus-config-reloader': program('prometheus-operator', 'prometheus-config-reloader'),
  'tekton-entrypoint': program('tekton', 'entrypoint', '/ko-app'),
} as const;

/** One static program, at the path that its official image has. */
function program<G extends ToolGroup, F extends string>(group: G, file: F, directory = '/bin') {
  return { name: `localhost/${file}:1`, group, file, path: `${directory}/${file}` } as const;
}

/** The release of gVisor is built here. */
function installer<R extends string>(release: R, group: 'gvisor' | 'gvisor-2025' | undefined) {
  return { name: `localhost/gvisor-ready-installer:${VERSION}-${release}`, release, gvisor: group } as const;
}

export type ImageId = Exclude<keyof typeof IMAGES, 'base'>;

/** OCI or Docker format, for `ctr images import`. */
export type Image = { readonly name: string; readonly archive: string };

export function imageName(id: ImageId): string {
  return IMAGES[id].name;
}

/** One after the other, since they have the same base. */
export async function ensureImages(ids: readonly ImageId[], arch?: ForeignArch): Promise<readonly Image[]> {
  const images: Image[] = [];
  for (const id of ids) images.push(await ensureImage(id, arch));
  return images;
}

/**
 * Uses docker, podman or buildah, unless the cache has one of the same content. Another architecture than this machine's
 * has the images of which a node needs one: pause, workload, agent.
 */
export async function ensureImage(id: ImageId, arch?: ForeignArch): Promise<Image> {
  const { name } = IMAGES[id];
  const context = await prepareContext(id, arch);
  const hash = createHash('sha256').update(JSON.stringify([BASE_PACKAGES, BASE_SUITE, arch]));
  for (const file of await contextFiles(context, id)) {
    hash.update(file).update(await readFile(join(context, file)));
  }
  const archive = join(CACHE, 'images', `${id}-${hash.digest('hex').slice(0, 12)}.tar`);
  if (!existsSync(archive)) {
    const what = arch === undefined ? name : `${name} for ${arch}`;
    await progress(`building the image ${what}`, async () => {
      const builder = await findBuilder(arch);
      // The bundle stands for it in the hash, for which it would be built each time.
      if ('release' in IMAGES[id]) await buildInstaller(join(context, 'dist/installer/gvisor-ready-install'));
      const base = (await needsBase(context)) ? await selfMadeBase(builder, arch) : undefined;
      await builder.build(name, context, base, archive);
    });
  }
  return { name, archive };
}

/** Returns the build context. */
async function prepareContext(id: ImageId, arch: ForeignArch | undefined): Promise<string> {
  const image = IMAGES[id];
  const context = join(CACHE, 'images', arch === undefined ? id : `${id}-${arch}`);
  if ('group' in image) {
    const { group, file, path } = image;
    const tools = (await ensureTools([group]))[group];
    await mkdir(context, { recursive: true });
    await copyFile(join(tools, file), join(context, file));
    const dockerfile = `FROM scratch\nCOPY ${file} ${path}\nENTRYPOINT ["${path}"]\n`;
    await writeFile(join(context, 'Dockerfile'), dockerfile);
    return context;
  }
  if ('release' in image) {
    const { release, gvisor: group = 'gvisor' } = image;
    const tools = (await ensureTools([group]))[group];
    const isBroken = image.gvisor === undefined;
    await packBuilt(join(context, 'dist/installer/release'), `release-${release}`, tools, { isBroken });
    await bundleInstaller(join(context, 'installer.cjs'));
    await copyFile(join(REPO, 'installer/Dockerfile'), join(context, 'Dockerfile'));
    return context;
  }
  if (id === 'pause') {
    const known = pauseContexts.get(context) ?? compilePause(image.context, context, arch);
    pauseContexts.set(context, known);
    return known;
  }
  if (id === 'agent' && arch === undefined) {
    await bundle();
    return REPO;
  }
  if (id !== 'agent' && !('changes' in image)) return join(REPO, image.context);
  const changes = 'changes' in image ? image.changes : [];
  await bundle({ dist: join(context, 'dist'), changes, node: await nodeBinaryFor(arch) });
  await copyFile(join(REPO, 'Dockerfile'), join(context, 'Dockerfile'));
  return context;
}

/** By context. Compiled once a process, since nodes that start at the same time ask for it. */
const pauseContexts = new Map<string, Promise<string>>();

const COMPILERS = { native: 'gcc', arm64: 'aarch64-linux-gnu-gcc' } as const;

async function compilePause(source: string, context: string, arch: ForeignArch | undefined): Promise<string> {
  await mkdir(context, { recursive: true });
  // Beside the context, whose files another run may read meanwhile.
  const made = partial(`${context}-program`);
  const words = ['-static', '-nostdlib', '-Os', '-o', made, join(REPO, source, 'pause.c')];
  await run(COMPILERS[arch ?? 'native'], words);
  await rename(made, join(context, 'pause'));
  await copyFile(join(REPO, source, 'Dockerfile'), join(context, 'Dockerfile'));
  return context;
}

async function contextFiles(context: string, id: ImageId): Promise<string[]> {
  const bundles = BUNDLES.map((name) => `dist/${name}.cjs`);
  if (id.startsWith('agent')) return ['Dockerfile', ...bundles, 'dist/node'];
  if ('release' in IMAGES[id]) return ['Dockerfile', 'installer.cjs', 'dist/installer/release/manifest.json'];
  return (await readdir(context)).sort();
}

type Builder = {
  has(name: string): Promise<boolean>;
  /** Writes the image of the Dockerfile in `context`, on top of `base`, to `archive`. */
  build(name: string, context: string, base: string | undefined, archive: string): Promise<void>;
};

const LONG = { timeoutMs: 10 * 60_000, killOnExit: true };

async function findBuilder(arch: ForeignArch | undefined): Promise<Builder> {
  const platform = arch === undefined ? [] : ['--platform', `linux/${arch}`];
  for (const engine of ['docker', 'podman']) {
    const answers = await runAll(engine, ['info'], { timeoutMs: 10_000 }).catch(() => undefined);
    if (answers?.code !== 0) continue;
    return builder([engine, 'image', 'inspect'], async (name, context, base, archive) => {
      const options = [...platform, ...(await buildArguments(context, base))];
      await run(engine, ['build', ...options, '-t', name, context], LONG);
      await run(engine, ['save', '-o', archive, name], LONG);
    });
  }
  const storage = ['--storage-driver=vfs', `--root=${join(CACHE, 'buildah')}`];
  const buildah = [...storage, '--runroot=/run/gvisor-ready-buildah'];
  if ((await runAll('buildah', ['--version']).catch(() => undefined))?.code === 0) {
    return builder(['buildah', ...buildah, 'inspect'], async (name, context, base, archive) => {
      const options = [...platform, ...(await buildArguments(context, base))];
      const isolation = ['--isolation', 'chroot', '--format', 'oci'];
      await run('buildah', [...buildah, 'bud', ...isolation, ...options, '-t', name, context], LONG);
      const push = ['push', '--disable-compression', name, `oci-archive:${archive}:${name}`];
      await run('buildah', [...buildah, ...push], LONG);
      // Each image has a copy of every file, and only the base is used again.
      if (!name.startsWith(IMAGES.base.name)) await run('buildah', [...buildah, 'rmi', name]);
    });
  }
  throw new UsageError('No way to build images: install docker, podman or buildah.');
}

function builder([command, ...inspect]: readonly [string, ...string[]], build: Builder['build']): Builder {
  return {
    has: async (name) => (await runAll(command, [...inspect, name])).code === 0,
    build: (name, context, base, archive) =>
      makeOnce(archive, async (unfinished) => {
        await build(name, context, base, unfinished);
        return unfinished;
      }),
  };
}

async function needsBase(context: string): Promise<boolean> {
  return /\$\{BASE\}/.test(await readFile(join(context, 'Dockerfile'), 'utf8'));
}

/** Programs built on this machine are copied, so no image with npm is needed. */
async function buildArguments(context: string, base: string | undefined): Promise<string[]> {
  const isPrebuilt = / AS prebuilt$/m.test(await readFile(join(context, 'Dockerfile'), 'utf8'));
  const target = isPrebuilt ? ['--target', 'prebuilt'] : [];
  return base === undefined ? target : [...target, '--build-arg', `BASE=${base}`];
}

/** Needs mmdebstrap; undefined without it, so that the Dockerfile's own base is pulled. */
async function selfMadeBase(builder: Builder, arch: ForeignArch | undefined): Promise<string | undefined> {
  if ((await runAll('mmdebstrap', ['--version']).catch(() => undefined))?.code !== 0) return undefined;
  const name = arch === undefined ? IMAGES.base.name : `${IMAGES.base.name}-${arch}`;
  if (await builder.has(name)) return name;
  await removeAbandoned(join(CACHE, 'images'));
  const work = partial(join(CACHE, 'images', 'base'));
  const foreign = arch === undefined ? [] : [`--architectures=${arch}`, '--skip=check/qemu'];
  await mkdir(work);
  try {
    const without = ['doc', 'locale', 'man', 'info', 'lintian'].map(
      (dir) => `--dpkgopt=path-exclude=/usr/share/${dir}/*`,
    );
    const options = ['--variant=extract', '--mode=root', `--include=${BASE_PACKAGES.join(',')}`, ...without];
    const hooks = '--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr';
    const env = { ...process.env, TMPDIR: work };
    await run('mmdebstrap', [...options, ...foreign, hooks, BASE_SUITE, join(work, 'base.tar')], {
      ...LONG,
      env,
    });
    await copyFile(join(REPO, IMAGES.base.context, 'Dockerfile'), join(work, 'Dockerfile'));
    await builder.build(name, work, undefined, join(work, 'image.tar'));
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  return name;
}
