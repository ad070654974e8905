import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, it } from 'node:test';
import { DEFAULT_RELEASE, fetchRelease } from '../../hack/gvisor-release.ts';
import { REPO } from '../../hack/paths.ts';
import { run } from '../../hack/run.ts';
import { readRelease } from '../../installer/release/release.ts';

const RELEASE = '20260914.0'; // any
const ARCHIVE = `/release/${RELEASE}/${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}/gvisor.tar.bz2`;
const PROGRAMS = ['containerd-shim-runsc-v1', 'gvisor-bin/gvisor_sentry', 'runsc'];

let directory: string;
let mirror: string;
let sha256: string;
const server = createServer(async (request, response) => {
  const archive = await readFile(join(directory, 'gvisor.tar.bz2'));
  const digest = createHash('sha512').update(archive).digest('hex');
  if (request.url === ARCHIVE) response.end(archive);
  else if (request.url === `${ARCHIVE}.sha512`) response.end(`${digest}  gvisor.tar.bz2\n`);
  else response.writeHead(404).end();
});
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'gvisor-release-'));
  await mkdir(join(directory, 'files/gvisor-bin'), { recursive: true });
  for (const path of PROGRAMS) await writeFile(join(directory, 'files', path), path);
  const archive = join(directory, 'gvisor.tar.bz2');
  await run('tar', ['-cjf', archive, '-C', join(directory, 'files'), ...PROGRAMS]);
  sha256 = createHash('sha256')
    .update(await readFile(archive))
    .digest('hex');
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  mirror = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
after(async () => {
  server.close();
  await rm(directory, { recursive: true });
});

it("makes a release for the installer from gVisor's archive with the expected digest", async () => {
  const target = join(directory, 'downloaded');
  await fetchRelease(target, { release: RELEASE, mirror, sha256 });
  const { name, files } = await readRelease(target);
  assert.deepEqual([name, files.map(({ path }) => path)], [`release-${RELEASE}`, PROGRAMS]);
  assert.equal(await readFile(join(target, 'gvisor-bin/gvisor_sentry'), 'utf8'), 'gvisor-bin/gvisor_sentry');
});

it('takes the digest that the mirror publishes only if told, and prints one to record', async (t) => {
  const log = t.mock.method(console, 'log', () => {});
  await fetchRelease(join(directory, 'trusted'), { release: RELEASE, mirror, trustsMirror: true });
  assert.match(String(log.mock.calls[0]?.arguments[0]), new RegExp(`Next time give --sha256 ${sha256}`));
});

for (const [what, source, why] of [
  ['another digest', { sha256: '0'.repeat(64) }, /has the sha256 [0-9a-f]{64}, and 0{64} is expected/],
  ['another SHA-512', { sha512: '0'.repeat(128) }, /has the sha512 [0-9a-f]{128}, and 0{128} is expected/],
  [
    'a mirror that does not respond',
    { mirror: 'http://127.0.0.1:1', sha256: '0'.repeat(64) },
    /127\.0\.0\.1:1 does not respond \(.*\): name another --mirror/,
  ],
  ['no digest', {}, /Give the digest .* or --trust-mirror/],
  ['a release that is a path', { release: '../x', sha256: '0'.repeat(64) }, /is no release of gVisor/],
] as const)
  it(`refuses ${what}, and writes nothing`, async () => {
    const before = await readdir(directory);
    const target = join(directory, 'refused');
    await assert.rejects(fetchRelease(target, { release: RELEASE, mirror, ...source }), why);
    assert.deepEqual(await readdir(directory), before);
  });

for (const file of [
  ...['README.md', 'docs/install.md', 'docs/operations.md', 'hack/kind-with-gvisor.sh'],
  ...['installer/Dockerfile', 'charts/gvisor-ready/values.yaml', 'charts/gvisor-ready/README.md'],
  ...['manifests/components/install/kustomization.yaml', '.github/workflows/release.yaml'],
])
  it(`is the release that ${file} proposes`, async () => {
    const text = await readFile(join(REPO, file), 'utf8');
    const proposed = text.match(
      /(?<=RELEASE=|GVISOR=|GVISOR: "|--release |[:-]0\.1\.0-|newTag: 0\.1\.0-)\d{8}\.\d+/g,
    );
    assert.deepEqual([...new Set(proposed)], [DEFAULT_RELEASE]);
  });

it('refuses an archive without a shim', async () => {
  const archive = join(directory, 'without.tar.bz2');
  await run('tar', ['-cjf', archive, '-C', join(directory, 'files'), 'runsc']);
  const digest = createHash('sha256').update(await readFile(archive));
  await assert.rejects(
    fetchRelease(join(directory, 'without'), { release: RELEASE, archive, sha256: digest.digest('hex') }),
    /lists no containerd-shim-runsc-v1/,
  );
});
