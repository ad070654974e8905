import assert from 'node:assert/strict';
import fs from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { reasonForError } from '../../../agent/finding.ts';
import { Host } from '../../../agent/host/host.ts';
import { tempHost } from './temp-host.ts';

const ANSWER_MS = 5_000;
const FILES = {
  '/fine': 'text',
  '/proc/stat': 'cpu 1',
  '/mnt/dead/a': '',
  '/mnt/dead/b': '',
  '/mnt/dead/c': '',
};

/** A host with a folder on a file system that does not answer until the test lets it. */
async function withDeadMount(t: TestContext) {
  const { root } = await tempHost(t, FILES);
  const answer = Promise.withResolvers<void>();
  const asked: string[] = [];
  const { lstat } = fs;
  const slow = async (path: string) => {
    asked.push(path);
    if (path.startsWith(join(root, 'mnt/dead/'))) await answer.promise;
    return lstat(path);
  };
  t.mock.method(fs, 'lstat', slow as typeof lstat);
  syncBuiltinESMExports();
  t.after(() => {
    t.mock.reset();
    syncBuiltinESMExports();
  });
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const host = new Host(root, ANSWER_MS);
  /** Asks for a file there, and lets the time for an answer pass once the file system has been asked. */
  const late = async (path: string) => {
    const words = refusal(host.stat(path));
    while (!asked.includes(join(root, path))) await setImmediate();
    t.mock.timers.tick(ANSWER_MS);
    return words;
  };
  return { host, late, asked, answer: answer.resolve };
}

/** What a call rejects with. */
const refusal = (call: Promise<unknown>) =>
  call.then(
    (value) => `it gave ${JSON.stringify(value)}`,
    (error: Error) => error.message,
  );

