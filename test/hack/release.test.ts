import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { chmod, mkdir, mkdtemp, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { joinPlatforms, pulledBytes } from '../../hack/oci-layout.ts';
import { parsePackages, requirePinned } from '../../hack/release-base.ts';
import { run } from '../../hack/run.ts';
import { pack } from '../../hack/same-archive.ts';

const NAME = 'registry.example.org:5000/gvisor-ready:1.2.3';
let folder = '';
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'release-'));
});
after(() => rm(folder, { recursive: true }));

/** Writes a blob of an OCI layout, and gives its descriptor. */
async function blob(layout: string, content: string, mediaType = 'application/octet-stream') {
  const hash = createHash('sha256').update(content).digest('hex');
  await writeFile(join(layout, 'blobs/sha256', hash), content);
  return { mediaType, digest: `sha256:${hash}`, size: content.length };
}

/** A layout as buildah leaves it: one image for each of these architectures, named for it. */
async function layoutOf(name: string, architectures: readonly string[]): Promise<string> {
  const layout = join(folder, name);
  await mkdir(join(layout, 'blobs/sha256'), { recursive: true });
  const manifests: object[] = [];
  for (const architecture of architectures) {
    const config = await blob(layout, `{"architecture":"${architecture}"}`);
    const layers = [await blob(layout, `layer of ${architecture}`), await blob(layout, 'shared')];
    const manifest = JSON.stringify({ schemaVersion: 2, config, layers });
    const annotations = { 'org.opencontainers.image.ref.name': architecture };
    const type = 'application/vnd.oci.image.manifest.v1+json';
    manifests.push({ ...(await blob(layout, manifest, type)), annotations });
  }
  await writeFile(join(layout, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests }));
  return layout;
}

describe('an image for several platforms', () => {
  it('is one index, the same in whichever order its images were pushed', async () => {
    const layout = await layoutOf('one', ['amd64', 'arm64']);
    const digest = await joinPlatforms(layout, NAME);
    assert.equal(await joinPlatforms(await layoutOf('other', ['arm64', 'amd64']), NAME), digest);
    const { manifests } = JSON.parse(await readFile(join(layout, 'index.json'), 'utf8')) as {
      manifests: { digest: string; annotations: Record<string, string> }[];
    };
    assert.deepEqual(
      manifests.map((one) => one.digest),
      [digest],
    );
    assert.deepEqual(manifests[0]?.annotations, {
      'org.opencontainers.image.ref.name': '1.2.3',
      'io.containerd.image.name': NAME,
    });
    const text = await readFile(join(layout, 'blobs', digest.replace(':', '/')), 'utf8');
    assert.match(text, /"platform":\{"architecture":"amd64","os":"linux"\}.*"architecture":"arm64"/);
  });

  it('tells what a node pulls: manifest, configuration and layers', async () => {
    const layout = await layoutOf('sizes', ['amd64']);
    const digest = await joinPlatforms(layout, NAME);
    const sizes = await pulledBytes(layout, digest);
    const index = JSON.parse(await readFile(join(layout, 'blobs', digest.replace(':', '/')), 'utf8')) as {
      manifests: [{ size: number }];
    };
    const texts = ['{"architecture":"amd64"}', 'layer of amd64', 'shared'];
    assert.deepEqual(sizes, { amd64: index.manifests[0].size + texts.join('').length });
  });
});

describe('an archive', () => {
  it('is the same whenever and by whomever its files were written', async () => {
    const digests: string[] = [];
    for (const [at, mode] of [
      [1_000, 0o600],
      [2_000, 0o664],
    ] as const) {
      const source = join(folder, `source-${at}`);
      await mkdir(join(source, 'files'), { recursive: true });
      for (const name of at === 1_000 ? ['a', 'b'] : ['b', 'a']) {
        await writeFile(join(source, 'files', name), name);
        await chmod(join(source, 'files', name), mode);
        await utimes(join(source, 'files', name), at, at);
      }
      const archive = join(folder, `${at}.tar.gz`);
      await pack(archive, { folder: source, files: ['files'], epoch: 5 });
      digests.push(
        createHash('sha256')
          .update(await readFile(archive))
          .digest('hex'),
      );
      assert.equal(await run('tar', ['-tzf', archive]), 'files/\nfiles/a\nfiles/b\n');
    }
    assert.equal(digests[0], digests[1]);
  });
});

describe('the packages of the base', () => {
  it('are told by the names of their archives', () => {
    assert.deepEqual(
      parsePackages('libc6_2.36-9+deb12u14_arm64.deb\npartial\nlock\nzlib1g_1%3a1.2.13_amd64.deb\n'),
      [
        { name: 'libc6', version: '2.36-9+deb12u14', architecture: 'arm64' },
        { name: 'zlib1g', version: '1:1.2.13', architecture: 'amd64' },
      ],
    );
  });

  it('are those that are pinned, or the message says which to pin', () => {
    const pinned = { libc6: '2.36-9', mawk: '1.3' };
    const found = (versions: Readonly<Record<string, string>>) =>
      Object.entries(versions).map(([name, version]) => ({ name, version, architecture: 'arm64' }));
    requirePinned(found(pinned), pinned);
    assert.throws(() => requirePinned(found({ libc6: '2.36-10', zlib1g: '1' }), pinned), {
      message:
        /pins\. Commit these .*\nlibc6: 2\.36-10, not 2\.36-9\nmawk: none, not 1\.3\nzlib1g: 1, not none$/,
    });
  });
});
