import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** A descriptor of the OCI image format: https://github.com/opencontainers/image-spec/blob/main/descriptor.md */
export type Descriptor = {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
  readonly platform?: { readonly os: string; readonly architecture: string };
  readonly annotations?: Readonly<Record<string, string>>;
};

const INDEX = 'application/vnd.oci.image.index.v1+json';
const REF_NAME = 'org.opencontainers.image.ref.name';

type Index = { readonly schemaVersion: 2; readonly manifests: readonly Descriptor[] };

async function readJson<T>(path: string): Promise<T> {
  return JSON.parse(await readFile(path, 'utf8')) as T;
}

/**
 * Puts the images of an OCI layout, each named for its architecture, under one index, so that the layout holds one image
 * for several platforms with this name (its tag alone, and whole as containerd reads it). Gives the digest of the index.
 */
export async function joinPlatforms(layout: string, name: string): Promise<string> {
  const { manifests } = await readJson<Index>(join(layout, 'index.json'));
  const images = manifests
    .map(({ mediaType, digest, size, annotations }) => {
      const architecture = annotations?.[REF_NAME] ?? '';
      return { mediaType, digest, size, platform: { architecture, os: 'linux' } };
    })
    .sort((a, b) => a.platform.architecture.localeCompare(b.platform.architecture));
  const text = JSON.stringify({ schemaVersion: 2, mediaType: INDEX, manifests: images });
  const hash = createHash('sha256').update(text).digest('hex');
  await writeFile(join(layout, 'blobs/sha256', hash), text);
  const annotations = {
    [REF_NAME]: name.slice(name.lastIndexOf(':') + 1),
    'io.containerd.image.name': name,
  };
  const digest = `sha256:${hash}`;
  const index = { mediaType: INDEX, digest, size: Buffer.byteLength(text), annotations };
  await writeFile(join(layout, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests: [index] }));
  return digest;
}

/** The bytes that a node pulls for each architecture of the layout's index. */
export async function pulledBytes(layout: string, digest: string): Promise<Readonly<Record<string, number>>> {
  const blob = (of: string) => join(layout, 'blobs', of.replace(':', '/'));
  const { manifests } = await readJson<Index>(blob(digest));
  const sizes: Record<string, number> = {};
  for (const { digest: image, size, platform } of manifests) {
    const { config, layers } = await readJson<{ config: Descriptor; layers: Descriptor[] }>(blob(image));
    sizes[platform?.architecture ?? ''] = [config, ...layers].reduce((sum, one) => sum + one.size, size);
  }
  return sizes;
}