describe('Host, on a file system that does not answer', () => {
  const LATE = 'no answer within 5 s';
  const OTHERS = 'the file system does not answer for other files either';

  it('gives up in time', async (t) => {
    const { late } = await withDeadMount(t);
    assert.equal(await late('/mnt/dead/a'), `Cannot read host file "/mnt/dead/a": ${LATE}`);
  });

  it('asks one thing at a time, so that a file system that stalls takes one thread', async (t) => {
    const { host, late, asked } = await withDeadMount(t);
    const words = ['/mnt/dead/a', '/mnt/dead/b', '/fine'].map((path) => refusal(host.stat(path)));
    while (!asked.some((path) => path.endsWith('/mnt/dead/a'))) await setImmediate();
    for (let turn = 0; turn < 50; turn++) await setImmediate();
    assert.deepEqual(
      asked.filter((path) => /dead.[bc]|fine/.test(path)),
      [],
    );
    void late('/mnt/dead/a');
    await setImmediate();
    assert.match((await Promise.all(words)).join(), /a": no answer.*b": .*either.*fine": .*either/);
  });

  it('asks nothing more once a call has not come back, so that threads stay free', async (t) => {
    const { host, late, asked } = await withDeadMount(t);
    assert.match(await late('/mnt/dead/a'), /no answer/);
    asked.length = 0;
    for (const path of ['/fine', '/mnt/dead/c'])
      assert.equal(await refusal(host.stat(path)), `Cannot read host file "${path}": ${OTHERS}`);
    assert.deepEqual(asked, []);
  });

  it('reads files of the kernel all the same, which need no disk', async (t) => {
    const { host, late } = await withDeadMount(t);
    assert.match(await late('/mnt/dead/a'), /no answer/);
    assert.equal(await host.readText('/proc/stat'), 'cpu 1');
    const error = await host.stat('/fine').catch((cause: unknown) => cause);
    assert.equal(reasonForError(error), 'CheckTimedOut');
  });

  it('asks again once it has come back after all', async (t) => {
    const { host, late, answer } = await withDeadMount(t);
    assert.match(await late('/mnt/dead/a'), /no answer/);
    assert.match(await refusal(host.stat('/fine')), /other files either/);
    answer();
    while (/other files either/.test(await refusal(host.stat('/fine')))) await setImmediate();
    assert.equal((await host.stat('/mnt/dead/c'))?.kind, 'file');
    assert.equal(await host.readText('/fine'), 'text');
  });

  it('does not count calls that only took long', async (t) => {
    const { host } = await withDeadMount(t);
    for (let call = 0; call < 5; call++) assert.equal((await host.stat('/fine'))?.size, 4);
  });

  it('closes a file that opens too late', async (t) => {
    const { root } = await tempHost(t, FILES);
    const opened = Promise.withResolvers<void>();
    const asked = Promise.withResolvers<void>();
    const closed = Promise.withResolvers<void>();
    const slow = async () => {
      asked.resolve();
      await opened.promise;
      return { close: async () => closed.resolve() };
    };
    t.mock.method(fs, 'open', slow as unknown as typeof fs.open);
    syncBuiltinESMExports();
    t.after(() => {
      t.mock.reset();
      syncBuiltinESMExports();
    });
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const words = refusal(new Host(root, ANSWER_MS).pieces('/fine', 0).next());
    await asked.promise;
    t.mock.timers.tick(ANSWER_MS);
    assert.match(await words, /no answer within/);
    opened.resolve();
    await closed.promise;
  });

  it('ends a scan whose reading never ends, although its file cannot be closed', {
    timeout: 10_000,
  }, async (t) => {
    const { root } = await tempHost(t, FILES);
    const { open } = fs;
    const reads = Promise.withResolvers<void>();
    const never = () => {
      reads.resolve();
      return Promise.withResolvers<never>().promise;
    };
    // Node closes a file only after what it was asked has been answered.
    const stalled = async (path: string) => {
      const file = await open(path);
      const stats = await file.stat();
      await file.close();
      return { stat: async () => stats, read: never, close: never };
    };
    t.mock.method(fs, 'open', stalled as unknown as typeof open);
    syncBuiltinESMExports();
    t.after(() => {
      t.mock.reset();
      syncBuiltinESMExports();
    });
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const scan = async () => {
      for await (const piece of new Host(root, ANSWER_MS).pieces('/fine', 0)) return piece.length;
      return 0;
    };
    const words = refusal(scan());
    await reads.promise;
    t.mock.timers.tick(ANSWER_MS);
    assert.equal(await words, LATE);
  });
});

describe('Host.pieces', () => {
  const MIB = 1024 * 1024;

  it('gives a file in pieces that overlap, and nothing twice or never', async (t) => {
    const bytes = Buffer.alloc(2 * MIB + 12_345, 'x');
    for (let at = 0; at < bytes.length; at += 1_000) bytes.writeUInt32LE(at, at);
    const host = await tempHost(t, { '/big': { program: bytes } });
    const pieces: Buffer[] = [];
    for await (const piece of host.pieces('/big', 100)) pieces.push(Buffer.from(piece));
    assert.ok(pieces.length >= 3 && pieces.every(({ length }) => length <= MIB));
    for (const [index, piece] of pieces.entries()) {
      const before = pieces[index - 1];
      if (before !== undefined) assert.deepEqual(piece.subarray(0, 100), before.subarray(-100));
    }
    const whole = pieces.map((piece, index) => (index === 0 ? piece : piece.subarray(100)));
    assert.ok(Buffer.concat(whole).equals(bytes));
  });

  it('gives none for a file that is not there or empty, and refuses a folder', async (t) => {
    const host = await tempHost(t, { '/empty': '', '/folder/x': '' });
    const count = async (path: string) => {
      let pieces = 0;
      for await (const _ of host.pieces(path, 10)) pieces += 1;
      return pieces;
    };
    assert.deepEqual([await count('/absent'), await count('/empty')], [0, 0]);
    await assert.rejects(count('/folder'), /it is a directory, not a regular file/);
  });
});
