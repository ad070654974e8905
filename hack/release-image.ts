import { chmod, copyFile, cp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { bundle } from './bundle.ts';
import { type NodeArchitecture, nodeBinary } from './node-binary.ts';
import { joinPlatforms, pulledBytes } from './oci-layout.ts';
import { REPO } from './paths.ts';
import { progress } from './progress.ts';
import { type DebianPackage, writeBase } from './release-base.ts';
import { requireStarts } from './release-start.ts';
import { run } from './run.ts';
import { pack } from './same-archive.ts';

/** The architectures of the image, as OCI and as Node name them. */
export const ARCHITECTURES = { amd64: 'x64', arm64: 'arm64' } as const satisfies Record<
  string,
  NodeArchitecture
>;
/** See {@link ARCHITECTURES}. */
export type Architecture = keyof typeof ARCHITECTURES;

/** What a node may have to pull of one architecture. */
const MOST_BYTES = 60_000_000;

/** What to build: the image's name with its tag, the commit it is of, and the time of all that is in it (seconds). */
export type ImageOptions = {
  readonly name: string;
  readonly version: string;
  readonly commit: string;
  readonly epoch: number;
  /** A folder to work in. */
  readonly work: string;
};

/** What was built. */
export type ReleaseImage = {
  readonly digest: string;
  /** Bytes that a node pulls. */
  readonly pulled: Readonly<Record<string, number>>;
  readonly packages: Readonly<Record<Architecture, readonly DebianPackage[]>>;
  /** The folder of each architecture's bundles and Node binary. */
  readonly dist: Readonly<Record<Architecture, string>>;
};

/**
 * Builds the image for each architecture with buildah and writes one OCI archive for all of them. No program of the image
 * is run to build it; afterwards each is.
 */
export async function writeImage(archive: string, options: ImageOptions): Promise<ReleaseImage> {
  const { name, work, epoch } = options;
  const storage = storageIn(work);
  const buildah = (...words: readonly string[]) =>
    run('buildah', [...storage, ...words], { timeoutMs: 10 * 60_000 });
  const layout = join(work, 'layout');
  const dist = { amd64: join(work, 'amd64/dist'), arm64: join(work, 'arm64/dist') };
  await writeDist(dist);
  const packages: Record<string, readonly DebianPackage[]> = {};
  try {
    for (const architecture of Object.keys(ARCHITECTURES) as Architecture[]) {
      await progress(`building the image for ${architecture}`, async () => {
        packages[architecture] = await buildOne(buildah, architecture, options);
        await buildah('push', `release:${architecture}`, `oci:${layout}:${architecture}`);
      });
      await progress(`starting the image for ${architecture}`, () => {
        const image = `localhost/release:${architecture}`;
        return requireStarts({ storage, image, architecture: ARCHITECTURES[architecture] }, options.version);
      });
    }
  } finally {
    await buildah('rmi', '--all', '--force');
  }
  const digest = await joinPlatforms(layout, name);
  const pulled = await pulledBytes(layout, digest);
  for (const [architecture, bytes] of Object.entries(pulled))
    if (bytes > MOST_BYTES)
      throw new Error(`The image for ${architecture} has ${bytes} bytes, more than ${MOST_BYTES}`);
  await pack(archive, { folder: layout, files: ['blobs', 'index.json', 'oci-layout'], epoch });
  return { digest, pulled, packages: packages as ReleaseImage['packages'], dist };
}

/** The bundles, which are the same for all, and each architecture's Node. */
async function writeDist(dist: Readonly<Record<Architecture, string>>): Promise<void> {
  await bundle({ dist: dist.amd64 });
  await cp(dist.amd64, dist.arm64, { recursive: true });
  for (const [architecture, folder] of Object.entries(dist) as [Architecture, string][]) {
    await rm(join(folder, 'node'));
    await copyFile(await nodeBinary(ARCHITECTURES[architecture]), join(folder, 'node'));
    await chmod(join(folder, 'node'), 0o755);
  }
}

type Buildah = (...words: readonly string[]) => Promise<string>;

/** The words that give buildah a storage of its own, which needs no overlay. */
function storageIn(work: string): readonly string[] {
  return ['--storage-driver', 'vfs', '--root', join(work, 'storage'), '--runroot', join(work, 'run')];
}

async function buildOne(
  buildah: Buildah,
  architecture: Architecture,
  { work, epoch, commit }: ImageOptions,
): Promise<readonly DebianPackage[]> {
  const base = join(work, architecture, 'base');
  const packages = await writeBase(base, { architecture, epoch });
  const always = ['--isolation', 'chroot', '--format', 'oci', '--platform', `linux/${architecture}`];
  const build = ['bud', ...always, '--no-cache', '--timestamp', String(epoch)];
  await copyFile(join(REPO, 'cluster/images/base/Dockerfile'), join(base, 'Dockerfile'));
  await buildah(...build, '-t', `base:${architecture}`, base);
  const context = join(work, architecture);
  await copyFile(join(REPO, 'Dockerfile'), join(context, 'Dockerfile'));
  const given = ['--build-arg', 'DIST=prebuilt', '--build-arg', `BASE=localhost/base:${architecture}`];
  const label = ['--label', `org.opencontainers.image.revision=${commit}`];
  await buildah(...build, ...given, ...label, '-t', `release:${architecture}`, context);
  return packages;
}
