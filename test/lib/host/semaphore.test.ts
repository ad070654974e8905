import assert from 'node:assert/strict';
import fs from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { Host } from '../../../lib/host/host.ts';
import { reasonForError } from '../../../lib/proof/outcome.ts';
import { tempHost } from './temp-host.ts';

const TIMEOUT_MS = 5_000;
const DEAD = { '/mnt/dead/a': '', '/mnt/dead/b': '', '/mnt/dead/c': '' };
const FILES = { '/fine': 'text', '/proc/stat': 'cpu 1', ...DEAD };

/** Replaces a function of node:fs/promises, and mocks timers. */
function mockFs(t: TestContext, name: 'lstat' | 'open', replacement: (path: string) => Promise<unknown>) {
  t.mock.method(fs, name, replacement as never);
  syncBuiltinESMExports();
  t.after(() => {
    t.mock.reset();
    syncBuiltinESMExports();
  });
  t.mock.timers.enable({ apis: ['setTimeout'] });
}

/** A host with a directory on a file system that does not respond until `respond` is called. */
async function withDeadMount(t: TestContext) {
  const { root } = await tempHost(t, FILES);
  const response = Promise.withResolvers<void>();
  const requested: string[] = [];
  const { lstat } = fs;
  const slow = async (path: string) => {
    requested.push(path);
    if (path.startsWith(join(root, 'mnt/dead/'))) await response.promise;
    return lstat(path);
  };
  mockFs(t, 'lstat', slow);
  const host = new Host(root, TIMEOUT_MS);
  /** Starts an operation on a path, and times it out once it has reached the file system. */
  const timeout = async (path: string) => {
    const message = refusal(host.stat(path));
    while (!requested.includes(join(root, path))) await setImmediate();
    t.mock.timers.tick(TIMEOUT_MS);
    return message;
  };
  return { host, timeout, requested, respond: response.resolve };
}

/** Message of a call's rejection. */
const refusal = (call: Promise<unknown>) =>
  call.then(
    (value) => `returned ${JSON.stringify(value)}`,
    (error: Error) => error.message,
  );

describe('Semaphore, on a file system that does not respond', () => {
  const TIMED_OUT = 'no answer within 5 s';
  const OTHERS = 'the file system does not answer for other files either';

  it('runs one operation at a time and none while one is stalled, so threads stay free', async (t) => {
    const { host, timeout, requested } = await withDeadMount(t);
    const others = ['/mnt/dead/b', '/fine'];
    const first = timeout('/mnt/dead/a');
    const messages = others.map((path) => refusal(host.stat(path)));
    assert.equal(await first, `Cannot read host file "/mnt/dead/a": ${TIMED_OUT}`);
    const refusals = others.map((path) => `Cannot read host file "${path}": ${OTHERS}`);
    assert.deepEqual(await Promise.all(messages), refusals);
    for (const view of [host, host.glance()])
      assert.deepEqual(await Promise.all(others.map((path) => refusal(view.stat(path)))), refusals);
    assert.ok(!requested.some((path) => /dead.b|fine/.test(path)));
  });

  it('still reads kernel files, which need no disk', async (t) => {
    const { host, timeout } = await withDeadMount(t);
    assert.match(await timeout('/mnt/dead/a'), /no answer/);
    assert.equal(await host.readText('/proc/stat'), 'cpu 1');
    const error = await host.stat('/fine').catch((cause: unknown) => cause);
    assert.equal(reasonForError(error), 'CheckTimedOut');
  });

  it('continues once the stalled operation has returned', async (t) => {
    const { host, timeout, respond } = await withDeadMount(t);
    assert.match(await timeout('/mnt/dead/a'), /no answer/);
    assert.match(await refusal(host.stat('/fine')), /other files either/);
    respond();
    while (/other files either/.test(await refusal(host.stat('/fine')))) await setImmediate();
    assert.equal((await host.stat('/mnt/dead/c'))?.kind, 'file');
    assert.equal(await host.readText('/fine'), 'text');
  });

  it('does not count operations that returned', async (t) => {
    const { host } = await withDeadMount(t);
    for (let call = 0; call < 5; call++) assert.equal((await host.stat('/fine'))?.size, 4);
  });

  it('closes a file whose open timed out', async (t) => {
    const { root } = await tempHost(t, FILES);
    const opened = Promise.withResolvers<void>();
    const requested = Promise.withResolvers<void>();
    const closed = Promise.withResolvers<void>();
    const slow = async () => {
      requested.resolve();
      await opened.promise;
      return { close: async () => closed.resolve() };
    };
    mockFs(t, 'open', slow);
    const message = refusal(new Host(root, TIMEOUT_MS).pieces('/fine', 0).next());
    await requested.promise;
    t.mock.timers.tick(TIMEOUT_MS);
    assert.match(await message, /no answer within/);
    opened.resolve();
    await closed.promise;
  });

  const timeout = 10_000;
  it('times out a read that never returns, although the file cannot be closed', { timeout }, async (t) => {
    const { root } = await tempHost(t, FILES);
    const { open } = fs;
    const reads = Promise.withResolvers<void>();
    const never = () => {
      reads.resolve();
      return Promise.withResolvers<never>().promise;
    };
    // Node closes a file only after its pending reads.
    const stalled = async (path: string) => {
      const file = await open(path);
      const stats = await file.stat();
      await file.close();
      return { stat: async () => stats, read: never, close: never };
    };
    mockFs(t, 'open', stalled);
    const scan = async () => {
      for await (const piece of new Host(root, TIMEOUT_MS).pieces('/fine', 0)) return piece.length;
      return 0;
    };
    const message = refusal(scan());
    await reads.promise;
    t.mock.timers.tick(TIMEOUT_MS);
    assert.equal(await message, TIMED_OUT);
  });
});
