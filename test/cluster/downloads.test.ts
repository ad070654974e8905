import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { DOWNLOADS, download } from '../../cluster/downloads.ts';
import type { ToolGroup } from '../../cluster/tool-groups.ts';
import { REPO } from '../../hack/paths.ts';
import { run } from '../../hack/run.ts';

const sha256 = (content: Buffer | string) => createHash('sha256').update(content).digest('hex');

/** A server on loopback with these files, and empty directories for a download. */
async function setUp(t: TestContext, files: Readonly<Record<string, Buffer | string>>) {
  const work = mkdtempSync(join(tmpdir(), 'download-'));
  t.after(() => rmSync(work, { recursive: true }));
  const server = createServer(({ url = '' }, response) => {
    if (url === '/moved') return response.writeHead(302, { location: '/program' }).end();
    const content = files[url];
    return response.writeHead(content === undefined ? 404 : 200).end(content);
  }).listen(0, '127.0.0.1');
  t.after(() => server.close());
  await once(server, 'listening');
  const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { base, work, bin: join(work, 'bin'), server };
}

test('downloads a program, also through a redirect', async (t) => {
  const { base, work, bin } = await setUp(t, { '/program': '#!/bin/sh\necho hello\n' });
  const sum = sha256('#!/bin/sh\necho hello\n');
  assert.equal(await download({ url: `${base}/moved`, sha256: sum, programs: ['runc'] }, work, bin), true);
  assert.equal(await run(join(bin, 'runc'), []), 'hello\n');
});

test('extracts the named programs from an archive', async (t) => {
  const source = mkdtempSync(join(tmpdir(), 'archive-'));
  t.after(() => rmSync(source, { recursive: true }));
  await mkdir(join(source, 'etcd-1'));
  for (const name of ['etcd', 'README']) writeFileSync(join(source, 'etcd-1', name), name);
  await run('tar', ['-czf', 'a.tar.gz', 'etcd-1'], { cwd: source });
  const archive = readFileSync(join(source, 'a.tar.gz'));
  const { base, work, bin } = await setUp(t, { '/a.tar.gz': archive });
  const pinned = { url: `${base}/a.tar.gz`, sha256: sha256(archive), programs: ['etcd-1/etcd'] };
  assert.equal(await download(pinned, work, bin), true);
  assert.equal(await readFile(join(bin, 'etcd'), 'utf8'), 'etcd');
});

test('refuses a file with another checksum', async (t) => {
  const { base, work, bin } = await setUp(t, { '/program': 'evil' });
  const pinned = { url: `${base}/program`, sha256: sha256('good'), programs: ['runc'] };
  await assert.rejects(download(pinned, work, bin), /\/program has the SHA-256 [0-9a-f]{64}, not /);
});

test('falls back to a build when the file or the server is missing', async (t) => {
  const { base, work, bin, server } = await setUp(t, {});
  const pinned = { url: `${base}/program`, sha256: sha256(''), programs: ['runc'] };
  assert.equal(await download(pinned, work, bin), false);
  server.close();
  assert.equal(await download(pinned, work, bin), false);
});

test('pins downloads of the versions in go.mod, under the names that a build has', () => {
  for (const [group, downloads] of Object.entries(DOWNLOADS) as [ToolGroup, object][]) {
    const goMod = readFileSync(join(REPO, 'cluster/tools', group, 'go.mod'), 'utf8');
    for (const { url } of Object.values(downloads) as { url: string }[]) {
      const [, repository = '', version = ''] =
        /github\.com\/([^/]+\/[^/]+)\/releases\/download\/([^/]+)\//.exec(url) ?? [];
      const module = group === 'etcd' ? 'go.etcd.io/etcd/server/v3' : `github.com/${repository}`;
      assert.ok(goMod.includes(`${module} ${version}`), url);
    }
  }
});
