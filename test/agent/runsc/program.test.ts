import assert from 'node:assert/strict';
import { appendFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { Host } from '../../../agent/host/host.ts';
import { RunscPrograms } from '../../../agent/runsc/program.ts';
import { waitFor } from '../../../hack/run.ts';
import { collect } from '../collect.ts';
import { tempHost } from '../host/temp-host.ts';
import { fakeRunsc } from './fake-runsc.ts';

const PIECE_BYTES = 1024 * 1024;

/** The release that a program with this text names, "" for none. */
async function releaseIn(t: TestContext, program: Buffer): Promise<string | undefined> {
  const host = await tempHost(t, { '/runsc': { program } });
  const release = (await new RunscPrograms().read(host, '/runsc'))?.release;
  return release?.kind === 'unknown' ? 'unknown' : release?.text;
}

/** So many bytes with that text at their end, and more behind. */
function at(offset: number, text: string): Buffer {
  return Buffer.concat([Buffer.alloc(offset, 'x'), Buffer.from(text), Buffer.alloc(100)]);
}

describe('RunscPrograms', { concurrency: true }, () => {
  it('reads release and sizes of code out of the file', async (t) => {
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

  it('finds a release wherever the pieces of a large file are cut', async (t) => {
    const text = 'release-20260817.0\0';
    for (const back of [0, 1, 10, text.length - 1, text.length, text.length + 1]) {
      assert.equal(await releaseIn(t, at(PIECE_BYTES - back, text)), 'release-20260817.0', `${back}`);
    }
    // The second piece begins with the end of the first, so that the third ends before the third MiB.
    assert.equal(await releaseIn(t, at(3 * PIECE_BYTES - 135, text)), 'release-20260817.0');
  });

  it('sees the second of two releases behind many pieces', async (t) => {
    const far = Buffer.concat([at(5, 'release-20260817.0\0'), at(4 * PIECE_BYTES, 'release-20260101.0\0')]);
    assert.equal(await releaseIn(t, far), 'unknown');
  });

  it('takes no release from a file that has a great many, however alike', async (t) => {
    const texts = (count: number) =>
      Array.from({ length: count }, (_, nth) => `\0release-20260831.0-${nth}-g60\0`).join('');
    assert.equal(await releaseIn(t, at(10, `\0release-20260831.0\0${texts(15)}`)), 'release-20260831.0');
    assert.equal(await releaseIn(t, at(10, `\0release-20260831.0\0${texts(16)}`)), 'unknown');
  });

  it('reads a file again only when it has changed', async (t) => {
    const { root } = await tempHost(t, { '/runsc': fakeRunsc('release-20260101.0') });
    let read = 0;
    class CountingHost extends Host {
      override pieces(...args: Parameters<Host['pieces']>) {
        read += 1;
        return super.pieces(...args);
      }
    }
    const [host, programs] = [new CountingHost(root), new RunscPrograms()];
    const first = await programs.read(host, '/runsc');
    assert.equal(await programs.read(host, '/runsc'), first);
    assert.equal(read, 1);
    await appendFile(join(root, 'runsc'), 'release-20260817.0\0');
    assert.equal((await programs.read(host, '/runsc'))?.release.kind, 'unknown');
    await writeFile(join(root, 'runsc'), fakeRunsc('release-20260817.0').program);
    assert.equal((await programs.read(host, '/runsc'))?.release.text, 'release-20260817.0');
    assert.equal(read, 3);
  });

  it('knows no program where there is none, or a folder', async (t) => {
    const host = await tempHost(t, { '/folder/x': '' });
    const programs = new RunscPrograms();
    for (const path of ['/absent', '/folder']) assert.equal(await programs.read(host, path), undefined);
  });

  it('reads no program that is larger than any of gVisor', async (t) => {
    const host = await tempHost(t, { '/runsc': fakeRunsc() });
    await truncate(join(host.root, 'runsc'), 2 ** 30 + 1);
    host.pieces = () => assert.fail('it was read');
    assert.equal((await new RunscPrograms().read(host, '/runsc'))?.release.kind, 'unknown');
  });

  it('reads once for all that ask while it reads, and again after a reading that failed', async (t) => {
    const { root } = await tempHost(t, { '/runsc': fakeRunsc() });
    let fails = true;
    let read = 0;
    class FailingHost extends Host {
      override pieces(...args: Parameters<Host['pieces']>) {
        read += 1;
        if (fails) throw new Error('EIO');
        return super.pieces(...args);
      }
    }
    const [host, programs] = [new FailingHost(root), new RunscPrograms()];
    for (const asked of await Promise.allSettled([1, 2].map(() => programs.read(host, '/runsc'))))
      assert.equal(asked.status, 'rejected');
    fails = false;
    assert.equal((await programs.read(host, '/runsc'))?.release.kind, 'release');
    assert.equal(read, 2);
  });
});

// Not beside the others, whose memory it would count.
describe('RunscPrograms, in memory', () => {
  it('keeps of a file no more than what it found there', async (t) => {
    const programs = new RunscPrograms();
    const text = Buffer.concat([at(10, 'release-20260817.0\0'), Buffer.alloc(PIECE_BYTES)]);
    const paths = Array.from({ length: 24 }, (_, nth) => `/runsc-${nth}`);
    const host = await tempHost(t, Object.fromEntries(paths.map((path) => [path, { program: text }])));
    const held = async () => {
      await setImmediate(); // what awaits its end is only then nobody's
      collect();
      const { arrayBuffers, external, heapUsed } = process.memoryUsage();
      return { all: external + heapUsed, arrayBuffers };
    };
    await waitFor('the buffers of other tests to go', 10_000, async () =>
      (await held()).arrayBuffers < 2 * PIECE_BYTES ? true : undefined,
    );
    const before = (await held()).all;
    for (const path of paths) assert.equal((await programs.read(host, path))?.release.kind, 'release');
    // Files that are still being closed hold their pieces a moment longer.
    await waitFor('the pieces to be let go', 10_000, async () =>
      (await held()).all - before < 4 * PIECE_BYTES ? true : undefined,
    );
  });
});
