import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { rename, writeFile } from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { FileTrigger } from '../../../agent/trigger/files.ts';
import { tempHost } from '../host/temp-host.ts';

const FILES = { '/etc/config.toml': 'a', '/opt/runsc': 'b' };
const CONFIG = '/etc/config.toml';
const RUNSC = '/opt/runsc';
/** Nobody else waits for so long. */
const POLL_MS = 987_654;

/** A trigger on a kernel that has no watch left for folders that `fails` names; its time goes as the test says. */
async function exhausted(t: TestContext, fails: (folder: string) => boolean = () => true) {
  const host = await tempHost(t, FILES);
  const kernel = { fails };
  const { watch } = fs;
  const limited = (folder: string, hear: fs.WatchListener<string>) => {
    if (kernel.fails(folder)) throw Object.assign(new Error('no space left'), { code: 'ENOSPC' });
    return watch(folder, hear);
  };
  t.mock.method(fs, 'watch', limited as typeof watch);
  syncBuiltinESMExports();
  // Its next look at what is not watched, and who waits for it to wait again.
  let next: (() => void) | undefined;
  let waits = Promise.withResolvers<void>();
  const timer = { unref: () => timer };
  const { setTimeout: setReal, clearTimeout: clearReal } = globalThis;
  const setTimer = (look: () => void, ms: number) => {
    if (ms !== POLL_MS) return setReal(look, ms);
    next = look;
    waits.resolve();
    return timer;
  };
  const clearTimer = (each: unknown) => {
    if (each === timer) next = undefined;
    else clearReal(each as NodeJS.Timeout);
  };
  t.mock.method(globalThis, 'setTimeout', setTimer as unknown as typeof setTimeout);
  t.mock.method(globalThis, 'clearTimeout', clearTimer);
  const changes: string[] = [];
  const told: (readonly [number, string])[] = [];
  let heardOne = Promise.withResolvers<void>();
  const changed = (path: string) => {
    changes.push(path);
    heardOne.resolve();
  };
  const trigger = new FileTrigger(host, changed, {
    onUnwatched: (...words) => told.push(words),
    pollMs: POLL_MS,
  });
  t.after(() => {
    trigger.close();
    t.mock.reset();
    syncBuiltinESMExports();
  });
  /** Lets it look at what is not watched, and waits until it waits again; it is asked for nothing once it is closed. */
  const poll = async () => {
    const look = next;
    if (look === undefined) return;
    waits = Promise.withResolvers<void>();
    look();
    await waits.promise;
  };
  const heard = async () => {
    await heardOne.promise;
    heardOne = Promise.withResolvers<void>();
  };
  return { trigger, kernel, changes, told, poll, heard, at: (path: string) => join(host.root, path) };
}

describe('FileTrigger, when the kernel has no watch left', () => {
  it('is told so by a real kernel, looks now and then instead, and watches again', async (t) => {
    const { root } = await tempHost(t, { [CONFIG]: 'a' });
    const child = fileURLToPath(new URL('without-watches.ts', import.meta.url));
    const command = 'ulimit -n 256 && exec "$0" --import tsx "$1" "$2"';
    const out = execFileSync('sh', ['-c', command, process.execPath, child, root], { encoding: 'utf8' });
    const folders = 2; // the root and /etc
    assert.deepEqual(JSON.parse(out), [[folders, 'EMFILE'], '/etc', [0, 'EMFILE'], CONFIG]);
  });

  it('tells how many folders are not watched, when that changes', async (t) => {
    const { trigger, kernel, told } = await exhausted(t);
    await trigger.watch([CONFIG]);
    await trigger.watch([CONFIG]);
    assert.deepEqual(told, [[2, 'ENOSPC']]);
    await trigger.watch([CONFIG, RUNSC]);
    kernel.fails = () => false;
    await trigger.watch([CONFIG, RUNSC]);
    assert.deepEqual(
      told.map(([folders]) => folders),
      [2, 3, 0],
    );
  });

  it('tells nothing of the middle of setting watches, where it looks at the others', async (t) => {
    const { trigger, kernel, told, poll } = await exhausted(t);
    await trigger.watch([CONFIG]);
    kernel.fails = (folder) => {
      if (!folder.endsWith('/etc')) return false;
      void poll();
      return true;
    };
    await trigger.watch([CONFIG]);
    assert.deepEqual(
      told.map(([folders]) => folders),
      [2, 1],
    );
  });

  it('hears what changes, comes and goes in a folder that is not watched, each once', async (t) => {
    const { trigger, changes, poll, at } = await exhausted(t);
    await trigger.watch([CONFIG]);
    await poll();
    assert.deepEqual(changes, []);
    await rename(at(CONFIG), at('/etc/other'));
    await poll();
    assert.deepEqual(changes, ['/etc']);
    await rename(at('/etc/other'), at(CONFIG));
    await poll();
    assert.deepEqual(changes, ['/etc', '/etc']);
    await poll();
    assert.deepEqual(changes, ['/etc', '/etc']);
  });

  it('hears nothing of other names there', async (t) => {
    const { trigger, changes, poll, at } = await exhausted(t);
    await trigger.watch([CONFIG]);
    await writeFile(at('/etc/other'), '');
    await poll();
    assert.deepEqual(changes, []);
  });

  it('hears what changed in the middle of a look, before its watches are set anew', async (t) => {
    const { trigger, changes, poll, at } = await exhausted(t);
    await trigger.watch([CONFIG]);
    await rename(at(CONFIG), at('/etc/gone'));
    await trigger.watch([CONFIG]);
    await poll();
    assert.deepEqual(changes, ['/etc']);
  });

  it('hears what changed before a folder can be watched again', async (t) => {
    const { trigger, kernel, changes, at } = await exhausted(t);
    await trigger.watch([CONFIG]);
    const since = Date.now();
    await rename(at(CONFIG), at('/etc/gone'));
    kernel.fails = () => false;
    await trigger.watch([CONFIG], since);
    assert.ok(changes.includes('/etc'), `${changes}`);
  });

  it('watches the others as ever', async (t) => {
    const { trigger, changes, told, heard, at } = await exhausted(t, (folder) => folder.endsWith('/opt'));
    await trigger.watch([CONFIG, RUNSC]);
    assert.deepEqual(told, [[1, 'ENOSPC']]);
    await writeFile(at(CONFIG), 'c');
    await heard();
    assert.deepEqual([...new Set(changes)], [CONFIG]);
  });

  it('looks at nothing any more once it is closed', async (t) => {
    const { trigger, changes, poll, at } = await exhausted(t);
    await trigger.watch([CONFIG]);
    trigger.close();
    await rename(at(CONFIG), at('/etc/gone'));
    await poll();
    assert.deepEqual(changes, []);
  });
});
