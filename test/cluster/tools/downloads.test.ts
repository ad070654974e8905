import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { download, isPinned, officialBuild } from '../../../cluster/tools/downloads.ts';
import { source, TOOL_GROUPS, type ToolGroup, toolVersion } from '../../../cluster/tools/tool-groups.ts';
import { run } from '../../../hack/run.ts';

const PROGRAM = '#!/bin/sh\necho hello\n';
const sumOf = (content: Buffer | string, algorithm = 'sha256') =>
  createHash(algorithm).update(content).digest('hex');

/** A server on loopback, and empty directories for a download of `/v1/program` from it. */
async function setUp(t: TestContext, serve: RequestListener) {
  const work = mkdtempSync(join(tmpdir(), 'download-'));
  t.after(() => rmSync(work, { recursive: true }));
  const server = createServer(serve).listen(0, '127.0.0.1');
  t.after(() => server.close().closeAllConnections());
  await once(server, 'listening');
  const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const bin = join(work, 'bin');
  const get = (sum: string, file = 'program', programs: Record<string, string> = { runc: '' }) =>
    download([{ url: `${base}/v1/${file}`, sum, programs }], work, bin);
  return { base, bin, get };
}

/** Serves files by their paths. */
const files =
  (content: Readonly<Record<string, Buffer | string>>): RequestListener =>
  ({ url = '' }, response) => {
    const found = content[url];
    response.writeHead(found === undefined ? 404 : 200).end(found);
  };

test('downloads a program with the pinned or the published checksum, and writes down which', async (t) => {
  const sums = `${sumOf('other')}  other\n${sumOf(PROGRAM)} *program\n`;
  const published = {
    '/v1/SHA256SUMS': sums,
    '/v1/program.sha256': sumOf(PROGRAM),
    '/v1/program.sha512': `${sumOf(PROGRAM, 'sha512')}  program\n`,
  };
  const { base, bin, get } = await setUp(t, ({ url = '' }, response) =>
    url === '/v1/program'
      ? response.writeHead(302, { location: '/elsewhere' }).end()
      : files({ ...published, '/elsewhere': PROGRAM })({ url } as never, response as never),
  );
  await get(sumOf(PROGRAM));
  const record = () => readFileSync(join(bin, 'DOWNLOADED'), 'utf8');
  assert.equal(record(), `sha256:${sumOf(PROGRAM)} ${base}/v1/program pinned\n`);
  for (const path of Object.keys(published)) {
    rmSync(bin, { recursive: true });
    await get(`${base}${path}`);
    assert.equal(await run(join(bin, 'runc'), []), 'hello\n');
    assert.match(
      record(),
      new RegExp(`^sha(256|512):[0-9a-f]+ ${base}/v1/program published in ${base}${path}\n$`),
    );
  }
});

test('has no program of a file that is missing, truncated, unlike its checksum or without one', async (t) => {
  const { base, bin, get } = await setUp(t, ({ url = '' }, response) =>
    url === '/v1/short'
      ? response.writeHead(200, { 'content-length': 100 }).write(PROGRAM, () => response.destroy())
      : files({ '/v1/program': 'evil', '/v1/SUMS': `${sumOf('evil')}  other\n` })(
          { url } as never,
          response as never,
        ),
  );
  await assert.rejects(get(sumOf(PROGRAM)), /\/v1\/program has the sha256 [0-9a-f]{64}, not /);
  await assert.rejects(get(sumOf(PROGRAM), 'short'), /\/v1\/short cannot be downloaded \(.+\)$/);
  await assert.rejects(get(sumOf(PROGRAM), 'missing'), /\/v1\/missing responds 404$/);
  await assert.rejects(get(`${base}/v1/SUMS`), /\/v1\/SUMS has no checksum of program$/);
  await assert.rejects(get(`${base}/v1/program.sha256`), /\/v1\/program\.sha256 responds 404$/);
  assert.deepEqual(readdirSync(bin), []);
});

test('gives up a host that does not respond, and asks it once', async (t) => {
  let asked = 0;
  const { get } = await setUp(t, () => void asked++);
  await assert.rejects(
    get(sumOf(PROGRAM)),
    /^Error: 127\.0\.0\.1:\d+ does not respond \(Headers Timeout Error\)$/,
  );
  await assert.rejects(get(sumOf(PROGRAM)), /^Error: 127\.0\.0\.1:\d+ does not respond$/);
  assert.equal(asked, 1);
});

test('gives up a transfer that hangs', async (t) => {
  const { get } = await setUp(t, (_, response) => void response.writeHead(200).write('half'));
  await assert.rejects(get(sumOf(PROGRAM)), /\/v1\/program cannot be downloaded \(Body Timeout Error\)$/);
});

test('has the version of go.mod, the names of a build, and a pinned checksum where one is known', async () => {
  const pinned: ToolGroup[] = [];
  for (const group of TOOL_GROUPS) {
    const files = await officialBuild(group);
    if (files.length === 0) continue;
    const goMod = readFileSync(join(source(group), 'go.mod'), 'utf8');
    const tools = [...goMod.matchAll(/^(?:tool |\t)(\S+\/([^\s/]+))$/gm)].map(([, , name]) => name);
    const names = files.flatMap(({ programs }) => Object.keys(programs));
    assert.deepEqual(names.sort(), group === 'etcd' ? ['etcd'] : tools.sort());
    const version = (await toolVersion(group)).replace(/^(v|release-)/, '');
    for (const { url } of files) assert.ok(url.includes(`${version}/`), url);
    if (files.every(isPinned)) pinned.push(group);
  }
  assert.deepEqual(pinned, ['containerd-1.7', 'etcd', 'runc']);
});
