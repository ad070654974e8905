import assert from 'node:assert/strict';
import { appendFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { waitFor } from '../../../hack/run.ts';
import { TimeoutError } from '../../../lib/base/async.ts';
import {
  compareReleases,
  findProgram,
  PROGRAM_DIRECTORIES,
  parseRunscRelease,
  RunscPrograms,
} from '../../../lib/runsc/program.ts';
import { collect } from '../../agent/collect.ts';
import { tempHost } from '../host/temp-host.ts';
import { fakeRunsc } from './fake-runsc.ts';

const PIECE_BYTES = 1024 * 1024;

/** The release that a program names, or "unknown". */
async function releaseIn(t: TestContext, program: Buffer): Promise<string | undefined> {
  const host = await tempHost(t, { '/runsc': { program } });
  const release = (await new RunscPrograms().read(host, '/runsc'))?.release;
  return release?.kind === 'unknown' ? 'unknown' : release?.text;
}

/** A text at an offset, with more bytes after it. */
function at(offset: number, text: string): Buffer {
  return Buffer.concat([Buffer.alloc(offset, 'x'), Buffer.from(text), Buffer.alloc(100)]);
}

describe('RunscPrograms', { concurrency: true }, () => {
  it('reads the release and the sizes of the code', async (t) => {
    const host = await tempHost(t, { '/runsc': fakeRunsc('release-20260817.0', 10) });
    const program = await new RunscPrograms().read(host, '/runsc');
    assert.deepEqual([program?.path, program?.release.text], ['/runsc', 'release-20260817.0']);
    assert.ok(program?.textBytes.has(10 * 4096), `${[...(program?.textBytes ?? [])]}`);
  });

  const TEXTS: readonly (readonly [string, string])[] = [
    ['\0release-20260817.0\0', 'release-20260817.0'],
    ['\0release-20260817.0-70-g3c5eee17dc45-dirty\0', 'release-20260817.0-70-g3c5eee17dc45-dirty'],
    ['\0google-20260101.1\0', 'google-20260101.1'],
    ['\x000.0~20240729.0-2+b1\0', '0.0~20240729.0-2+b1'],
    ['\0VERSION_MISSING\0', 'unknown'],
    ['\0release-20260817.0\0 and \0release-20260817.0\0', 'release-20260817.0'],
    ['\0release-20260817.0\0 and \0release-20260101.0\0', 'unknown'],
    ['\0release-20260817.0\0 and \0google-20260817.0\0', 'unknown'],
    ['\0release-20260831.0-12-g602040cbcc58\0 and \0release-20260831.0\0', 'release-20260831.0'],
    ['\0release-20260831.0-1-g60\0 and \0release-20260831.0-2-g61\0', 'unknown'],
    ['\0release-20260831.0\0 and \0release-20260831.01\0', 'unknown'],
    ['see release-20260817.0 of gVisor', 'unknown'],
    ['\0release-%s\0', 'unknown'],
    ['', 'unknown'],
  ];
  for (const [text, expected] of TEXTS) {
    it(`finds ${expected} in ${JSON.stringify(text)}`, async (t) => {
      assert.equal(await releaseIn(t, at(10, text)), expected);
    });
  }

  it('finds a release across the chunks of a large file', async (t) => {
    const text = 'release-20260817.0\0';
    for (const back of [0, 1, 10, text.length - 1, text.length, text.length + 1]) {
      assert.equal(await releaseIn(t, at(PIECE_BYTES - back, text)), 'release-20260817.0', `${back}`);
    }
    // Chunks overlap, so the third ends before 3 MiB.
    assert.equal(await releaseIn(t, at(3 * PIECE_BYTES - 135, text)), 'release-20260817.0');
    const far = Buffer.concat([at(5, 'release-20260817.0\0'), at(4 * PIECE_BYTES, 'release-20260101.0\0')]);
    assert.equal(await releaseIn(t, far), 'unknown');
  });

  it('knows no release of a file with too many', async (t) => {
    const texts = (count: number) =>
      Array.from({ length: count }, (_, nth) => `\0release-20260831.0-${nth}-g60\0`).join('');
    assert.equal(await releaseIn(t, at(10, `\0release-20260831.0\0${texts(15)}`)), 'release-20260831.0');
    assert.equal(await releaseIn(t, at(10, `\0release-20260831.0\0${texts(16)}`)), 'unknown');
  });

  it('reads a file again only after a change', async (t) => {
    const host = await tempHost(t, { '/runsc': fakeRunsc('release-20260101.0') });
    const reads = t.mock.method(host, 'pieces').mock;
    const programs = new RunscPrograms();
    const first = await programs.read(host, '/runsc');
    assert.equal(await programs.read(host, '/runsc'), first);
    assert.equal(reads.callCount(), 1);
    await appendFile(join(host.root, 'runsc'), 'release-20260817.0\0');
    assert.equal((await programs.read(host, '/runsc'))?.release.kind, 'unknown');
    await writeFile(join(host.root, 'runsc'), fakeRunsc('release-20260817.0').program);
    assert.equal((await programs.read(host, '/runsc'))?.release.text, 'release-20260817.0');
    assert.equal(reads.callCount(), 3);
  });

  it('finds no program in a missing file or a directory', async (t) => {
    const host = await tempHost(t, { '/directory/x': '' });
    const programs = new RunscPrograms();
    for (const path of ['/absent', '/directory']) assert.equal(await programs.read(host, path), undefined);
  });

  it('does not read a file that is too large for gVisor', async (t) => {
    const host = await tempHost(t, { '/runsc': fakeRunsc() });
    await truncate(join(host.root, 'runsc'), 2 ** 30 + 1);
    host.pieces = () => assert.fail('it was read');
    assert.equal((await new RunscPrograms().read(host, '/runsc'))?.release.kind, 'unknown');
  });

  it('shares a read in progress, and retries after a failed one', async (t) => {
    const host = await tempHost(t, { '/runsc': fakeRunsc() });
    const reads = t.mock.method(host, 'pieces').mock;
    reads.mockImplementationOnce(() => {
      throw new Error('EIO');
    });
    const programs = new RunscPrograms();
    const failed = await Promise.allSettled([1, 2].map(() => programs.read(host, '/runsc')));
    const statuses = failed.map(({ status }) => status);
    assert.deepEqual(statuses, ['rejected', 'rejected']);
    assert.equal((await programs.read(host, '/runsc'))?.release.kind, 'release');
    assert.equal(reads.callCount(), 2);
  });
});

// Not concurrent with the others, whose memory would count.
describe('memory of RunscPrograms', () => {
  it('retains none of a file but its release', async (t) => {
    const programs = new RunscPrograms();
    const text = Buffer.concat([at(10, 'release-20260817.0\0'), Buffer.alloc(PIECE_BYTES)]);
    const paths = Array.from({ length: 24 }, (_, nth) => `/runsc-${nth}`);
    const host = await tempHost(t, Object.fromEntries(paths.map((path) => [path, { program: text }])));
    const memory = async () => {
      await setImmediate(); // a promise releases its awaited value only then
      collect();
      const { arrayBuffers, external, heapUsed } = process.memoryUsage();
      return { all: external + heapUsed, arrayBuffers };
    };
    await waitFor('the buffers of other tests to go', 10_000, async () =>
      (await memory()).arrayBuffers < 2 * PIECE_BYTES ? true : undefined,
    );
    const before = (await memory()).all;
    for (const path of paths) assert.equal((await programs.read(host, path))?.release.kind, 'release');
    // Files that are being closed still retain their chunks.
    await waitFor('the chunks to be released', 10_000, async () =>
      (await memory()).all - before < 4 * PIECE_BYTES ? true : undefined,
    );
  });
});

describe('parseRunscRelease', () => {
  const FORMS: readonly (readonly [string, readonly [number, number] | undefined])[] = [
    ['release-20260817.0', [20260817, 0]],
    ['release-20260817.12', [20260817, 12]],
    ['release-20260817.0-70-g3c5eee17dc45', [20260817, 0]],
    ['release-20260817.0-70-g3c5eee17dc45-dirty', [20260817, 0]],
    ['release-20260817', [20260817, 0]],
    ['google-20260101.1', [20260101, 1]],
    ['g-20260101', [20260101, 0]],
    ['0.0~20240729.0', [20240729, 0]],
    ['0.0~20240729.0-2+b1', [20240729, 0]],
    ['20220516.0', [20220516, 0]],
    ['VERSION_MISSING', undefined],
    ['release-20261301.0', undefined],
    ['release-20260800.0', undefined],
    ['release-99', undefined],
    ['1.3.4', undefined],
    ['202608170', undefined],
    ['', undefined],
  ];
  for (const [text, numbers] of FORMS) {
    it(`parses "${text}" as ${numbers ?? 'unknown'}`, () => {
      const release = parseRunscRelease(text);
      assert.deepEqual(release.kind === 'release' ? [release.date, release.point] : undefined, numbers);
      assert.equal(release.text, text);
    });
  }

  it('orders by date, then by number, but not with an unknown release', () => {
    const order = (a: string, b: string) => compareReleases(parseRunscRelease(a), parseRunscRelease(b));
    assert.ok((order('0.0~20240729.0', 'release-20240325.0') ?? 0) > 0);
    assert.ok((order('release-20260817.9', 'release-20260817.10') ?? 0) < 0);
    assert.equal(order('release-20260817.0', '20260817.0'), 0);
    assert.equal(order('VERSION_MISSING', '20260817.0'), undefined);
  });
});

describe('findProgram', () => {
  it('rejects after a timeout, rather than return a later program', async (t) => {
    const host = await tempHost(t, { '/usr/bin/runsc': '', '/usr/local/bin/runsc': '' });
    const stat = host.stat.bind(host);
    t.mock.method(host, 'stat', async (path: string) => {
      if (path === '/usr/local/bin/runsc') throw new TimeoutError('no answer within 5 s');
      return stat(path);
    });
    await assert.rejects(findProgram(host, PROGRAM_DIRECTORIES, 'runsc'), /no answer within 5 s/);
  });
});
